"""ONNX files as models that are asked."""

import sys

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from quintain.attacks import PGD, RayS
from quintain.core.errors import ModelError, NotFoundError
from quintain.models import load_model, load_onnx
from quintain.threats import Linf

WEIGHTS = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)


def write(
    path,
    *,
    batch="batch",
    kind=TensorProto.FLOAT,
    outputs=("logits",),
    weights=WEIGHTS,
    inputs=1,
    beside=False,
):
    """Flatten, then one matrix; further outputs are copies."""
    dtype = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.INT64: np.int64}[kind]
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], [outputs[0]]),
    ]
    nodes += [helper.make_node("Identity", [outputs[0]], [name]) for name in outputs[1:]]
    graph = helper.make_graph(
        nodes,
        "line",
        [
            helper.make_tensor_value_info("x" if at == 0 else f"x{at}", kind, [batch, 1, 3, 3])
            for at in range(inputs)
        ],
        [helper.make_tensor_value_info(name, kind, [batch, 3]) for name in outputs],
        [numpy_helper.from_array(weights.astype(dtype), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if beside:
        onnx.save_model(
            model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0
        )
    else:
        onnx.save_model(model, path)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "line.onnx"


def expected(x):
    return (x.flatten(1).double() @ torch.from_numpy(WEIGHTS).double()).float()


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_scores_are_those_of_the_file_at_any_batch_size(path, kind, batch):
    model = load_model(str(write(path, kind=kind, batch=batch)))
    for count in (1, 4, 7):
        x = torch.rand(count, 1, 3, 3)
        assert torch.allclose(model(x).float(), expected(x), atol=1e-5)
    assert (model.access, model.num_classes, model.name) == ("scores", 3, "line.onnx")
    assert model(torch.rand(0, 1, 3, 3)).shape == (0, 3)


def test_a_prefix_says_the_same(path):
    assert load_model(f"onnx:{write(path)}").hash == load_model(str(path)).hash


def test_the_hash_is_that_of_the_files(path, tmp_path):
    first = load_onnx(write(path)).hash
    assert load_onnx(write(tmp_path / "again.onnx")).hash == first
    assert load_onnx(write(path, weights=WEIGHTS + 1)).hash != first
    apart = load_onnx(write(path, beside=True)).hash
    assert load_onnx(write(path, beside=True, weights=WEIGHTS + 1)).hash != apart


def test_of_several_outputs_the_named_one_is_taken(path):
    x = torch.rand(2, 1, 3, 3)
    assert torch.allclose(load_onnx(write(path, outputs=("logits", "features")))(x), expected(x), atol=1e-5)
    with pytest.raises(
        ModelError, match=r"gives a tensor\(float\).*b tensor\(float\).*; expected one floating-point output"
    ):
        load_onnx(write(path, outputs=("a", "b")))


def test_an_attack_that_needs_labels_alone_breaks_it_and_one_by_gradients_is_refused(path):
    model = load_onnx(write(path))
    x = torch.rand(6, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    y = model.predict(x)
    outcome = RayS()(model, x, y, Linf(0.9))
    assert (model.predict(outcome.adversarial) != y)[outcome.success].all()
    assert outcome.success.any()
    with pytest.raises(
        ModelError, match=r"pgd needs gradients, and the model gives scores only. Attacks that can: .*rays"
    ):
        PGD()(model, x, y, Linf(0.1))


def test_inputs_of_another_shape_are_refused_before_they_are_asked(path):
    with pytest.raises(
        ModelError, match=r"line.onnx takes inputs of shape \(batch, 1, 3, 3\); got \(2, 3, 3, 3\)"
    ):
        load_onnx(write(path))(torch.rand(2, 3, 3, 3))
    with pytest.raises(ModelError, match=r"got \(2, 9\)"):
        load_onnx(path)(torch.rand(2, 9))


def test_files_that_are_no_classifier_are_refused(path, tmp_path):
    with pytest.raises(ModelError, match="expected one floating-point input"):
        load_onnx(write(path, kind=TensorProto.INT64))
    with pytest.raises(ModelError, match=r"takes x .* x1 .*; expected one floating-point input"):
        load_onnx(write(path, inputs=2))
    with pytest.raises(NotFoundError, match="there is no file"):
        load_onnx(tmp_path / "absent.onnx")
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="is no ONNX model that onnxruntime can run"):
        load_onnx(path)


def test_without_the_extra_the_remedy_is_named(path, monkeypatch):
    write(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'quintain\[onnx\]'"):
        load_onnx(path)
