"""The inner maximum of adversarial training: every example is pushed to the end, and nothing is counted."""

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.attacks.step import advance, lengths
from quintain.losses.cross_entropy import log_odds
from quintain.threats.ball import Ball
from quintain.threats.draw import draws


@torch.inference_mode(False)
@torch.no_grad()
def ascend(model: Model, x: Tensor, y: Tensor, threat: Ball, *, steps: int, rate: float, seed: int, ids: Tensor | None = None) -> Tensor:
    """Points (B, *S) of the threat where the cross-entropy is about largest: the last iterate of projected gradient ascent.

    Unlike ``PGD``, a broken example goes on, since training wants the worst point and not the first break; the model's answer is
    not judged. No weight gets a gradient, and the model's mode is left as it is.

    Args:
        model: Gives logits (B, K); usually the net in training.
        x: Inputs (B, *S) in the threat's box.
        y: True classes (B,) long.
        threat: What may be changed.
        steps: Gradients per example.
        rate: Length of the first step, as a share of the threat's ``eps``.
        seed: Of the random starts; give each training step its own.
        ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.

    Source: Madry et al., 2018, arXiv:1706.06083.
    """
    x = x.detach().clone()
    room = threat.room(x)
    z = threat.sample(x, draws(x, seed, ids).at("ascent"), room)
    for length in lengths(threat.eps, steps, rate):
        with torch.enable_grad():
            z.requires_grad_()
            (gradient,) = torch.autograd.grad(log_odds(model(z), y).sum(), z)
        z = advance(threat, length, z.detach(), gradient, x, room)
    return z
