"""Nets that are read from ONNX files answer as onnxruntime does, and what is not read is refused by name."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from quintain.certify import CROWN, IntervalBounds
from quintain.core.errors import ModelError, NotFoundError
from quintain.models import Classifier, import_onnx
from quintain.models.onnx_net import same_outputs
from quintain.models.onnx_net.node import ConvertedNode
from quintain.models.onnx_net.operators import OPERATORS
from quintain.threats import Linf

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.normal(size=shape).astype(np.float32)


def node(kind, *inputs, output="y", **settings):
    return helper.make_node(kind, list(inputs), [output], **settings)


def write(path, nodes, shape, tensors, *, opset=20, batch="batch", kind=TensorProto.FLOAT, outputs=("y",)):
    """A file of these operators, from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", kind, [batch, *shape])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save_model(model, path)
    return path


W, B, TAPS = normal(12, 5), normal(5), normal(4, 2, 3, 3)
SHAPE = (2, 4, 6)
CASES = {
    "Gemm": ([node("Flatten", "x", output="f"), node("Gemm", "f", "w", "b")], {"w": normal(48, 5), "b": B}),
    "Gemm, turned": (
        [node("Flatten", "x", output="f"), node("Gemm", "f", "w", transB=1)],
        {"w": normal(5, 48)},
    ),
    "MatMul and its bias": (
        [node("Flatten", "x", output="f"), node("MatMul", "f", "w", output="p"), node("Add", "b", "p")],
        {"w": normal(48, 5), "b": B},
    ),
    "MatMul that is used twice": (
        [
            node("Flatten", "x", output="f"),
            node("MatMul", "f", "w", output="p"),
            node("Add", "p", "b", output="q"),
            node("Sub", "q", "p", output="r"),
            node("Add", "r", "p"),
        ],
        {"w": normal(48, 5), "b": B},
    ),
    "Conv": ([node("Conv", "x", "t", "c", pads=[1, 1, 1, 1], strides=[2, 1])], {"t": TAPS, "c": normal(4)}),
    "Conv, sides that differ": ([node("Conv", "x", "t", pads=[1, 0, 2, 1])], {"t": TAPS}),
    "Conv of groups": (
        [node("Conv", "x", "t", group=2, dilations=[1, 2], pads=[1, 1, 1, 1])],
        {"t": normal(4, 1, 3, 3)},
    ),
    "Conv of one dimension": (
        [
            node("Reshape", "x", "s", output="f"),
            node("Conv", "f", "t", pads=[1, 0]),
        ],
        {"s": np.array([0, 2, -1]), "t": normal(3, 2, 5)},
    ),
    "ConvTranspose": (
        [node("ConvTranspose", "x", "t", strides=[2, 2], output_padding=[1, 0], pads=[1, 1, 1, 1])],
        {"t": normal(2, 3, 3, 3)},
    ),
    "BatchNormalization": (
        [node("BatchNormalization", "x", "s", "o", "m", "v", epsilon=1e-3)],
        {"s": normal(2), "o": normal(2), "m": normal(2), "v": normal(2) ** 2 + 0.1},
    ),
    "BatchNormalization of rows": (
        [
            node("Flatten", "x", output="f"),
            node("Gemm", "f", "w", output="g"),
            node("BatchNormalization", "g", "s", "o", "m", "v"),
        ],
        {"w": normal(48, 5), "s": normal(5), "o": normal(5), "m": normal(5), "v": normal(5) ** 2 + 0.1},
    ),
    **{
        kind: ([node("Sub", "x", "h", output="c"), node(kind, "c")], {"h": np.float32(0.5)})
        for kind in ("Relu", "Sigmoid", "Tanh", "Gelu", "LeakyRelu", "Identity", "Neg", "Dropout")
    },
    "LeakyRelu of 0.3": (
        [node("Sub", "x", "h", output="c"), node("LeakyRelu", "c", alpha=0.3)],
        {"h": B[:1]},
    ),
    "Gelu by tanh": ([node("Gelu", "x", approximate="tanh")], {}),
    "Clip": ([node("Clip", "x", "l", "u")], {"l": np.float32(0.2), "u": np.float32(0.7)}),
    "Clip from below": ([node("Clip", "x", "l")], {"l": np.float32(0.2)}),
    "MaxPool": ([node("MaxPool", "x", kernel_shape=[2, 3], strides=[2, 1], pads=[0, 1, 0, 1])], {}),
    "AveragePool": ([node("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 1, 1, 1])], {}),
    "AveragePool with pads": (
        [node("AveragePool", "x", kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1)],
        {},
    ),
    "GlobalAveragePool": ([node("GlobalAveragePool", "x")], {}),
    "Reshape": ([node("Reshape", "x", "s")], {"s": np.array([-1, 3, 16])}),
    "Transpose": ([node("Transpose", "x", perm=[0, 2, 3, 1])], {}),
    "Squeeze": (
        [node("Unsqueeze", "x", "a", output="u"), node("Squeeze", "u", "b")],
        {"a": np.array([1, 3]), "b": np.array([3])},
    ),
    "Concat": ([node("Neg", "x", output="n"), node("Concat", "x", "n", "x", axis=-1)], {}),
    "Pad": (
        [node("Pad", "x", "p", "v")],
        {"p": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "v": np.float32(0.3)},
    ),
    "Slice": (
        [node("Slice", "x", "s", "e", "a", "d")],
        {"s": np.array([-3, 1]), "e": np.array([2**40, 6]), "a": np.array([2, 3]), "d": np.array([1, 2])},
    ),
    "Gather": ([node("Gather", "x", "i", axis=2)], {"i": np.array(-1)}),
    "ReduceMean": ([node("ReduceMean", "x", "a", keepdims=0)], {"a": np.array([2, -1])}),
    "ReduceSum": ([node("ReduceSum", "x", "a")], {"a": np.array([1])}),
    "arithmetic": (
        [
            node("Mul", "x", "c", output="m"),
            node("Div", "m", "d", output="q"),
            node("Sub", "o", "q", output="s"),
            node("Add", "s", "x"),
        ],
        {"c": normal(1, 2, 1, 1), "d": np.float32(0.3), "o": normal(6)},
    ),
    "Constant": (
        [
            helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(normal(6), "c")),
            node("Mul", "x", "c"),
        ],
        {},
    ),
    "Softmax": ([node("Flatten", "x", output="f"), node("Softmax", "f")], {}),
    "LogSoftmax": ([node("Flatten", "x", output="f"), node("LogSoftmax", "f", axis=1)], {}),
    "a flattening of its own": (
        [
            node("Shape", "x", output="s"),
            node("Gather", "s", "zero", output="n", axis=0),
            node("Unsqueeze", "n", "axes", output="n1"),
            helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
            node("Concat", "n1", "rest", output="to", axis=0),
            node("Reshape", "x", "to"),
        ],
        {"zero": np.array(0), "axes": np.array([0])},
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", ["batch", pytest.param(1, marks=pytest.mark.exhaustive)])
def test_each_operator_answers_as_onnxruntime_does(name, batch, tmp_path):
    nodes, tensors = CASES[name]
    path = write(tmp_path / "net.onnx", nodes, SHAPE, tensors, batch=batch)
    net = import_onnx(path)
    x = torch.rand(4, *SHAPE)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    parts = x.split(1) if batch == 1 else [x]
    expected = np.concatenate([session.run(None, {"x": part.numpy()})[0] for part in parts])
    torch.testing.assert_close(net(x), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_every_operator_has_a_case():
    used = {one.op_type for nodes, _ in CASES.values() for one in nodes}
    assert set(OPERATORS) <= used


def exported(net, shape, path):
    """The file that torch's own exporter writes, where it is installed; else by hand."""
    layers, tensors, nodes, last = [*net], {}, [], "x"
    for at, layer in enumerate(layers):
        name = "y" if at == len(layers) - 1 else f"h{at}"
        given = [last]
        for key in ("weight", "bias"):
            if getattr(layer, key, None) is not None:
                tensors[f"{key}{at}"] = getattr(layer, key).detach().numpy()
                given.append(f"{key}{at}")
        kind, settings = {
            nn.Conv2d: ("Conv", {"strides": [2, 2]}),
            nn.Linear: ("Gemm", {"transB": 1}),
            nn.ReLU: ("Relu", {}),
            nn.Flatten: ("Flatten", {}),
        }[type(layer)]
        nodes.append(node(kind, *given, output=name, **settings))
        last = name
    return write(path, nodes, shape, tensors)


@pytest.fixture
def pair(tmp_path):
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)
    ).eval()
    return net, exported(net, (1, 8, 8), tmp_path / "net.onnx")


@pytest.mark.rounding
def test_an_imported_net_has_the_certificates_of_the_net(pair):
    net, path = pair
    x = torch.rand(6, 1, 8, 8)
    y = Classifier(net).predict(x)
    for certifier in (IntervalBounds(), CROWN()):
        found, expected = (
            certifier(Classifier(one), x, y, Linf(0.02)).margin for one in (import_onnx(path), net)
        )
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_hash_follows_the_weights(pair, tmp_path):
    net, path = pair
    before = Classifier(import_onnx(path)).hash
    assert before == Classifier(import_onnx(path)).hash
    with torch.no_grad():
        net[-1].bias[0] += 1.0
    assert Classifier(import_onnx(exported(net, (1, 8, 8), path))).hash != before


REFUSED = {
    "an operator": ([node("Einsum", "x", equation="bchw->bc")], {}, {}, "'y' .Einsum. is not imported"),
    "of its own": ([helper.make_node("Mine", ["x"], ["y"], domain="mine")], {}, {}, "operator Mine of mine"),
    "a scale": (
        [node("Flatten", "x", output="f"), node("Gemm", "f", "w", alpha=0.5)],
        {"w": normal(48, 5)},
        {},
        "has alpha = 0.5; expected 1.0",
    ),
    "sides by themselves": ([node("Conv", "x", "t", auto_pad="SAME_UPPER")], {"t": TAPS}, {}, "auto_pad"),
    "examples turned": ([node("Transpose", "x", perm=[1, 0, 2, 3])], {}, {}, "examples' dimension, 0, first"),
    "examples summed": ([node("ReduceSum", "x", "a")], {"a": np.array([0])}, {}, "behind the examples'"),
    "examples behind each other": ([node("Concat", "x", "x", axis=0)], {}, {}, "another axis than 0"),
    "examples cut": (
        [node("Slice", "x", "s", "e", "a")],
        {"s": np.array([0]), "e": np.array([1]), "a": np.array([0])},
        {},
        "behind the examples'",
    ),
    "rows that mix": ([node("Reshape", "x", "s")], {"s": np.array([-1, 2])}, {}, "as many numbers"),
    "one for each example": (
        [node("Add", "x", "c")],
        {"c": normal(3, 2, 4, 6)},
        {},
        "one for all examples",
    ),
    "several places": ([node("Gather", "x", "i", axis=1)], {"i": np.array([0, 1])}, {}, "one number"),
    "half precision": (
        [node("Identity", "x")],
        {},
        {"kind": TensorProto.FLOAT16},
        r"type 10; expected float32",
    ),
    "a constant": ([node("Constant", output="y", value_float=1.0)], {}, {}, "is a constant"),
    "another type": (
        [node("Cast", "x", output="d", to=TensorProto.DOUBLE), node("Identity", "d")],
        {},
        {},
        "Cast. is not imported",
    ),
    "an old version": ([node("Relu", "x")], {}, {"opset": 6}, "version 6 .* expected 7 or later"),
    "dropout in training": (
        [node("Dropout", "x", "r", "t")],
        {"r": np.float32(0.5), "t": np.array(True)},
        {},
        "training_mode = false",
    ),
    "constants alone": (
        [node("Mul", "c", "c", output="d"), node("Mul", "x", "d")],
        {"c": np.ones(6, "f")},
        {},
        "constants alone",
    ),
    "constants that do not fit": (
        [node("Reshape", "c", "s", output="d"), node("Mul", "x", "d")],
        {"c": np.ones(6, "f"), "s": np.array([4])},
        {},
        "Reshape. of constants is not done",
    ),
    "the size of the batch": (
        [
            node("Shape", "x", output="s"),
            node("Gather", "s", "i", output="b"),
            node("Cast", "b", output="f", to=TensorProto.FLOAT),
            node("Mul", "x", "f"),
        ],
        {"i": np.array(0)},
        {},
        "size of the batch",
    ),
    "the size of the batch as the end of a clamp": (
        [
            node("Shape", "x", output="s"),
            node("Gather", "s", "i", output="b"),
            node("Cast", "b", output="f", to=TensorProto.FLOAT),
            node("Clip", "x", "", "f"),
        ],
        {"i": np.array(0)},
        {},
        "size of the batch",
    ),
    "the size of the batch as a place": (
        [
            node("Shape", "x", output="s"),
            node("Gather", "s", "i", output="b"),
            node("Gather", "c", "b", output="g"),
            node("Mul", "x", "g"),
        ],
        {"i": np.array(0), "c": normal(2)},
        {},
        "size of the batch",
    ),
    "the size of the batch behind another": (
        [
            node("Shape", "x", output="s"),
            node("Gather", "s", "i", output="b"),
            node("Concat", "one", "b", "rest", output="sizes", axis=0),
            node("Reshape", "x", "sizes"),
        ],
        {"i": np.array([0]), "one": np.array([1]), "rest": np.array([24, 2])},
        {},
        "size of the batch",
    ),
    "a bias of more dimensions than the product": (
        [node("Flatten", "x", output="f"), node("MatMul", "f", "w", output="p"), node("Add", "p", "c")],
        {"w": normal(48, 5), "c": normal(1, 1, 5)},
        {},
        "one for all examples",
    ),
    "means over what is no image": (
        [
            node("Reshape", "x", "s", output="r"),
            node("GlobalAveragePool", "r"),
        ],
        {"s": np.array([-1, 2, 24])},
        {},
        r"takes \(1, 2, 24\); expected images",
    ),
    "values of other dimensions, of which one's examples would meet the other's rows": (
        [
            node("Reshape", "x", "s", output="r"),
            node("ReduceSum", "r", "a", output="t", keepdims=0),
            node("Add", "r", "t"),
        ],
        {"s": np.array([-1, 2, 24]), "a": np.array([1])},
        {},
        r"takes values of \(1, 2, 24\) and \(1, 24\); expected as many dimensions",
    ),
    "a product of values": ([node("MatMul", "x", "x")], {}, {}, "computes its input 1"),
    "a product with more than a matrix": (
        [node("MatMul", "x", "w")],
        {"w": normal(2, 6, 5)},
        {},
        "a constant matrix",
    ),
    "a bias of another length": (
        [node("Flatten", "x", output="f"), node("Gemm", "f", "w", "b")],
        {"w": normal(48, 5), "b": normal(3)},
        {},
        r"has a bias of shape \(3,\)",
    ),
    "filters of three dimensions": (
        [node("Conv", "x", "t")],
        {"t": normal(1, 2, 1, 1, 1)},
        {},
        "of another shape",
    ),
    "filters of other channels": ([node("Conv", "x", "t")], {"t": normal(4, 3, 3, 3)}, {}, "fails in torch"),
    "transposed sides that differ": (
        [node("ConvTranspose", "x", "t", pads=[1, 0, 0, 0])],
        {"t": normal(2, 3, 3, 3)},
        {},
        "expected equal pads",
    ),
    "windows of sides that differ": (
        [node("MaxPool", "x", kernel_shape=[2, 2], pads=[1, 0, 0, 0])],
        {},
        {},
        "images, equal pads",
    ),
    "means of cut windows": (
        [node("AveragePool", "x", kernel_shape=[3, 3], ceil_mode=1)],
        {},
        {},
        "rounds sizes up",
    ),
    "a constant first": (
        [node("Concat", "c", "x", axis=1)],
        {"c": normal(1, 2, 4, 6)},
        {},
        "value at input 0",
    ),
    "a softmax of several dimensions": ([node("Softmax", "x")], {}, {"opset": 11}, "expected the last one"),
    "a tensor of another type": (
        [node("Mul", "x", "c")],
        {"c": np.ones(6)},
        {},
        "has tensors of torch.float64",
    ),
    "a constant of text": (
        [node("Constant", output="c", value_string="a"), node("Mul", "x", "c")],
        {},
        {},
        "is a Constant of value_string",
    ),
    "a value of a later operator": (
        [node("Mul", "x", "z"), node("Relu", "x", output="z")],
        {},
        {},
        "takes 'z', which nothing computes before",
    ),
    "sizes with zeros": (
        [node("Reshape", "x", "s", allowzero=1)],
        {"s": np.array([0, 48])},
        {},
        "takes the shape",
    ),
    "a fixed number of examples": (
        [node("Reshape", "x", "s")],
        {"s": np.array([3, 48])},
        {},
        "-1, 0 or 1 first",
    ),
    "a dimension before the examples'": (
        [node("Unsqueeze", "x", "a")],
        {"a": np.array([0])},
        {},
        "has the axes",
    ),
    "pads of some axes": (
        [node("Pad", "x", "p", "", "a")],
        {"p": np.array([1, 1]), "a": np.array([2])},
        {},
        "names axes",
    ),
    "pads round the batch": (
        [node("Pad", "x", "p")],
        {"p": np.array([1, 0, 0, 0, 0, 0, 0, 0])},
        {},
        "puts examples round the batch",
    ),
    "parts of a size": (
        [node("Split", "x", output="y", axis=1, num_outputs=1)],
        {},
        {},
        "Split. is not imported",
    ),
}


@pytest.mark.parametrize(("nodes", "tensors", "other", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_imported_is_refused_by_name(nodes, tensors, other, said, tmp_path):
    with pytest.raises(ModelError, match=said):
        import_onnx(write(tmp_path / "net.onnx", nodes, SHAPE, tensors, **other))


def test_sizes_that_are_not_fixed_are_refused(tmp_path):
    with pytest.raises(ModelError, match="fixed sizes behind it"):
        import_onnx(write(tmp_path / "net.onnx", [node("Relu", "x")], ("height", 3), {}))
    with pytest.raises(ModelError, match="fixed sizes behind it"):
        import_onnx(write(tmp_path / "net.onnx", [node("Relu", "x")], (), {}))


def test_a_file_that_is_none_is_refused(tmp_path, monkeypatch):
    with pytest.raises(NotFoundError, match="there is no file"):
        import_onnx(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a model")
    with pytest.raises(ModelError, match="is no ONNX model"):
        import_onnx(tmp_path / "text.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"pip install 'quintain\[onnx\]'"):
        import_onnx(tmp_path / "text.onnx")


def test_constants_are_cast_as_the_file_says(tmp_path):
    """Weights that half precision rounds: off by less than the import itself would be noticed for."""
    nodes = [
        node("Flatten", "x", output="f"),
        node("Cast", "w", output="half", to=TensorProto.FLOAT16),
        node("Cast", "half", output="v", to=TensorProto.FLOAT),
        node("MatMul", "f", "v"),
    ]
    weight = np.array([[0.1001], [0.2003]], np.float32)
    net = import_onnx(write(tmp_path / "net.onnx", nodes, (2,), {"w": weight}))
    rounded = weight.astype(np.float16).astype(np.float32)
    assert not np.array_equal(weight, rounded)
    assert net(torch.eye(2)).numpy().tolist() == rounded.tolist()


def test_axes_of_old_operators_are_read_on_constants_too(tmp_path):
    nodes = [node("Squeeze", "w", output="v", axes=[0]), node("MatMul", "x", "v")]
    net = import_onnx(write(tmp_path / "net.onnx", nodes, (2,), {"w": np.ones((1, 2, 1), "f")}, opset=11))
    assert net(torch.ones(1, 2)).tolist() == [[2.0]]


def test_a_value_of_any_name_is_no_constant(tmp_path, monkeypatch):
    monkeypatch.setattr(same_outputs, "onnxruntime_function", lambda path: None)
    nodes = [node("Relu", "x", output="tensor_0"), node("Mul", "tensor_0", "c")]
    net = import_onnx(write(tmp_path / "net.onnx", nodes, (2,), {"c": np.array([3.0, 5.0], "f")}))
    assert net(torch.ones(1, 2)).tolist() == [[3.0, 5.0]]


def test_a_wrong_import_is_noticed_by_onnxruntime(pair, monkeypatch):
    _, path = pair
    monkeypatch.setitem(OPERATORS, "Relu", OPERATORS["Identity"])
    with pytest.raises(ModelError, match="other outputs than onnxruntime"):
        import_onnx(path)
    monkeypatch.setattr(same_outputs, "onnxruntime_function", lambda path: None)
    assert isinstance(import_onnx(path), nn.Module)


@pytest.mark.parametrize(
    ("mixed", "said"),
    [
        (lambda h: h.sum(0, keepdim=True), r"for one example and \(1, 4, 3, 3\) for two"),
        (lambda h: h - h.mean(0, keepdim=True), "something else in a batch than alone"),
    ],
)
def test_an_import_that_mixes_examples_is_noticed_without_onnxruntime(pair, monkeypatch, mixed, said):
    monkeypatch.setattr(same_outputs, "onnxruntime_function", lambda path: None)
    monkeypatch.setitem(OPERATORS, "Relu", lambda _: ConvertedNode(function=mixed))
    with pytest.raises(ModelError, match=said):
        import_onnx(pair[1])


def test_without_onnxruntime_a_net_is_imported_by_itself(pair, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert isinstance(import_onnx(pair[1]), nn.Module)


def test_outputs_of_another_shape_are_noticed(pair, monkeypatch):
    monkeypatch.setattr(same_outputs, "onnxruntime_function", lambda path: lambda x: np.zeros((len(x), 4)))
    with pytest.raises(ModelError, match=r"\(9, 3\) and \(9, 4\)"):
        import_onnx(pair[1])


@pytest.mark.parametrize("bias", [-10, -20, -30, -50, 20])
@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh", "Gelu", "Softmax", "LogSoftmax"])
def test_what_runtimes_approximate_is_no_other_net(tmp_path, kind, bias):
    """Where an answer is nearly 0, one runtime has 1e-13 and the other 1e-8."""
    nodes = [node("Clip", "x", "low", "high", output="c"), node("Gemm", "c", "w", "b", output="z")]
    tensors = {"w": 0.01 * normal(4, 3), "b": np.array([bias, 0, bias], "f")}
    tensors |= {"low": np.float32(0), "high": np.float32(1)}
    import_onnx(write(tmp_path / "net.onnx", [*nodes, node(kind, "z")], (4,), tensors))


def test_an_answer_that_is_no_number_somewhere_is_no_other_net(tmp_path):
    nodes = [node("Relu", "x", output="r"), node("ReduceSum", "r", "axes", output="s"), node("Div", "r", "s")]
    net = import_onnx(write(tmp_path / "net.onnx", nodes, (2,), {"axes": np.array([1])}))
    assert net(-torch.ones(1, 2)).isnan().all()


def test_a_bias_that_is_one_number_is_added(tmp_path):
    nodes = [node("MatMul", "x", "w", output="p"), node("Add", "p", "b")]
    net = import_onnx(
        write(tmp_path / "net.onnx", nodes, (2,), {"w": np.ones((2, 1), "f"), "b": np.float32(5)})
    )
    assert net(torch.ones(1, 2)).tolist() == [[7.0]]


def test_a_file_that_onnxruntime_does_not_open_is_refused(pair):
    model = onnx.load(pair[1])
    model.ir_version = 99
    onnx.save_model(model, pair[1])
    with pytest.raises(ModelError, match="is no ONNX model that onnxruntime can run"):
        import_onnx(pair[1])


def test_a_file_that_onnxruntime_fails_on_is_refused(tmp_path):
    path = write(tmp_path / "net.onnx", [node("Reshape", "x", "s")], (2, 2), {"s": np.array([1, 4])})
    with pytest.raises(ModelError, match=r"onnxruntime fails on .* a batch of one"):
        import_onnx(path)


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pads_beside_valid_sides_are_none(tmp_path, kind):
    """As onnxruntime has it, which does not look at them."""
    nodes = [node(kind, "x", kernel_shape=[2, 2], auto_pad="VALID", pads=[1, 1, 1, 1])]
    path = write(tmp_path / "net.onnx", nodes, SHAPE, {})
    theirs = onnxruntime.InferenceSession(path).run(None, {"x": np.ones((1, *SHAPE), "f")})[0]
    assert import_onnx(path)(torch.ones(1, *SHAPE)).shape == theirs.shape


@pytest.mark.parametrize("large", [1.0, 1e5])
def test_one_large_number_does_not_hide_a_wrong_import(tmp_path, monkeypatch, large):
    """Outputs differ by what each of them follows its weights, not by what the largest one does."""
    nodes = [node("Gemm", "x", "v", output="h"), node("Relu", "h", output="r"), node("Gemm", "r", "w", "b")]
    tensors = {"v": np.diag([1, -1]).astype("f"), "w": np.eye(2, dtype="f"), "b": np.array([0, large], "f")}
    path = write(tmp_path / "net.onnx", nodes, (2,), tensors)
    import_onnx(path)
    # at pictures the second output alone is off, by at most 1
    monkeypatch.setitem(OPERATORS, "Relu", OPERATORS["Identity"])
    with pytest.raises(ModelError, match="other outputs than onnxruntime"):
        import_onnx(path)


def test_large_inputs_do_not_hide_what_differs_at_pictures(tmp_path, monkeypatch):
    """A bias of 0.4 beside sums of some thousand is left out."""
    tensors = {"w": 0.5 * normal(784, 3), "b": np.array([0.4, 0, -0.4], "f")}
    path = write(tmp_path / "net.onnx", [node("Gemm", "x", "w", "b")], (784,), tensors)
    import_onnx(path)
    whole = OPERATORS["Gemm"]

    def without_bias(given):
        made = whole(given)
        made.layer.bias = None
        return made

    monkeypatch.setitem(OPERATORS, "Gemm", without_bias)
    with pytest.raises(ModelError, match="other outputs than onnxruntime"):
        import_onnx(path)


def test_what_differs_beyond_pictures_is_noticed(tmp_path, monkeypatch):
    path = write(tmp_path / "net.onnx", [node("Clip", "x", "", "top")], (2,), {"top": np.float32(2)})
    monkeypatch.setitem(OPERATORS, "Clip", OPERATORS["Identity"])
    with pytest.raises(ModelError, match="other outputs than onnxruntime"):
        import_onnx(path)


def test_numbers_that_a_file_of_float64_leaves_out_are_those_of_float32(tmp_path):
    """1e-5 as float32 is what onnxruntime adds to a variance: at 0 that shows."""
    column = {name: np.array([value]) for name, value in zip("somv", (1.0, 0.0, 0.0, 0.0), strict=True)}
    nodes = [node("BatchNormalization", "x", *"somv")]
    path = write(tmp_path / "net.onnx", nodes, (1,), column, kind=TensorProto.DOUBLE, opset=15)
    theirs = onnxruntime.InferenceSession(path).run(None, {"x": np.ones((1, 1))})[0].item()
    assert import_onnx(path)(torch.ones(1, 1, dtype=torch.float64)).item() == pytest.approx(
        theirs, rel=1e-13, abs=0
    )
