"""A property of an ONNX net in VNN-LIB: proven for a small box, violated for a large one (extra onnx)."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import quintain as q


def write_net(path: Path) -> None:
    """A net of two layers on four inputs, with three scores."""
    draw = np.random.default_rng(0)
    tensors = {"w": draw.normal(size=(16, 4)), "b": draw.normal(size=16), "v": draw.normal(size=(3, 16)) / 4}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["g"], transB=1),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "v"], ["scores"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def write_property(path: Path, eps: float) -> None:
    """Some other class has the score of the last one, within eps of (0.5, 0.5, 0.5, 0.5)."""
    lines = [f"(declare-const X_{i} Real)" for i in range(4)] + [
        f"(declare-const Y_{j} Real)" for j in range(3)
    ]
    lines += [f"(assert (>= X_{i} {0.5 - eps}))\n(assert (<= X_{i} {0.5 + eps}))" for i in range(4)]
    path.write_text("\n".join([*lines, "(assert (or (and (>= Y_0 Y_2)) (and (>= Y_1 Y_2))))\n"]))


def main() -> None:
    """Decide the property for a small box and a large one."""
    net, prop = Path("net.onnx"), Path("p.vnnlib")
    write_net(net)
    for eps in (0.01, 2.0):
        write_property(prop, eps)
        verdict = q.verify.verify_property(net, prop, seconds=20)
        print(f"eps {eps:g}: {verdict.answer} by {verdict.how}")
    print(q.verify.result_text(verdict))


if __name__ == "__main__":
    main()
