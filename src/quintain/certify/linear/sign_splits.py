r"""Parts of a threat, each given by the signs of some ReLUs' inputs, and linear bounds over them.

Where a part has :math:`h \ge 0` (sign 1), ReLU is the identity, and where it has :math:`h \le 0` (sign -1) it
is 0; and for every multiplier :math:`\beta \ge 0` nothing is lost by taking off

.. math:: A\,relu(h) \;\ge\; A\,relu(h) - \beta \cdot sign \cdot h,

so that the sign itself counts (weak duality). Where no sign is given, the lower line has any slope in [0, 1].

Source: Wang et al., 2021, arXiv:2103.06624 (beta-CROWN).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.certify.interval.recording import Lines


@dataclass(frozen=True, slots=True, eq=False)
class SignSplits:
    """What N parts say of the ReLUs of one operation; bounds hold for whatever slopes and multipliers.

    Args:
        units: Positions of some ReLUs among its values, flattened (m,).
        signs: Of their inputs in each part (N, m): 1, -1, or 0 for either.
        slopes: Of their lower lines (N, m).
        multipliers: Of the signs (N, m).
    """

    units: Tensor
    signs: Tensor
    slopes: Tensor
    multipliers: Tensor

    def carry(self, lines: Lines, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows over the inputs of the ReLUs (N, n), and what their sum has beside (N,).

        Args:
            lines: Of the ReLUs, over the whole threat.
            positive, negative: Positive and negative part of the rows over the values of the ReLUs (N, n).
        """
        low, low_intercept, high, high_intercept = (part.flatten() for part in lines[:4])
        units, signs = self.units, self.signs
        is_split, is_identity = signs != 0, (signs > 0).to(low.dtype)

        def at_units(values: Tensor, split: Tensor) -> Tensor:
            """Values (N, n) that are those of ``split`` (N, m) at the units."""
            return values.expand(len(signs), -1).index_copy(1, units, split)

        slopes = torch.where(is_split, is_identity, self.slopes.clamp(0, 1))
        upper_slopes = torch.where(is_split, is_identity, high[units])
        upper_intercepts = torch.where(is_split, 0.0, high_intercept[units])
        rows = positive * at_units(low, slopes) + negative * at_units(high, upper_slopes)
        beside = positive @ low_intercept + (negative * at_units(high_intercept, upper_intercepts)).sum(1)
        pull = -(signs * self.multipliers.clamp(min=0)).to(rows.dtype)
        return rows.index_add(1, units, pull), beside
