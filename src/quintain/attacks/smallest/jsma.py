"""The Jacobian-based saliency map attack."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.attacks.method import Method
from quintain.attacks.search import Search
from quintain.attacks.smallest.pixels import corners, per_pixel
from quintain.attacks.smallest.reach import refine
from quintain.core.errors import SettingError
from quintain.losses.cross_entropy import log_odds
from quintain.threats.columns import highest, over_pixels
from quintain.threats.rounding import box_inside


@dataclass(frozen=True, slots=True)
class JSMA(Method):
    r"""Two more pixels a step, those that a saliency map names, each taken to the corner of the box where it helps.

    .. math:: \arg\max_{i < j} \; -(\partial_i F_t + \partial_j F_t) \sum_{k \ne t} (\partial_i F_k + \partial_j F_k)

    with :math:`\partial_p` the rise along pixel p's way to its corner and :math:`F` the probabilities. These add up to 1, so the second
    factor is minus the first, the map is the square of what both pixels add to :math:`F_t`, and the best pair are the two pixels of the
    largest rise: no pair has to be compared. A pixel is used once, in whichever direction helps. At the end those that are not needed
    are given back.

    :math:`t` is the target, or each example's wrong class of the largest clean logit. No more pixels are tried than
    twice the threat's ``eps``.

    Args:
        pair: Pixels a step.

    Raises:
        SettingError: If ``pair`` is not positive.

    Guarantee:
        What it calls broken is of the size given and was answered wrongly twice; there may be smaller changes.

    Source: Papernot et al., 2016, arXiv:1511.07528; both directions: Wiyatno and Xu, 2018, arXiv:1808.07945.
    """

    name: ClassVar[str] = "jsma"
    serves: ClassVar[tuple[str, ...]] = ("l0",)
    smallest: ClassVar[bool] = True

    pair: int = 2

    def __post_init__(self) -> None:
        if self.pair < 1:
            raise SettingError(f"pair = {self.pair}; expected at least 1 pixel a step")

    def pursue(self, search: Search) -> None:
        """Add pixels until each example breaks, then give back."""
        low, high = box_inside(search.threat.low, search.threat.high, search.x.dtype)
        rows = search.rows
        if not len(rows):
            return
        everyone = torch.arange(len(search.x), device=search.x.device)
        towards = search.goal.targets if search.goal.targets is not None else search.rivals(everyone, 1).squeeze(1)

        def chance(logits: Tensor, rows: Tensor) -> Tensor:
            return -log_odds(logits, towards[rows])

        clean = z = search.x[rows]
        fresh = torch.ones_like(per_pixel(clean), dtype=torch.bool)
        for _ in range(math.ceil(2 * search.threat.eps / self.pair) + 1):
            still = search.standing(rows) & search.size[rows].isinf() & fresh.any(1)
            rows, clean, z, fresh = rows[still], clean[still], z[still], fresh[still]
            if not len(rows):
                break
            gradient = search.slope(z, rows, chance).gradient.nan_to_num(0.0, 0.0, 0.0)
            change = corners(gradient, clean, low, high)
            rise = per_pixel(gradient * change).masked_fill(~fresh, 0)
            chosen = highest(rise, torch.full_like(rows, self.pair)) & (rise > 0)
            z = torch.where(over_pixels(chosen, z), (clean + change).clamp(low, high), z)
            fresh &= ~chosen & chosen.any(1, keepdim=True)
        refine(search, search.rows)
