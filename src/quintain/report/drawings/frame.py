"""The drawing area of a chart: its ranges and axes, and the points of lines and labels inside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from markupsafe import Markup

from quintain.report.drawings.svg import Tick, element, text_width

Point = tuple[float, float]

NUM_SERIES_STYLES = 4
"""Number of line styles (``series-0``, ``series-1``, ...) in the style sheet."""

FONT_SIZE = 12
"""Font size of the labels of ticks, in pixels."""

LABEL_GAP = 6
"""Least distance between two labels in a row, in pixels."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing area in a picture, with the ranges of values that it shows.

    Args:
        width, height: Size of the picture, in pixels.
        left, right, top, bottom: Margins between the drawing area and the picture's edges, in pixels.
        x_range, y_range: Least and largest value on each axis.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x_pixel(self, x: float) -> float:
        """Return the horizontal position of a value, clamped to the drawing area."""
        return self.left + _relative_position(x, self.x_range) * (self.width - self.left - self.right)

    def y_pixel(self, y: float) -> float:
        """Return the vertical position of a value, clamped to the drawing area; pixels count downwards."""
        inner_height = self.height - self.top - self.bottom
        return self.height - self.bottom - _relative_position(y, self.y_range) * inner_height

    def axes(self, x_ticks: Sequence[Tick], y_ticks: Sequence[Tick], title: str) -> list[Markup]:
        """Return grid lines, tick labels and the title of the horizontal axis.

        Labels of the horizontal axis that would overlap are left out.
        """
        base = self.height - self.bottom
        grid = [
            element(
                "line",
                class_="grid",
                x1=self.left,
                x2=self.width - self.right,
                y1=self.y_pixel(y),
                y2=self.y_pixel(y),
            )
            for y, _ in y_ticks
        ]
        y_labels = [
            element("text", text, class_="tick", x=self.left - 7, y=self.y_pixel(y) + 4, text_anchor="end")
            for y, text in y_ticks
        ]
        x_labels = []
        for x, text in labels_without_overlap([(self.x_pixel(x), text) for x, text in x_ticks]):
            x_labels.append(element("line", class_="axis", x1=x, x2=x, y1=base, y2=base + 4))
            x_labels.append(element("text", text, class_="tick", x=x, y=base + 17, text_anchor="middle"))
        middle = (self.left + self.width - self.right) / 2
        return [
            *grid,
            *y_labels,
            *x_labels,
            element("text", title, class_="tick", x=middle, y=self.height - 3, text_anchor="middle"),
        ]


def series_class(number: int) -> str:
    """Return the CSS class of a chart's line, by its number; styles repeat after ``NUM_SERIES_STYLES``."""
    return f"series-{number % NUM_SERIES_STYLES}"


def polyline_points(frame: Frame, line: Sequence[Point]) -> str:
    """Return the ``points`` attribute of a line through these values."""
    return " ".join(f"{frame.x_pixel(x):.1f},{frame.y_pixel(y):.1f}" for x, y in line)


def step_line(xs: Sequence[float], ys: Sequence[float], *, where: Literal["pre", "post"]) -> list[Point]:
    """Return the corners of a line of steps.

    Between two neighbors it has the value of the left one ("post") or of the right one ("pre"), as in
    matplotlib.
    """
    points = [(xs[0], ys[0])]
    for (left, right), (left_y, right_y) in zip(pairwise(xs), pairwise(ys), strict=True):
        if where == "pre":
            points += [(left, right_y), (right, right_y)]
        else:
            points += [(right, left_y), (right, right_y)]
    return points


def labels_without_overlap(labels: Sequence[Tick], left: float = 0.0, right: float = math.inf) -> list[Tick]:
    """Return those labels of a row that do not overlap: the last one always, then others from the left.

    Args:
        labels: Pixels of their middles, and their texts.
        left, right: Pixels between which each label is moved as a whole.
    """
    inside = []
    for x, text in labels:
        half = text_width(text, FONT_SIZE) / 2
        inside.append((min(max(x, left + half), right - half), text))
    kept: list[Tick] = []
    for x, text in [*inside[-1:], *inside[:-1]]:
        if all(
            abs(x - other_x) >= (text_width(text, FONT_SIZE) + text_width(other, FONT_SIZE)) / 2 + LABEL_GAP
            for other_x, other in kept
        ):
            kept.append((x, text))
    return kept


def _relative_position(value: float, value_range: tuple[float, float]) -> float:
    """Return where a value lies in a range, from 0 to 1; the middle of an empty range."""
    low, high = value_range
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5
