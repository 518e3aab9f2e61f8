"""Gradients of a smoothed model, estimated from its answers."""

from dataclasses import replace

import torch

from quintain.certify.smoothing import SmoothedClassifier
from quintain.evaluate.estimated_gradients import with_estimated_gradients
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
