"""The inner maximization of adversarial training: all examples take all steps, and no query is counted."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from quintain.attacks.input_gradient import input_gradient
from quintain.attacks.outcome import Model
from quintain.attacks.step_sizes import ascent_step, cosine_step_sizes
from quintain.losses.cross_entropy import log_odds
from quintain.threats.rng import example_rng
from quintain.threats.threat import ProjectionCache, Threat


@torch.inference_mode(False)
@torch.no_grad()
def maximize_loss(
    model: Model,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    steps: int,
    rel_step_size: float,
    seed: int,
    ids: Tensor | None = None,
) -> Tensor:
    """Return the last iterate (B, *S) of projected gradient ascent on the cross-entropy.

    Unlike in ``PGD`` an example goes on after a success, since training needs a large loss, not a success. No
    weight gets a gradient, and the model's mode is left as it is.

    Args:
        model: Gives logits (B, K); usually the net in training.
        x: Inputs (B, *S) in the threat's box.
        y: True classes (B,) long.
        threat: What may be changed.
        steps: Gradients per example.
        rel_step_size: Length of the first step, as a fraction of the threat's ``eps``.
        seed: Seed of the random starts; give each training step its own.
        ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.

    Raises:
        ModelError: If the logits do not depend on the inputs by differentiable steps.

    Source: Madry et al., 2018, arXiv:1706.06083.
    """
    x = x.detach().clone()
    cache = threat.projection_cache(x)
    start = threat.sample(x, example_rng(x, seed, ids).fold_in("ascent"), cache)
    # the gradient of the log odds has the direction of the cross-entropy's, and does not underflow
    return ascend_loss(
        model,
        x,
        threat,
        lambda logits: log_odds(logits, y),
        start=start,
        step_sizes=cosine_step_sizes(threat.eps, steps, rel_step_size),
        cache=cache,
    )


@torch.inference_mode(False)
@torch.no_grad()
def ascend_loss(
    model: Model,
    x: Tensor,
    threat: Threat,
    loss: Callable[[Tensor], Tensor],
    *,
    start: Tensor,
    step_sizes: Sequence[float],
    cache: ProjectionCache | None = None,
) -> Tensor:
    """Return the last iterate (B, *S) of projected gradient ascent on any loss of the logits.

    Args:
        model: Gives logits (B, K); usually the net in training.
        x: Inputs (B, *S) in the threat's box.
        threat: What may be changed.
        loss: Gives each example's loss (B,) for logits (B, K).
        start: First points (B, *S).
        step_sizes: Length of each step, in the units of the threat's ``eps``.
        cache: The projection cache of ``x``; made here if not given.

    Raises:
        ModelError: If the logits do not depend on the inputs by differentiable steps.
    """
    z, cache = start, threat.projection_cache(x) if cache is None else cache
    for step_size in step_sizes:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            gradient = input_gradient(loss(model(z)).sum(), z)
        z = ascent_step(threat, step_size, z.detach(), gradient, x, cache)
    return z
