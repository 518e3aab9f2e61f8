"""Batch matching: all pictures of a batch are optimized together until their mean gradient is the update."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage.updates.gradient_matching import SOLVED_LOSS, GradientMatchingLoss, signed_adam
from quintain.leakage.updates.gradient_parts import as_gradient_list
from quintain.leakage.updates.label_recovery import infer_label_counts, labels_of
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints


def probe_inputs(shape: Sequence[int], *, seed: int, count: int = 64) -> Tensor:
    """Return inputs (count, *shape) that stand for examples where none are known: uniform in [0, 1]."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "probe-inputs"))
    return torch.rand(count, *shape, generator=generator)


def match_batch(
    net: nn.Module,
    gradient: Tensor | Sequence[Tensor],
    shape: Sequence[int],
    num_examples: int,
    *,
    like: Tensor | None = None,
    steps: int = 800,
    restarts: int = 1,
    tv_weight: float = 1e-4,
    seed: int = 0,
    progress: Progress = no_progress,
    checkpoints: Checkpoints = no_checkpoints,
) -> tuple[Tensor, float]:
    r"""Reconstruct all examples behind a mean gradient of cross-entropy, in any order.

    .. math:: \min_{x_1, \dots, x_B} 1 - \cos\Big(\frac1B \sum_i \nabla \ell(x_i, y_i),\; g\Big)
        + \frac{\tau}{B} \sum_i TV(x_i)

    with the labels that ``infer_label_counts`` estimates.

    Args:
        net: The weights at which the gradient was taken, in evaluation mode; it is copied, not changed.
        gradient: Of the mean loss, as for ``invert_gradient``.
        shape: Of one example.
        num_examples: B.
        like: Inputs (n, *shape) that are like the examples; uniform noise if not given.
        steps: Of each start.
        restarts: Random starts, until the gradients agree; the best is chosen by its loss.
        tv_weight: tau.
        seed: Of the starts.
        progress: Shows a bar of steps.
        checkpoints: Keeps the state of each start on the way.

    Returns:
        The images (B, *shape) in [0, 1], and one minus the cosine that they reach.

    Guarantee: a witness only.

    Source: Geiping, Bauermeister, Droege and Moeller, 2020, arXiv:2003.14053, section 5.
    """
    if steps < 1 or restarts < 1 or tv_weight < 0:
        raise SettingError(
            f"steps = {steps}, restarts = {restarts}, tv_weight = {tv_weight}; expected at least 1, 1 and 0"
        )
    net = copy.deepcopy(net).requires_grad_(True)
    target = as_gradient_list(net, gradient)
    probes = probe_inputs(shape, seed=seed) if like is None else like
    labels = labels_of(infer_label_counts(net, target, num_examples, probes))
    loss_of = GradientMatchingLoss(net, target, labels)
    best, lowest = torch.zeros(num_examples, *shape).to(target[0]), torch.inf
    with progress.bar("invert", steps * restarts) as advance:
        for number in range(restarts):
            generator = torch.Generator().manual_seed(derive_seed(seed, "batch-inversion", number))
            start = torch.rand(num_examples, *shape, generator=generator).to(target[0])
            kept = checkpoints.loop(f"batch-{number}")
            images = signed_adam(loss_of, start, steps, tv_weight, advance, kept)
            loss = loss_of(images).nan_to_num(nan=torch.inf).clamp(min=0).item()
            if loss < lowest:
                best, lowest = images, loss
            if loss < SOLVED_LOSS:
                advance(steps * (restarts - number - 1))  # the other starts are skipped
                break
    return best, lowest
