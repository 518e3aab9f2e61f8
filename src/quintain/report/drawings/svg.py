"""What all drawings are made of: escaped elements, scales, and labels that keep out of each other's way."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

Tick = tuple[float, str]
"""A value and what stands beside it."""


def element(name: str, *content: str, **attributes: str | float) -> Markup:
    """Return one SVG element.

    ``class_`` is class, ``text_anchor`` is text-anchor, numbers have one decimal, content is escaped unless
    markup.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_plain(value))}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{pairs}>{''.join(escape(part) for part in content)}</{name}>")


def picture(label: str, *content: str, width: float | None = None, height: float, class_: str) -> Markup:
    """Return a drawing with its words for those who do not see it.

    Scaled as a whole where it has a width, else fluid at a fixed height.
    """
    frame: dict[str, str | float] = (
        {"height": height, "width": "100%"} if width is None else {"viewBox": f"0 0 {width:g} {height:g}"}
    )
    return element("svg", *content, class_=class_, role="img", aria_label=label, **frame)


def text_width(text: str, size: float = 13) -> float:
    """An upper estimate of a text's width in the units of its size; wide fonts included."""
    return 0.61 * size * len(text)


def percent_of_width(part: float) -> str:
    """A horizontal place as a share of the drawing's width, kept inside."""
    return f"{100 * min(max(part, 0.0), 1.0):.2f}%"


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return the nearest places to the given ones that are ``gap`` apart.

    Inside [low, high], in the same order of size.

    Labels beside lines: they move only as far as they must. If there is no room for all, they fill the range
    evenly.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    moved = list(places)
    edge = -math.inf
    for index in order:
        moved[index] = edge = max(places[index], edge + gap, low)
    edge = math.inf
    for index in reversed(order):
        moved[index] = edge = min(moved[index], edge - gap, high)
    return moved


def nice_top(value: float) -> float:
    """The end of an axis from 0 that shows ``value`` with some room."""
    if not 0 < value < math.inf:
        return 1.0
    step = nice_step(value * 1.12)
    return step * math.ceil(value * 1.12 / step - 1e-9)


def nice_step(length: float) -> float:
    """A round distance that cuts ``length`` into about five."""
    unit = 10.0 ** math.floor(math.log10(length / 5))
    return next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor * 5 >= length - 1e-12)


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
