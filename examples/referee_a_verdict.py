"""Another verifier says unsat about a net that is violated: the referee finds the witness (extra onnx)."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import quintain as q

PROPERTY = """(declare-const X_0 Real)
(declare-const Y_0 Real)
(assert (>= X_0 -1.0))
(assert (<= X_0 1.0))
(assert (>= Y_0 0.9))
"""


def write_net(path: Path) -> None:
    """y = relu(x) + relu(-x), the size of x."""
    tensors = {"w": np.array([[1.0], [-1.0]]), "v": np.array([[1.0, 1.0]])}
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["g"], transB=1),
        helper.make_node("Relu", ["g"], ["h"]),
        helper.make_node("Gemm", ["h", "v"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in tensors.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def main() -> None:
    """Rule on a false unsat, a true sat, and a sat whose counterexample is none."""
    net, prop, theirs = Path("net.onnx"), Path("p.vnnlib"), Path("theirs.txt")
    write_net(net)
    prop.write_text(PROPERTY)
    for text in ("unsat", "sat\n((X_0 -0.95)\n (Y_0 0.95))", "sat\n((X_0 1.00001)\n (Y_0 1.00001))"):
        theirs.write_text(text)
        ruling = q.verify.referee(net, prop, theirs, seconds=10)
        print(f"{ruling.decision}: {ruling.claimed}, {ruling.reason}")


if __name__ == "__main__":
    main()
