"""The drawing area of a chart: its ranges, its axes, and lines and labels inside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from quintain.report.drawings.svg import Tick, element, text_width

Point = tuple[float, float]

SERIES = 4
"""Kinds of lines that a style tells apart."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing area in a picture of ``width`` by ``height``, with the ranges that it shows."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> Point:
        """Where a point lies, kept inside the area."""
        return self.x_pixel(x), self.y_pixel(y)

    def x_pixel(self, x: float) -> float:
        """The horizontal place of a value."""
        return self.left + _part(x, self.x) * (self.width - self.left - self.right)

    def y_pixel(self, y: float) -> float:
        """The vertical place of a value."""
        return self.height - self.bottom - _part(y, self.y) * (self.height - self.top - self.bottom)

    def axes(self, across: Sequence[Tick], up: Sequence[Tick], title: str) -> list[Markup]:
        """Draw grid lines, tick labels and the title of the horizontal axis.

        Labels that would touch are left out.
        """
        base = self.height - self.bottom
        lines = [
            element(
                "line",
                class_="grid",
                x1=self.left,
                x2=self.width - self.right,
                y1=self.y_pixel(y),
                y2=self.y_pixel(y),
            )
            for y, _ in up
        ]
        names = [
            element("text", text, class_="tick", x=self.left - 7, y=self.y_pixel(y) + 4, text_anchor="end")
            for y, text in up
        ]
        feet = []
        for x, text in labels_apart([(self.x_pixel(x), text) for x, text in across]):
            feet.append(element("line", class_="axis", x1=x, x2=x, y1=base, y2=base + 4))
            feet.append(element("text", text, class_="tick", x=x, y=base + 17, text_anchor="middle"))
        middle = (self.left + self.width - self.right) / 2
        return [
            *lines,
            *names,
            *feet,
            element("text", title, class_="tick", x=middle, y=self.height - 3, text_anchor="middle"),
        ]


def polyline_points(frame: Frame, line: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame.at(*point) for point in line))


def staircase(sizes: Sequence[float], values: Sequence[float], *, later: bool) -> list[Point]:
    """A staircase: each stretch keeps its left value, or its right one if ``later``."""
    points = [(sizes[0], values[0])]
    for (left, right), (was, becomes) in zip(pairwise(sizes), pairwise(values), strict=True):
        points += [(left, becomes), (right, becomes)] if later else [(right, was), (right, becomes)]
    return points


def labels_apart(labels: Sequence[Tick], left: float = 0.0, right: float = math.inf) -> list[Tick]:
    """Return the labels that can stand in one row without touching.

    The last one always, then the others from the left; kept inside.
    """
    inside = [
        (min(max(x, left + text_width(text, 12) / 2), right - text_width(text, 12) / 2), text)
        for x, text in labels
    ]
    kept: list[Tick] = []
    for label in [*inside[-1:], *inside[:-1]]:
        if all(
            abs(label[0] - other[0]) >= (text_width(label[1], 12) + text_width(other[1], 12)) / 2 + 6
            for other in kept
        ):
            kept.append(label)
    return kept


def _part(value: float, within: tuple[float, float]) -> float:
    low, high = within
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5
