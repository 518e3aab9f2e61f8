"""Small ONNX nets and properties of them."""

import itertools
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_net(path: Path, layers, shape, *, end: str = "", batch: int | str = 1) -> Path:
    """Linear layers (weight, bias) with ReLU between them, on inputs of a shape; an operator at the end."""
    nodes, tensors, last = [helper.make_node("Flatten", ["x"], ["h"])], {}, "h"
    for at, (weight, bias) in enumerate(layers):
        tensors |= {f"w{at}": np.asarray(weight, np.float32), f"b{at}": np.asarray(bias, np.float32)}
        is_last = at == len(layers) - 1
        out = "y" if is_last and not end else f"g{at}"
        nodes.append(helper.make_node("Gemm", [last, f"w{at}", f"b{at}"], [out], transB=1))
        last = out if is_last else f"r{at}"
        if not is_last:
            nodes.append(helper.make_node("Relu", [out], [last]))
    if end:
        nodes.append(helper.make_node(end, [last], ["y"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return path


def random_layers(sizes, seed: int = 0):
    """Layers of these sizes with normal weights."""
    draw = np.random.default_rng(seed)
    return [
        (draw.normal(size=(b, a)) * np.sqrt(2 / a), draw.normal(size=b) * 0.1)
        for a, b in itertools.pairwise(sizes)
    ]


def answer(layers, x):
    """What these layers answer to one input, in float64."""
    h = np.asarray(x, float).reshape(-1)
    for at, (weight, bias) in enumerate(layers):
        h = np.asarray(weight) @ h + np.asarray(bias)
        h = np.maximum(h, 0) if at < len(layers) - 1 else h
    return h


def declared(num_inputs: int, num_outputs: int) -> str:
    """Declarations of all variables."""
    names = [f"X_{at}" for at in range(num_inputs)] + [f"Y_{at}" for at in range(num_outputs)]
    return "".join(f"(declare-const {name} Real)\n" for name in names)


def box(lower, upper) -> str:
    """Both ends of each input."""
    return "".join(
        f"(assert (>= X_{at} {low}))\n(assert (<= X_{at} {high}))\n"
        for at, (low, high) in enumerate(zip(lower, upper, strict=True))
    )


def write_property(path: Path, lower, upper, clauses: str, num_outputs: int) -> Path:
    """A property of the box and clauses."""
    path.write_text(declared(len(lower), num_outputs) + box(lower, upper) + clauses)
    return path
