"""The parts of all drawings: escaped SVG elements, round axis steps, and labels that do not overlap."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

Tick = tuple[float, str]
"""A value on an axis, and its label."""


def element(name: str, *content: str, **attributes: str | float) -> Markup:
    """Return one SVG element.

    Args:
        name: Name of the element, such as ``rect``.
        content: What the element contains; escaped, unless it is ``Markup``.
        attributes: ``class_`` stands for class and ``text_anchor`` for text-anchor; numbers get one decimal.
    """
    pairs = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_attribute_text(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{pairs}>{''.join(escape(part) for part in content)}</{name}>")


def picture(label: str, *content: str, width: float | None = None, height: float, class_: str) -> Markup:
    """Return a drawing as an ``svg`` element.

    Args:
        label: The drawing in words, for screen readers.
        content: Its elements.
        width: Its width; the drawing then scales as a whole. Without one it takes all of the page's width.
        height: Its height, which is fixed where it has no width.
        class_: Its CSS class.
    """
    size: dict[str, str | float] = (
        {"height": height, "width": "100%"} if width is None else {"viewBox": f"0 0 {width:g} {height:g}"}
    )
    return element("svg", *content, class_=class_, role="img", aria_label=label, **size)


def text_width(text: str, size: float = 13) -> float:
    """Return an upper estimate of a text's width, in the units of its font size, for wide fonts too."""
    return 0.61 * size * len(text)


def percent_of_width(fraction: float) -> str:
    """Return a fraction of the drawing's width, clamped to [0, 1], as a percentage."""
    return f"{100 * min(max(fraction, 0.0), 1.0):.2f}%"


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return positions of labels, moved until they are at least ``gap`` apart and inside [low, high].

    They keep their order of size, and move only where they must. If there is no room for all of them, they
    fill the range evenly.
    """
    ascending = sorted(range(len(positions)), key=lambda index: positions[index])
    gap = min(gap, (high - low) / max(len(positions) - 1, 1))
    moved = list(positions)
    # move up what is too near to its lower neighbor, then move down what is now above the range
    previous = -math.inf
    for index in ascending:
        moved[index] = previous = max(positions[index], previous + gap, low)
    previous = math.inf
    for index in reversed(ascending):
        moved[index] = previous = min(moved[index], previous - gap, high)
    return moved


def nice_top(value: float) -> float:
    """Return the round upper end of an axis from 0 to at least 12 % above ``value``."""
    if not 0 < value < math.inf:
        return 1.0
    step = nice_step(value * 1.12)
    return step * math.ceil(value * 1.12 / step - 1e-9)


def nice_step(length: float) -> float:
    """Return a round step that divides ``length`` into at most five."""
    unit = 10.0 ** math.floor(math.log10(length / 5))
    return next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor * 5 >= length - 1e-12)


def _attribute_text(value: str | float) -> str:
    """Return an attribute's value as text, a number rounded to one decimal."""
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
