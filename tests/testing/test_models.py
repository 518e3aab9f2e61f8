"""Fake models do what they say, and the laws see those that do not."""

import pytest
import torch

from quintain.attacks import FGSM, PGD
from quintain.core.errors import ModelError
from quintain.testing import (
    FailingModel,
    InterruptedCallError,
    LimitedAccessModel,
    MeanSparse,
    RecordingModel,
    batch_invariant_net,
    random_inputs,
)
from quintain.threats import Linf

NET = batch_invariant_net(4, 3, seed=1)
X = random_inputs(5, 4)


def test_a_masked_layer_gives_the_mean_near_the_mean_and_no_gradient_there():
    features = torch.tensor([[0.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    layer = MeanSparse(features, 0.5)
    x = torch.tensor([[2.9, 5.0], [3.1, 6.0]], requires_grad=True)
    out = layer(x)
    assert torch.equal(out, torch.tensor([[2.0, 5.0], [3.1, 6.0]]))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert MeanSparse(torch.rand(4, 3, 2, 2), 1.0).mean.shape == (1, 3, 1, 1)


def test_a_recording_model_keeps_each_batch_as_it_was():
    model, x = RecordingModel(NET), X.clone()
    assert torch.equal(model(x), NET(X))
    x.zero_()
    model(x[:2])
    assert [len(batch) for batch in model.batches] == [5, 2]
    assert torch.equal(model.batches[0], X)
    assert model.num_queries == 7
    assert RecordingModel()(X).argmax(1).tolist() == [0] * 5


def test_a_model_of_labels_tells_nothing_else_and_one_of_scores_no_gradient():
    labels, scores = LimitedAccessModel(NET, "labels"), LimitedAccessModel(NET, "scores")
    assert torch.equal(labels(X), torch.nn.functional.one_hot(NET(X).argmax(1), 3).double())
    assert torch.equal(scores(X), NET(X))
    assert not scores(X.clone().requires_grad_()).requires_grad
    with pytest.raises(ModelError, match="needs gradients, and the model gives scores only"):
        PGD()(scores, X, NET(X).argmax(1), Linf(0.1))


def test_a_failing_model_fails_from_its_call_on():
    model = FailingModel(NET, fail_at=2)
    model(X)
    for call in (2, 3):
        with pytest.raises(InterruptedCallError, match=f"call {call} fails"):
            model(X)
    assert torch.equal(FailingModel(NET)(X), NET(X))


def test_a_batch_invariant_net_gives_the_same_bits_in_any_batch():
    x = random_inputs(33, 4, seed=2)
    assert torch.equal(torch.cat([NET(row) for row in x.split(1)]), NET(x))
    assert not FGSM()(
        batch_invariant_net(4, 3, lead=40.0), x, torch.zeros(33).long(), Linf(0.5)
    ).success.any()
