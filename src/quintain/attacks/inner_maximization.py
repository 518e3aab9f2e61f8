"""The inner maximization of adversarial training: all examples take all steps, and nothing is counted."""

import torch
from torch import Tensor

from quintain.attacks.input_gradient import input_gradient
from quintain.attacks.outcome import Model
from quintain.attacks.step_sizes import ascent_step, cosine_step_sizes
from quintain.losses.cross_entropy import log_odds
from quintain.threats.rng import example_rng
from quintain.threats.threat import Threat


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
    z = threat.sample(x, example_rng(x, seed, ids).fold_in("ascent"), cache)
    for step_size in cosine_step_sizes(threat.eps, steps, rel_step_size):
        with torch.enable_grad():
            z.requires_grad_()
            # the log odds: their gradient has the direction of the cross-entropy's, and does not underflow
            gradient = input_gradient(log_odds(model(z), y).sum(), z)
        z = ascent_step(threat, step_size, z.detach(), gradient, x, cache)
    return z
