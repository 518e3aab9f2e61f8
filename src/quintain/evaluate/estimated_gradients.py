"""Estimate the gradient of a smoothed model whose base gives none, from outputs for noisy copies."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import torch
from torch import Tensor

from quintain.certify.noisy_votes import BATCH_ELEMENTS
from quintain.certify.smoothing import SmoothedClassifier
from quintain.core.seeds import derive_seed

NOISE_PAIRS = 128
"""Pairs of opposite noise for one gradient: twice as many answers."""

MIN_PROBABILITY = 1e-12
"""The least mean probability that is divided by."""


def with_estimated_gradients(smooth: SmoothedClassifier, seed: int) -> Callable[[Tensor], Tensor]:
    r"""Return the smoothed model as a differentiable function (B, *S) to log-probabilities (B, K).

    Its base cannot be differentiated.

    .. math:: \nabla_x\, E[p(x + \sigma u)] = E[p(x + \sigma u)\, u] / \sigma, \qquad u \sim N(0, I)

    (Stein's lemma), over fresh pairs of opposite noise in each call, which all examples of the call share.

    Args:
        smooth: Only the outputs of its base are used: scores, or labels as scores of 0 and 1.
        seed: Of the noise.

    Source: Stein, 1981 (Annals of Statistics 9); for smoothed classifiers, Salman et al., 2019,
    arXiv:1906.04584, lemma 1.
    """
    calls = count()
    return lambda x: _EstimatedLogits.apply(x, smooth, derive_seed(seed, "estimate", next(calls)))


class _EstimatedLogits(torch.autograd.Function):
    """Log of the mean softmax over noisy copies, and Stein's estimate in place of its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, smooth: SmoothedClassifier, seed: int) -> Tensor:
        found = []
        for noise in _noise(x, seed):
            # both signs of each noise side by side: (B, n, 2, *S)
            copies = x[:, None, None] + smooth.sigma * torch.stack([noise, -noise], 1)
            found.append(
                smooth.base_classifier(copies.flatten(0, 2)).softmax(1).unflatten(0, copies.shape[:3])
            )
        each = torch.cat(found, 1)
        mean = each.mean((1, 2)).clamp(min=MIN_PROBABILITY)
        ctx.save_for_backward(x, each, mean)
        ctx.sigma, ctx.seed = smooth.sigma, seed
        return mean.log()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        x, each, mean = ctx.saved_tensors
        # how much each copy counts: its probabilities, by the slope of the logarithm; (B, pairs), one sign
        # less the other
        weight = (each * (g / mean)[:, None, None]).sum(3)
        weight = ((weight[..., 0] - weight[..., 1]) / (2 * NOISE_PAIRS * ctx.sigma)).to(x.dtype)
        total, begin = torch.zeros_like(x), 0
        for noise in _noise(x, ctx.seed):
            total += torch.tensordot(weight[:, begin : begin + len(noise)], noise, 1)
            begin += len(noise)
        return total, None, None


def _noise(x: Tensor, seed: int) -> Iterator[Tensor]:
    """Yield the noise of one gradient in blocks (n, *S) that bound the memory.

    It is the same for the same seed and batch.
    """
    generator = torch.Generator().manual_seed(seed)
    for block in torch.arange(NOISE_PAIRS).split(max(1, BATCH_ELEMENTS // max(1, 2 * x.numel()))):
        yield torch.empty(len(block), *x.shape[1:], dtype=torch.float32).normal_(generator=generator).to(x)
