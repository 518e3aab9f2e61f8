"""Draw a bracket as a bar: below the lower bound, the gap, above the upper bound."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from quintain.report.drawings.svg import (
    Tick,
    element,
    nice_step,
    nice_top,
    percent_of_width,
    picture,
    text_width,
)

MIN_WIDTH_PX = 288
"""The width in pixels at which no two labels may touch; wider bars have more room."""


@dataclass(frozen=True, slots=True)
class AxisScale:
    """The axis of a bar, from 0.

    Args:
        top: Its end.
        ticks: What is written under it.
    """

    top: float
    ticks: tuple[Tick, ...]

    def fraction(self, value: float) -> float:
        """Where a value lies, as a fraction of the axis."""
        return min(max(value / self.top, 0.0), 1.0)


PERCENT = AxisScale(1.0, ((0.0, "0 %"), (0.25, "25 %"), (0.5, "50 %"), (0.75, "75 %"), (1.0, "100 %")))


def scale_to(*values: float) -> AxisScale:
    """An axis for epsilons that shows every finite one of ``values``."""
    top = nice_top(max((value for value in values if math.isfinite(value)), default=1.0))
    step = nice_step(top)
    return AxisScale(
        top, tuple((index * step, f"{index * step:g}") for index in range(math.floor(top / step + 1e-9) + 1))
    )


def bracket_bar(
    bounds: tuple[float, float],
    interval: tuple[float, float],
    labels: tuple[str, str],
    *,
    scale: AxisScale = PERCENT,
    higher_is_better: bool = True,
    required: Sequence[Tick] = (),
    marker: Tick | None = None,
    alt_text: str,
) -> Markup:
    """Draw a bracket as a bar.

    Args:
        bounds: The lower and the upper bound.
        interval: Where the population's or the mechanism's value lies at the report's confidence: thin lines
            above the bar.
        labels: The bounds in words.
        scale: The axis.
        higher_is_better: Whether the part below the lower bound is what is certified (accuracy), or what is
            lost (epsilon).
        required: Requirements: dashed lines with labels on top.
        marker: A tick under the bar: the majority class, or the largest epsilon that an audit can detect.
        alt_text: All of it in words.
    """
    low, high = (scale.fraction(side) for side in bounds)
    colors = ("proved", "broken") if higher_is_better else ("broken", "proved")
    parts = [
        _block(0, low, colors[0]),
        _block(low, high, "open"),
        _block(high, 1, colors[1]),
        _block(high, low, "clash"),
        _thin(scale.fraction(interval[0]), low),
        _thin(high, scale.fraction(interval[1])),
        *_sides(low, high, labels, colors, y=12 if required else 28),
        *(_label(scale.fraction(value), text, 98, "tick") for value, text in scale.ticks),
    ]
    for value, _ in required:
        parts.append(
            element(
                "line",
                class_="need",
                x1=percent_of_width(scale.fraction(value)),
                x2=percent_of_width(scale.fraction(value)),
                y1=33,
                y2=66,
            )
        )
    if required:
        parts.append(
            _label(scale.fraction(required[0][0]), ", ".join(text for _, text in required), 28, "tick strong")
        )
    if marker is not None:
        parts.append(
            element(
                "line",
                class_="mark",
                x1=percent_of_width(scale.fraction(marker[0])),
                x2=percent_of_width(scale.fraction(marker[0])),
                y1=40,
                y2=70,
            )
        )
        parts.append(_label(scale.fraction(marker[0]), marker[1], 82, "tick"))
    return picture(alt_text, *parts, height=104, class_="bar")


def stacked_bar(parts: Sequence[tuple[float, str]], alt_text: str) -> Markup:
    """Fractions side by side in one thin bar: (fraction, class) pairs."""
    left, blocks = 0.0, []
    for part, color in parts:
        if part > 0:
            blocks.append(
                element(
                    "rect",
                    class_=color,
                    x=percent_of_width(left),
                    y=0,
                    width=percent_of_width(part),
                    height=12,
                )
            )
        left += part
    return picture(alt_text, *blocks, height=12, class_="strip")


def _block(left: float, right: float, color: str) -> Markup:
    return (
        element(
            "rect",
            class_=color,
            x=percent_of_width(left),
            y=42,
            width=percent_of_width(right - left),
            height=20,
        )
        if right > left
        else Markup("")
    )


def _thin(left: float, right: float) -> Markup:
    """The interval's arm: a line, nothing where it is too short to see."""
    if right - left < 0.008:
        return Markup("")
    return element("line", class_="ci", x1=percent_of_width(left), x2=percent_of_width(right), y1=37, y2=37)


def _sides(
    low: float, high: float, labels: tuple[str, str], colors: tuple[str, str], *, y: float
) -> list[Markup]:
    """Return both labels, each on its side of its edge.

    Labels that would touch become one text, and equal ones are drawn once.
    """
    if labels[0] == labels[1]:
        return [_label(low, labels[0], y, f"lab ink-{colors[0]}")]
    colors = (colors[0] if low > 0 else "soft", colors[1] if high < 1 else "soft")
    widths = [text_width(label) for label in labels]
    left_end = max(low * MIN_WIDTH_PX, widths[0])
    right_start = min(high * MIN_WIDTH_PX, MIN_WIDTH_PX - widths[1])
    if left_end + 8 <= right_start:
        left = (
            {"x": percent_of_width(low), "text_anchor": "end"}
            if low * MIN_WIDTH_PX >= widths[0]
            else {"x": "0%", "text_anchor": "start"}
        )
        right = (
            {"x": percent_of_width(high), "text_anchor": "start"}
            if right_start == high * MIN_WIDTH_PX
            else {"x": "100%", "text_anchor": "end"}
        )
        return [
            element("text", label, class_=f"lab ink-{color}", y=y, **place)
            for label, color, place in zip(labels, colors, (left, right), strict=True)
        ]
    both = [
        element("tspan", label, class_=f"ink-{color}") for label, color in zip(labels, colors, strict=True)
    ]
    middle = element("tspan", " · ", class_="ink-soft")
    place, anchor = _anchor((low + high) / 2, sum(widths) + text_width(" · "))
    return [element("text", both[0], middle, both[1], class_="lab", x=place, y=y, text_anchor=anchor)]


def _label(place: float, text: str, y: float, class_: str) -> Markup:
    x, anchor = _anchor(place, text_width(text, 12))
    return element("text", text, class_=class_, x=x, y=y, text_anchor=anchor)


def _anchor(place: float, width: float) -> tuple[str, str]:
    """Where a label goes so that it is centred on its place if it can be, and inside the bar in any case."""
    if place * MIN_WIDTH_PX < width / 2:
        return "0%", "start"
    if (1 - place) * MIN_WIDTH_PX < width / 2:
        return "100%", "end"
    return percent_of_width(place), "middle"
