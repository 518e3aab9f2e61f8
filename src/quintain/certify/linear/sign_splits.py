r"""Linear bounds over parts of a threat that are given by the signs of some ReLUs' inputs.

In a part with :math:`h \ge 0` (sign 1) the ReLU is the identity, in a part with :math:`h \le 0` (sign -1) it
is 0. For every multiplier :math:`\beta \ge 0`, as :math:`sign \cdot h \ge 0` in the part,

.. math:: A\,relu(h) \;\ge\; A\,relu(h) - \beta \cdot sign \cdot h,

by which the bound uses the sign itself (weak duality). A ReLU without a sign has a lower line of any slope in
[0, 1].

Source: Wang et al., 2021, arXiv:2103.06624 (beta-CROWN).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.certify.interval.recording import Lines


@dataclass(frozen=True, slots=True, eq=False)
class SignSplits:
    """The signs of one operation's ReLU inputs in N parts; bounds hold for any slopes and multipliers.

    Args:
        units: Positions (m,) of some ReLUs among the operation's values, flattened.
        signs: Signs (N, m) of their inputs in each part: 1, -1, or 0 for either.
        slopes: Slopes (N, m) of their lower lines.
        multipliers: Multipliers (N, m) of the signs.
    """

    units: Tensor
    signs: Tensor
    slopes: Tensor
    multipliers: Tensor

    def carry(self, lines: Lines, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows over the inputs of the ReLUs (N, n), and the constants beside them (N,).

        Args:
            lines: The ReLUs' lines over the whole threat.
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
