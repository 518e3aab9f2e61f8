"""Rounding of bounds for people, to the side on which they stay true.

What is shown is never better than what is known.
"""

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

PLACES = 2
"""Decimals of an epsilon that is not small."""

_WIDE = Context(prec=800)


def bound(value: float, *, up: bool, digits: int = 4) -> str:
    """So many significant digits, rounded up or down: 3.00004 is at most ``3.001`` and at least ``3``."""
    if not value or not math.isfinite(value):
        return f"{value:g}"
    exact = Decimal(repr(float(value)))
    return f"{float(_round(exact, exact.adjusted() + 1 - digits, up)):.{digits}g}".replace("e-0", "e-")


def epsilon(value: float, *, up: bool = True) -> str:
    """Return epsilon with two decimals, and three significant digits below 0.1.

    It is rounded up, as an upper bound is, or down: 3.004 is at most ``3.01``.
    """
    if not math.isfinite(value):
        return "∞" if value == math.inf else "NaN" if math.isnan(value) else "−∞"
    if 0 < abs(value) < 0.1:
        return bound(value, up=up, digits=3)
    return f"{_round(Decimal(repr(float(value))), -PLACES, up):.{PLACES}f}"


def _round(value: Decimal, place: int, up: bool) -> Decimal:
    return value.quantize(
        Decimal(1).scaleb(place), rounding=ROUND_CEILING if up else ROUND_FLOOR, context=_WIDE
    )
