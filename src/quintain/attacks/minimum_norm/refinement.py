"""The start and end of a minimum-norm attack: a first adversarial point, and its refinement."""

import torch
from torch import Tensor

from quintain.attacks.search import Search
from quintain.core.threat_specs import threat_name
from quintain.threats.broadcast import channels_by_pixel, expand_pixels, expand_rows, rows_differ, top_k_mask
from quintain.threats.rounding import representable_box

FIRST_FRACTION = 1 / 16
"""Distance of the first query from the adversarial end, as a fraction of the segment."""


def find_initial_adversarial(search: Search, rows: Tensor, steps: int = 20, step_size: float = 0.1) -> None:
    r"""Find a first adversarial point by signed gradient steps across the whole box, then refine it.

    .. math:: z_{t+1} = clip(z_t + rate\,(high - low)\, sign(\nabla m(f(z_t), y)),\; low,\; high)

    Args:
        search: Of a minimum-norm attack; successes are kept there.
        rows: The examples (n,); those with a success cost nothing.
        steps: Gradients per example.
        step_size: Length of a step, as a fraction of the box's width.
    """
    low, high = representable_box(search.threat.low, search.threat.high, search.x.dtype)
    everyone, z = rows, search.origin[rows]
    for _ in range(steps):
        active = search.best_size[rows].isinf() & search.is_active(rows)
        rows, z = rows[active], z[active]
        if not len(rows):
            break
        gradient = search.value_and_grad(z, rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0)
        z = (z + step_size * (high - low) * gradient.sign()).clamp(low, high)
    refine(search, everyone, rounds=1)


def refine(search: Search, rows: Tensor, rounds: int = 3) -> None:
    """Restore unneeded pixels (L0, L1) and bisect towards the clean input (all but L0)."""
    kind = threat_name(search.threat.spec)
    if kind in {"l0", "l1"}:
        drop_unneeded_pixels(search, rows, rounds)
    if kind != "l0":
        bisect_to_boundary(search, rows)


def bisect_to_boundary(search: Search, rows: Tensor, steps: int = 10) -> None:
    r"""Move each best point along its segment towards the clean input as far as it stays adversarial.

    .. math:: \min_{0 < t \le 1} t \quad \text{where } x + t (b - x) \text{ breaks}

    to within :math:`2^{-steps}` of the segment. The first query is at fifteen sixteenths of it, so that a
    point near the boundary takes ``steps - 3`` queries; any other takes one more than ``steps``. An example
    stops early where its midpoint equals one of its ends in their dtype (then the bisection is exact), or
    where its budget ends. Examples without a success, or wrong when clean, cost nothing.

    Args:
        search: Of the smallest change; its best points are shrunk.
        rows: The examples to shrink (n,), none of them twice.
        steps: How often the segment is halved.

    Guarantee:
        Every step cuts the distance between a point that breaks and one that does not; no best point gets
        larger.
    """
    rows = rows[search.best_size[rows].isfinite() & search.is_active(rows)]
    unbroken, broken = search.origin[rows], search.best[rows]
    middle, fraction = torch.lerp(broken, unbroken, FIRST_FRACTION), torch.ones_like(search.best_size[rows])
    # first query at 15/16 of the segment, then halve the bracket; equal points: exact in floating point
    while len(rows):
        hit = search.goal.is_adversarial(search.query(middle, rows), rows)
        fraction = torch.where(
            fraction < 1, fraction / 2, torch.where(hit, 1 - FIRST_FRACTION, FIRST_FRACTION)
        )
        held = expand_rows(hit, middle)
        unbroken, broken = unbroken.where(held, middle), middle.where(held, broken)
        middle = (unbroken + broken) / 2
        active = (
            (fraction > 2.0**-steps)
            & rows_differ(middle, unbroken)
            & rows_differ(middle, broken)
            & search.is_active(rows)
        )
        if not active.all():
            rows, middle, unbroken, broken, fraction = (
                rows[active],
                middle[active],
                unbroken[active],
                broken[active],
                fraction[active],
            )


def sum_channels(values: Tensor) -> Tensor:
    """Return the sum over the channels of each pixel (n, P), of values (n, *S)."""
    return channels_by_pixel(values).sum(1)


def change_to_corners(gradient: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """Return the changes (n, *S) to the faces of the box where a linear function is higher.

    The change is 0 where the function is level.
    """
    return torch.where(gradient > 0, high - x, low - x) * (gradient != 0)


def drop_unneeded_pixels(search: Search, rows: Tensor, rounds: int = 3) -> None:
    r"""Restore changed pixels that a success does not need.

    The changed pixels :math:`i` are ranked by what they add to the margin, :math:`\langle \nabla_i m(z), z_i
    - x_i \rangle`; bisection finds the smallest k such that the k highest-ranked changes alone are still
    adversarial; the other pixels are restored. In L0 a second bisection sets the kept pixels to the corner of
    the color box that raises the margin most. Rounds stop for an example when one does not reduce its
    distance.

    Args:
        search: Runs the model, checks success and keeps each example's best point.
        rows: The examples to look at (n,); those without a break are left out.
        rounds: Each costs a gradient and two bisections: about :math:`1 + 2 \log_2 k` answers for k changed
            pixels.
    """
    threat = search.threat
    box = representable_box(threat.low, threat.high, search.x.dtype)
    for _ in range(rounds):
        rows = rows[search.best_size[rows].isfinite() & search.is_active(rows)]
        if not len(rows):
            return
        last_size, start, clean = search.best_size[rows], search.best[rows], search.x[rows]
        gradient = search.value_and_grad(start, rows, search.goal.margin).gradient.nan_to_num(0.0, 0.0, 0.0)
        # first-order contribution of each changed pixel; in L0 the color is free, so also try the corner that
        # raises the margin most
        used = sum_channels((start != clean).to(clean.dtype)) > 0
        changes = [start - clean]
        if threat_name(threat.spec) == "l0":
            changes.append(change_to_corners(gradient, clean, *box) * expand_pixels(used, clean))
        for change in changes:
            _bisect_pixel_count(
                search,
                rows,
                change,
                sum_channels(gradient * change).masked_fill(~used, -torch.inf),
                used.sum(1),
                box,
            )
        rows = rows[search.best_size[rows] < last_size]


def _bisect_pixel_count(
    search: Search, rows: Tensor, change: Tensor, rank: Tensor, most: Tensor, box: tuple[float, float]
) -> None:
    """Bisect on how many of the highest-ranked pixels of a change are enough.

    Of each change, ``most`` (n,) pixels are known to be enough.
    """
    clean, failing, holding = search.x[rows], torch.zeros_like(rows), most
    while True:
        active = (holding - failing > 1) & search.is_active(rows)
        if not active.any():
            return
        rows, clean, change, rank, failing, holding = (
            part[active] for part in (rows, clean, change, rank, failing, holding)
        )
        # invariant: failing pixels are too few, holding ones are enough
        count = (failing + holding) // 2
        z = torch.where(expand_pixels(top_k_mask(rank, count), clean), clean + change, clean).clamp(*box)
        adversarial = search.goal.is_adversarial(search.query(z, rows), rows)
        failing, holding = torch.where(adversarial, failing, count), torch.where(adversarial, count, holding)
