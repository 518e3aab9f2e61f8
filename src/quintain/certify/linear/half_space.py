r"""Least values of linear functions over the part of a threat that lies in a half-space.

.. math:: \min_{z \in threat,\; a \cdot z + k \le 0} r \cdot z
    \;\ge\; \max_{\gamma \ge 0} \Big(\gamma k + \min_{z \in threat} (r + \gamma a) \cdot z\Big)

by weak duality, so that whatever multiplier the search of :math:`\gamma` ends at gives a bound.

Source: Kotha et al., 2023, arXiv:2302.01404 (bounds under constraints on the output); Zhou et al., 2025,
    arXiv:2512.11087 (those of the layers between, from one linear bound of the output).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.certify.linear.backward import Minimum
from quintain.certify.rounding import FLOAT64_SAFETY_FACTOR

STEPS, DOUBLINGS = 8, 12
"""Halvings of the range of a multiplier's logarithm, and its width to either side of the first guess."""

RELATIVE = 2.0**-40
"""Of a difference of two numbers, more than what it and a product with it round by."""


@dataclass(frozen=True, slots=True, eq=False)
class InputHalfSpace:
    """The inputs z with ``slopes . z + constant <= 0``.

    Args:
        slopes: Over the coordinates of an input, flattened (n,).
        constant: The constant; smaller by what computing with it rounds.
    """

    slopes: Tensor
    constant: float

    @staticmethod
    def of(row: Tensor, bound: float, least: float, most: float, terms: Tensor) -> "InputHalfSpace":
        """Return the half-space in which a function may be at most ``most``, as a linear bound of it says.

        Args:
            row: The slopes of a linear lower bound of the function, over an input (1, *S).
            bound: The lower bound of its values over some inputs, what rounding changes taken off.
            least: The least value of ``row . z`` that is part of ``bound``.
            most: The value.
            terms: What each coordinate is at most, sizes of sums on the way included (1, *S).
        """
        slopes = row.flatten()
        products = slopes.numel() + 16
        # what sums of products with the slopes round by, for each unit of the multiplier
        rounds = FLOAT64_SAFETY_FACTOR * products * 2.0**-53 * float(slopes.abs() @ terms.flatten())
        rounds += RELATIVE * (abs(bound) + abs(least) + abs(most))
        return InputHalfSpace(slopes, bound - least - most - rounds)


@dataclass(frozen=True, slots=True, eq=False)
class CutMinimum:
    """A lower bound of rows over the part of a threat in a half-space, as ``Minimum`` says.

    Args:
        minimum: Over the whole threat.
        half_space: The half-space.
        shape: Of one input.
        box: Lower and upper ends of each coordinate, flattened (n,), of a threat that is a box; else None.
    """

    minimum: Minimum
    half_space: InputHalfSpace
    shape: torch.Size
    box: tuple[Tensor, Tensor] | None

    def __call__(self, rows: Tensor, *, columns: Tensor | None = None) -> Tensor:
        """Return a lower bound of each row (N,), of (N, *S) or of (N, W) at ``columns`` (N, W)."""
        if self.box is None:
            return self._over_threat(rows, columns)
        return self._over_box(rows.flatten(1), columns)

    def _over_box(self, rows: Tensor, columns: Tensor | None) -> Tensor:
        """Return the bound over a box, where each coordinate goes to its own wall."""
        assert self.box is not None
        lower, upper = self.box
        slopes, middle, half = self.half_space.slopes, (lower + upper) / 2, (upper - lower) / 2
        constant = rows.new_full((len(rows),), self.half_space.constant)
        if columns is not None:
            everywhere = slopes @ middle - slopes.abs() @ half
            slopes, middle, half = slopes[columns], middle[columns], half[columns]
            # outside of its window a row is 0, and the half-space alone says where a coordinate goes
            constant = constant + everywhere - (_dot(slopes, middle) - _dot(slopes.abs(), half))
        gamma = self._multipliers(rows, slopes, half, _dot(slopes, middle) + constant)
        # with multiplier 0 it is the bound over the whole box, which the best may not be less than
        best = _dot(rows, middle) - _dot(rows.abs(), half)
        moved = torch.addcmul(rows, gamma[:, None], slopes)
        cut = _dot(moved, middle) - _dot(moved.abs(), half) + gamma * constant
        return torch.where(cut > best, cut, best)

    def _multipliers(self, rows: Tensor, slopes: Tensor, half: Tensor, reach: Tensor) -> Tensor:
        """Return the multipliers (N,) of about the best bounds over a box; each gives a bound that holds."""
        # found in float32, which proves nothing: only how good the bound is rests on it
        with torch.no_grad():
            short, steep, pull = rows.float(), slopes.float(), (slopes * half).float()
            gamma = _guess(_dot(rows.abs(), half), _dot((slopes * half).abs(), torch.ones_like(half)))
            gamma, reach = gamma.expand(len(rows)).float(), reach.float()
            # the bound is concave in the multiplier: its slope there says in which direction the best lies
            step = 2.0 ** (DOUBLINGS / 2)
            for _ in range(STEPS):
                rising = reach > _dot(torch.addcmul(short, gamma[:, None], steep).sign_(), pull)
                gamma = torch.where(rising, gamma * step, gamma / step)
                step = step**0.5
        return gamma.to(rows.dtype)

    def _over_threat(self, rows: Tensor, columns: Tensor | None) -> Tensor:
        """Return the bound over another threat: the best of a few multipliers."""
        slopes, constant = self.half_space.slopes, self.half_space.constant
        best = self.minimum(rows, columns=columns)
        if columns is not None:
            rows = rows.new_zeros(len(rows), len(slopes)).scatter_(1, columns, rows)
        # multipliers around the one at which both functions change as much, each a bound by weak duality
        flat = rows.reshape(len(rows), -1)
        first = _guess(flat.norm(dim=1), slopes.norm().expand(len(rows)))
        for power in range(-DOUBLINGS // 2, DOUBLINGS // 2 + 1):
            gamma = first * 2.0**power
            moved = (flat + gamma[:, None] * slopes).view(-1, *self.shape)
            found = self.minimum(moved) + gamma * constant
            best = torch.where(found > best, found, best)
        return best


def _dot(rows: Tensor, weights: Tensor) -> Tensor:
    """Return the sums of products (N,) of rows (N, n) with weights (n,), or with weights of their own."""
    return rows @ weights if weights.ndim == 1 else (rows * weights).sum(1)


def _guess(size: Tensor, of_slopes: Tensor) -> Tensor:
    """Return the multipliers (N,) at which both functions change as much."""
    return torch.where(of_slopes > 0, size / of_slopes.clamp(min=1e-300), 1.0).clamp(1e-30, 1e30)
