r"""Margins that an input has to have all at once, and sums of them with weights.

An input at which :math:`g_r(z) \le 0` for all r has :math:`\sum_r w_r g_r(z) \le 0` for all weights
:math:`w \ge 0`, so that there is none where a bound of one such sum is above 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.certify.linear.slope_search import adam_direction
from quintain.core.errors import SettingError

STEP = 0.2
"""Size of steps of weights, of which each is a fraction of the sum."""


@dataclass(frozen=True, slots=True, eq=False)
class JointRows:
    """The margins, as rows over the values of an operation.

    Args:
        rows: One row (1, K), or several that are one value each (R, K), so that no sum of them rounds.

    Raises:
        SettingError: For several rows that are not values, or are the same one.
    """

    rows: Tensor

    def __post_init__(self) -> None:
        are_values = bool(((self.rows == 0) | (self.rows == 1)).all() and (self.rows.sum(1) == 1).all())
        if len(self.rows) != 1 and not (
            len(self.rows) and are_values and bool((self.rows.sum(0) <= 1).all())
        ):
            raise SettingError(
                f"{len(self.rows)} margins at once that are not values of the operation, or are so twice; "
                "expected one margin, or different values"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def sum(self, weights: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the sum of the margins (1, K) with some weights (R,); negative ones count as 0.

        A single margin is returned as it is.
        """
        if len(self.rows) == 1:
            return self.rows.to(dtype)
        return weights.to(dtype).clamp(min=0)[None] @ self.rows.to(dtype)

    def first_weights(self, bound: Callable[[Tensor], Tensor], terms: Tensor) -> Tensor:
        """Return the weights (R,) to begin at: of the margin of the best bound, or those of all alike.

        Args:
            bound: Bounds a row over the values (1, K).
            terms: What each value is a sum of, in absolute values (1, K).
        """
        count = len(self.rows)
        if count == 1:
            return terms.new_ones(1)
        shares = torch.cat([torch.eye(count), torch.full((1, count), 1 / count)]).to(terms)
        weights = shares / self._sizes(terms)
        bounds = torch.cat([bound(self.sum(each, terms.dtype)) for each in weights])
        return weights[int(bounds.nan_to_num(-torch.inf).argmax())]

    def step(
        self, weights: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], number: int, terms: Tensor
    ) -> Tensor:
        """Return the weights (R,) after one step of Adam for a larger bound, whose fractions sum to 1.

        Args:
            weights: The weights.
            gradient: Of the bound by them.
            moments: As of ``adam_direction``, updated.
            number: Of the step, from 1 on.
            terms: As of ``first_weights``.
        """
        sizes = self._sizes(terms)
        shares = weights * sizes
        # along the fractions whose sum stays 1
        slope = gradient / sizes
        up = adam_direction(slope - (slope * shares).sum(), *moments, number)
        moved = (shares + STEP * up).clamp(min=0)
        total = float(moved.sum())
        return weights if len(self.rows) == 1 or not total > 0 else moved / total / sizes

    def _sizes(self, terms: Tensor) -> Tensor:
        """Return the size of each margin (R,), so that fractions compare what is of one size."""
        return (self.rows.to(terms) @ terms.flatten()).clamp(min=torch.finfo(terms.dtype).tiny)
