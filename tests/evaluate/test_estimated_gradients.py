"""Gradients of a smoothed model, estimated from its answers."""

from dataclasses import replace

import torch

from quintain.certify.smoothing import SmoothedClassifier
from quintain.evaluate.estimated_gradients import with_estimated_gradients
from quintain.models.blackbox import BlackBox
from tests.evaluate.support.halfspace import halfspace


def test_the_estimated_gradient_is_that_of_a_halfspace():
    smooth, x = (
        SmoothedClassifier(halfspace().model, 0.5),
        torch.tensor([[0.5, 0.4], [0.2, 0.9]], requires_grad=True),
    )
    (found,) = torch.autograd.grad(with_estimated_gradients(smooth, 3)(x)[:, 1].sum(), x)
    (exact,) = torch.autograd.grad(replace(smooth, surrogate_samples=4000)(x)[:, 1].sum(), x)
    assert torch.cosine_similarity(found, exact).min() > 0.95
    torch.testing.assert_close(found.norm(dim=1), exact.norm(dim=1), rtol=0.3, atol=0)


def test_a_base_that_answers_in_float64_gives_the_same_estimate():
    smooth, x = SmoothedClassifier(halfspace().model, 0.5), torch.tensor([[0.5, 0.4]], requires_grad=True)
    inner = halfspace().model
    box = BlackBox(lambda z: inner(torch.from_numpy(z)).detach().double().numpy(), num_classes=2)
    estimates = [
        torch.autograd.grad(with_estimated_gradients(one, 3)(x)[:, 1].sum(), x)[0]
        for one in (smooth, SmoothedClassifier(box, 0.5))
    ]
    torch.testing.assert_close(*estimates)
