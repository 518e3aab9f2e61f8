"""The Jacobian-based saliency map attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.base import Attack
from quintain.attacks.minimum_norm.refinement import change_to_corners, refine, sum_channels
from quintain.attacks.search import Search
from quintain.core.errors import SettingError
from quintain.losses.cross_entropy import log_odds
from quintain.threats.broadcast import expand_pixels, top_k_mask
from quintain.threats.rounding import representable_box


@dataclass(frozen=True, slots=True)
class JSMA(Attack):
    r"""Two more pixels per step, chosen by a saliency map, each set to the corner of the box where it helps.

    .. math::
        \arg\max_{i < j} \; -(\partial_i F_t + \partial_j F_t)
        \sum_{k \ne t} (\partial_i F_k + \partial_j F_k)

    with :math:`\partial_p` the first-order increase as pixel p goes to its corner, and :math:`F` the
    probabilities. Probabilities sum to 1, so the gradient of all other classes together is minus that of the
    target: the saliency of a pair is :math:`(\partial_i F_t + \partial_j F_t)^2`. It is largest for the two
    pixels with the largest :math:`\partial_i F_t`, so no search over pairs is needed. A pixel is used once,
    in whichever direction helps; at the end those that are not needed are restored.

    :math:`t` is the target, or each example's wrong class of the largest clean logit. No more pixels are
    tried than twice the threat's ``eps``.

    Args:
        pixels_per_step: How many pixels each step sets; 2 in the paper.

    Raises:
        SettingError: If ``pixels_per_step`` is not positive.

    Guarantee:
        Each success has the stated size and was confirmed by a second forward pass on the stored point. A
        smaller perturbation may exist.

    Source: Papernot et al., 2016, arXiv:1511.07528; both directions: Wiyatno and Xu, 2018, arXiv:1808.07945.
    """

    name: ClassVar[str] = "jsma"
    summary: ClassVar[str] = (
        "two more pixels a step, each to the corner where it helps: cheap, rough on robust models"
    )
    use_for: ClassVar[str] = "few pixels at few gradients; comparisons with older work"
    cost: ClassVar[str] = "a gradient for each {pixels_per_step} pixels, up to twice the threat's count"
    supports: ClassVar[tuple[str, ...]] = ("l0",)
    minimum_norm: ClassVar[bool] = True
    optimality_gap: ClassVar = {"any": 0}

    pixels_per_step: int = 2

    def __post_init__(self) -> None:
        if self.pixels_per_step < 1:
            raise SettingError(f"pixels_per_step = {self.pixels_per_step}; expected at least 1 pixel a step")

    def run(self, search: Search) -> None:
        """Add pixels until each example succeeds, then restore those that are not needed."""
        low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
        rows = search.active_rows
        if not len(rows):
            return
        everyone = torch.arange(len(search.x), device=search.x.device)
        target_class = (
            search.goal.targets
            if search.goal.targets is not None
            else search.top_wrong_classes(everyone, 1).squeeze(1)
        )

        def target_log_odds(logits: Tensor, rows: Tensor) -> Tensor:
            return -log_odds(logits, target_class[rows])

        clean = z = search.x[rows]
        unused = torch.ones_like(sum_channels(clean), dtype=torch.bool)
        for _ in range(math.ceil(2 * search.threat.eps / self.pixels_per_step) + 1):
            active = search.is_active(rows) & search.best_size[rows].isinf() & unused.any(1)
            rows, clean, z, unused = rows[active], clean[active], z[active], unused[active]
            if not len(rows):
                break
            gradient = search.value_and_grad(z, rows, target_log_odds).gradient.nan_to_num(0.0, 0.0, 0.0)
            # First-order increase of the target's log odds if a pixel goes to its corner; the unused pixels
            # with the largest are set.
            change = change_to_corners(gradient, clean, low, high)
            rise = sum_channels(gradient * change).masked_fill(~unused, 0)
            chosen = top_k_mask(rise, torch.full_like(rows, self.pixels_per_step)) & (rise > 0)
            z = torch.where(expand_pixels(chosen, z), (clean + change).clamp(low, high), z)
            unused &= ~chosen & chosen.any(1, keepdim=True)
        refine(search, search.active_rows)
