"""The bracket bar: what is demonstrated, what nobody knows, what is ruled out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from quintain.report.svg import Tick, element, nice_step, nice_top, picture, share, text_width

NARROWEST = 288
"""The width in pixels at which no two labels may touch; wider bars have more room."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The axis of a bar, from 0.

    Args:
        top: Its end.
        ticks: What is written under it.
    """

    top: float
    ticks: tuple[Tick, ...]

    def place(self, value: float) -> float:
        """Where a value lies, as a share of the axis."""
        return min(max(value / self.top, 0.0), 1.0)


PERCENT = Scale(1.0, ((0.0, "0 %"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %")))


def scale_to(*values: float) -> Scale:
    """An axis for epsilons that shows every finite one of ``values``."""
    top = nice_top(max((value for value in values if math.isfinite(value)), default=1.0))
    step = nice_step(top)
    return Scale(top, tuple((index * step, f"{index * step:g}") for index in range(math.floor(top / step + 1e-9) + 1)))


def bracket_bar(
    sides: tuple[float, float],
    limits: tuple[float, float],
    labels: tuple[str, str],
    *,
    scale: Scale = PERCENT,
    low_is_good: bool = True,
    asked: Sequence[Tick] = (),
    below: Tick | None = None,
    spoken: str,
) -> Markup:
    """A bar from both sides.

    Args:
        sides: The lower and the upper bound.
        limits: Where the population's or the mechanism's value lies at the report's confidence: thin lines above the bar.
        labels: The sides in words.
        scale: The axis.
        low_is_good: Whether the part below the lower bound is what was proved (accuracy), or what was broken (epsilon).
        asked: Requirements: dashed lines with labels on top.
        below: A mark under the bar: the constant answer, or an audit's ceiling.
        spoken: All of it in words.
    """
    low, high = (scale.place(side) for side in sides)
    colours = ("proved", "broken") if low_is_good else ("broken", "proved")
    parts = [
        _block(0, low, colours[0]),
        _block(low, high, "open"),
        _block(high, 1, colours[1]),
        _block(high, low, "clash"),
        _thin(scale.place(limits[0]), low),
        _thin(high, scale.place(limits[1])),
        *_sides(low, high, labels, colours, y=12 if asked else 28),
        *(_label(scale.place(value), text, 98, "tick") for value, text in scale.ticks),
    ]
    for value, _ in asked:
        parts.append(element("line", class_="need", x1=share(scale.place(value)), x2=share(scale.place(value)), y1=33, y2=66))
    if asked:
        parts.append(_label(scale.place(asked[0][0]), ", ".join(text for _, text in asked), 28, "tick strong"))
    if below is not None:
        parts.append(element("line", class_="mark", x1=share(scale.place(below[0])), x2=share(scale.place(below[0])), y1=40, y2=70))
        parts.append(_label(scale.place(below[0]), below[1], 82, "tick"))
    return picture(spoken, *parts, height=104, class_="bar")


def strip(parts: Sequence[tuple[float, str]], spoken: str) -> Markup:
    """Shares side by side in one thin bar: (share, class) pairs."""
    left, blocks = 0.0, []
    for part, colour in parts:
        if part > 0:
            blocks.append(element("rect", class_=colour, x=share(left), y=0, width=share(part), height=12))
        left += part
    return picture(spoken, *blocks, height=12, class_="strip")


def _block(left: float, right: float, colour: str) -> Markup:
    return element("rect", class_=colour, x=share(left), y=42, width=share(right - left), height=20) if right > left else Markup("")


def _thin(left: float, right: float) -> Markup:
    """The interval's arm: a line, nothing where it is too short to see."""
    if right - left < 0.008:
        return Markup("")
    return element("line", class_="ci", x1=share(left), x2=share(right), y1=37, y2=37)


def _sides(low: float, high: float, labels: tuple[str, str], colours: tuple[str, str], *, y: float) -> list[Markup]:
    """Both labels, each on its side of its edge; as one text where they would touch, and once where they say the same."""
    if labels[0] == labels[1]:
        return [_label(low, labels[0], y, f"lab ink-{colours[0]}")]
    colours = (colours[0] if low > 0 else "soft", colours[1] if high < 1 else "soft")
    widths = [text_width(label) for label in labels]
    left_end = max(low * NARROWEST, widths[0])
    right_start = min(high * NARROWEST, NARROWEST - widths[1])
    if left_end + 8 <= right_start:
        left = {"x": share(low), "text_anchor": "end"} if low * NARROWEST >= widths[0] else {"x": "0%", "text_anchor": "start"}
        right = {"x": share(high), "text_anchor": "start"} if right_start == high * NARROWEST else {"x": "100%", "text_anchor": "end"}
        return [
            element("text", label, class_=f"lab ink-{colour}", y=y, **place)
            for label, colour, place in zip(labels, colours, (left, right), strict=True)
        ]
    both = [element("tspan", label, class_=f"ink-{colour}") for label, colour in zip(labels, colours, strict=True)]
    middle = element("tspan", " · ", class_="ink-soft")
    place, anchor = _anchor((low + high) / 2, sum(widths) + text_width(" · "))
    return [element("text", both[0], middle, both[1], class_="lab", x=place, y=y, text_anchor=anchor)]


def _label(place: float, text: str, y: float, class_: str) -> Markup:
    x, anchor = _anchor(place, text_width(text, 12))
    return element("text", text, class_=class_, x=x, y=y, text_anchor=anchor)


def _anchor(place: float, width: float) -> tuple[str, str]:
    """Where a label goes so that it is centred on its place if it can be, and inside the bar in any case."""
    if place * NARROWEST < width / 2:
        return "0%", "start"
    if (1 - place) * NARROWEST < width / 2:
        return "100%", "end"
    return share(place), "middle"
