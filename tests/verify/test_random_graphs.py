"""Random ONNX graphs: what is imported answers as onnxruntime does, and no sample crosses a proven bound."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from quintain.verify.properties import Row, outward_box
from quintain.verify.prover import Prover, Rows
from quintain.verify.verifier import Instance
from tests.verify.nets import write_property

pytestmark = pytest.mark.rounding

SHAPE = (2, 4, 4)
POINTWISE = ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "Neg", "Identity", "Clip", "Gelu")


class Graph:
    """A graph that grows by random operators on values of its own, images of whatever channels."""

    def __init__(self, seed):
        self.draw = np.random.default_rng(seed)
        self.nodes, self.tensors, self.shapes = [], {}, {"x": SHAPE}

    def add(self, kind, inputs, shape, **settings):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **settings))
        self.shapes[name] = shape
        return name

    def tensor(self, value):
        name = f"t{len(self.tensors)}"
        self.tensors[name] = np.asarray(value)
        return name

    def normal(self, *shape):
        return self.tensor(
            (self.draw.normal(size=shape) / max(1, np.prod(shape[1:])) ** 0.5).astype(np.float32)
        )

    def grow(self):
        """Add one random operator."""
        name = str(self.draw.choice(list(self.shapes)))
        channels, height, width = self.shapes[name]
        kind = str(self.draw.choice(["pointwise", "conv", "residual", "concat", "norm", "pool", "scale"]))
        if kind == "pointwise":
            one = str(self.draw.choice(POINTWISE))
            ends = [self.tensor(np.float32(end)) for end in (-0.4, 0.6)] if one == "Clip" else []
            return self.add(one, [name, *ends], self.shapes[name])
        if kind == "conv":
            made = int(self.draw.integers(1, 4))
            weight, bias = self.normal(made, channels, 3, 3), self.normal(made)
            return self.add("Conv", [name, weight, bias], (made, height, width), pads=[1, 1, 1, 1])
        same = [other for other, shape in self.shapes.items() if shape == self.shapes[name]]
        if kind == "residual":
            one = str(self.draw.choice(["Add", "Sub"]))
            return self.add(one, [name, str(self.draw.choice(same))], self.shapes[name])
        if kind == "concat" and channels < 6:
            return self.add(
                "Concat", [name, str(self.draw.choice(same))], (2 * channels, height, width), axis=1
            )
        if kind == "norm":
            numbers = [self.normal(channels) for _ in range(3)]
            variance = self.tensor(self.draw.uniform(0.3, 2, channels).astype(np.float32))
            return self.add("BatchNormalization", [name, *numbers, variance], self.shapes[name])
        if kind == "pool":
            one = str(self.draw.choice(["MaxPool", "AveragePool"]))
            settings = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [1, 1]}
            return self.add(one, [name], self.shapes[name], **settings)
        return self.add("Mul", [name, self.tensor(np.float32(self.draw.normal()))], self.shapes[name])

    def write(self, path):
        """End in three scores of the last value, and write the file."""
        last = list(self.shapes)[-1]
        flat = self.add("Flatten", [last], ())
        count = int(np.prod(self.shapes[last]))
        self.nodes.append(helper.make_node("Gemm", [flat, self.normal(3, count)], ["y"], transB=1))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *SHAPE])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
            [numpy_helper.from_array(value, name) for name, value in self.tensors.items()],
        )
        opset = helper.make_opsetid("", 20)
        onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(path))
        return path


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.exhaustive) for seed in range(4, 80))]
)
def test_no_sample_of_a_random_graph_crosses_its_bounds(seed, tmp_path):
    graph = Graph(seed)
    for _ in range(8):
        graph.grow()
    net = graph.write(tmp_path / "net.onnx")
    center, eps = graph.draw.uniform(-1, 1, 32), float(graph.draw.choice([0.0, 0.01, 0.1, 0.5]))
    lower, upper = center - eps, center + eps
    prop = write_property(tmp_path / "p.vnnlib", lower.tolist(), upper.tolist(), "(assert (<= Y_0 0))", 3)
    instance = Instance.read(net, prop)
    prover = Prover.of(instance.net, instance.net.input_shape, instance.dtype)
    rows = [Row(((j, sign),), (), 0) for j in range(3) for sign in (1, -1)]
    ends = outward_box(instance.wanted.violations[0], instance.dtype)
    bounds = prover.lower(*ends, Rows.of(rows, 32, 3))
    with torch.no_grad():
        backward, output, _ = prover.region_bounds(*ends, Rows.of(rows, 32, 3), until=np.inf)
        narrower = backward.lower(output, torch.eye(6, dtype=torch.float64))
    samples = graph.draw.uniform(lower, upper, (200, 32))
    samples[:100] = np.where(graph.draw.uniform(size=(100, 32)) < 0.5, lower, upper)
    samples = samples.astype(np.float32).reshape(-1, *SHAPE)
    session = onnxruntime.InferenceSession(str(net), providers=["CPUExecutionProvider"])
    answers = [session.run(None, {"x": samples})[0]]
    with torch.no_grad():
        given = torch.from_numpy(samples)
        answers += [instance.net(given).numpy(), instance.checker.exact(given.double().flatten(1)).numpy()]
    for y in answers:
        np.testing.assert_allclose(y, answers[0], rtol=0, atol=1e-3 * (1 + np.abs(answers[0]).max()))
        for row, bound in zip(rows, torch.maximum(bounds, narrower).tolist(), strict=True):
            ((j, sign),) = row.outputs
            assert (sign * y[:, j].astype(float)).min() >= bound
    assert bounds.isfinite().all()
    if eps == 0.0:
        assert (bounds[0::2] + bounds[1::2]).abs().max() < 1e-2 * (1 + bounds.abs().max())
