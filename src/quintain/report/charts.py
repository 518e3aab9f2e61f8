"""Curves and histograms, drawn to be read at the width of a phone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from quintain.report import format as fmt
from quintain.report.svg import Tick, element, picture, spread, text_width

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
        """Grid lines, tick labels (those that would touch are left out) and the title of the horizontal
        axis.
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
        for x, text in _apart([(self.x_pixel(x), text) for x, text in across]):
            feet.append(element("line", class_="axis", x1=x, x2=x, y1=base, y2=base + 4))
            feet.append(element("text", text, class_="tick", x=x, y=base + 17, text_anchor="middle"))
        middle = (self.left + self.width - self.right) / 2
        return [
            *lines,
            *names,
            *feet,
            element("text", title, class_="tick", x=middle, y=self.height - 3, text_anchor="middle"),
        ]


def accuracy_band(
    sizes: Sequence[float],
    certified: Sequence[float] | None,
    unbroken: Sequence[float] | None,
    *,
    marked: Sequence[float],
    baseline: float | None,
    title: str,
    alt_text: str,
) -> Markup:
    """Accuracy against the size of the change, as the band between what is proved and what still stands.

    Both are drawn as steps, so that each point of each line is a bound that holds: between two sizes the
    upper line keeps the value of the smaller one, the lower line that of the larger one.
    """
    frame = Frame(344, 236, 48, 14, 10, 40, (min(sizes), max(sizes)), (0, 1))
    upper = _steps(sizes, unbroken, later=False) if unbroken else []
    lower = _steps(sizes, certified, later=True) if certified else []
    parts = frame.axes(
        [(size, fmt.eps_text(size)) for size in marked], [(y / 4, f"{25 * y} %") for y in range(5)], title
    )
    if upper:
        floor = lower or [(sizes[0], 0.0), (sizes[-1], 0.0)]
        parts.append(element("polygon", class_="band", points=_points(frame, [*upper, *reversed(floor)])))
    if baseline is not None:
        y = frame.y_pixel(baseline)
        parts.append(
            element("line", class_="constant", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y)
        )
    for line, values, colour in ((upper, unbroken, "broken"), (lower, certified, "proved")):
        if line and values is not None:
            parts.append(element("polyline", class_=f"line-{colour}", points=_points(frame, line)))
            at = dict(zip(sizes, values, strict=True))
            dots = [(size, at[size]) for size in marked if size in at]
            parts += [
                element("circle", class_=f"dot-{colour}", cx=frame.x_pixel(x), cy=frame.y_pixel(y), r=3)
                for x, y in dots
            ]
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart")


def histogram(
    bins: Sequence[float], inside: Sequence[int], outside: Sequence[int], *, title: str, alt_text: str
) -> Markup:
    """Two counts over the same bins, one upwards and one downwards, so that neither hides the other."""
    tallest = max(*inside, *outside, 1)
    frame = Frame(344, 210, 36, 14, 10, 40, (bins[0], bins[-1]), (-tallest, tallest))
    ticks = [(edge, fmt.number(edge)) for edge in (bins[0], bins[len(bins) // 2], bins[-1])]
    parts = frame.axes(ticks, [(tallest, str(tallest)), (0, "0"), (-tallest, str(tallest))], title)
    for counts, sign, colour in ((inside, 1, "bar-in"), (outside, -1, "bar-out")):
        for (low, high), many in zip(pairwise(bins), counts, strict=True):
            if many:
                left, right = frame.x_pixel(low), frame.x_pixel(high)
                tip, foot = sorted((frame.y_pixel(sign * many), frame.y_pixel(0)))
                width = max(right - left - 1, 0.6)
                parts.append(element("rect", class_=colour, x=left, y=tip, width=width, height=foot - tip))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart")


def round_chart(
    curve: Sequence[Point],
    name: str,
    references: Sequence[tuple[float, str, str]],
    marks: Sequence[Tick],
    *,
    title: str,
    alt_text: str,
) -> Markup:
    """A curve by round, beside reference lines named at their right end.

    Args:
        curve: (round, accuracy) pairs.
        name: Of the curve, at its end.
        references: (accuracy, name, class) of horizontal lines.
        marks: Rounds at which something happened, and what.
        title: Of the horizontal axis.
        alt_text: All of it in words.
    """
    values = [y for _, y in curve] + [y for y, _, _ in references]
    low, high = math.floor(min(values) * 10 - 0.2) / 10, math.ceil(max(values) * 10 + 0.2) / 10
    low, high = max(low, 0.0), min(high, 1.0)
    frame = Frame(372, 250, 46, 122, 28, 40, (curve[0][0], curve[-1][0]), (low, high))
    grid = [low + step / 10 for step in range(round((high - low) * 10) + 1)]
    grid = grid if len(grid) <= 6 else grid[::2]
    parts = frame.axes([(x, f"{x:g}") for x, _ in curve], [(y, f"{100 * y:.0f} %") for y in grid], title)
    end = frame.width - frame.right
    for x, _ in marks:
        parts.append(
            element(
                "line",
                class_="drop",
                x1=frame.x_pixel(x),
                x2=frame.x_pixel(x),
                y1=frame.top - 4,
                y2=frame.height - frame.bottom,
            )
        )
    for x, text in _apart(
        [(frame.x_pixel(x), text) for x, text in marks], left=frame.left, right=frame.width
    ):
        parts.append(
            element("text", text, class_="tick ink-broken", x=x, y=frame.top - 11, text_anchor="middle")
        )
    for y, _, colour in references:
        parts.append(
            element("line", class_=colour, x1=frame.left, x2=end, y1=frame.y_pixel(y), y2=frame.y_pixel(y))
        )
    parts.append(element("polyline", class_="line-proved", points=_points(frame, curve)))
    parts += [
        element("circle", class_="dot-proved", cx=frame.x_pixel(x), cy=frame.y_pixel(y), r=3.5)
        for x, y in curve
    ]
    labels = [(curve[-1][1], name, "ink-proved"), *((y, text, "ink-soft") for y, text, _ in references)]
    heights = spread([frame.y_pixel(y) for y, _, _ in labels], 16, frame.top, frame.height - frame.bottom)
    for (_, text, ink), y in zip(labels, heights, strict=True):
        parts.append(element("text", text, class_=f"lab {ink}", x=end + 8, y=y + 4))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")


def step_chart(lines: Sequence[tuple[str, Sequence[Point]]], *, title: str, alt_text: str) -> Markup:
    """Shares that fall as a count grows, as steps over a logarithmic axis, each line named at its right end.

    Args:
        lines: (name, (count, share) pairs), counts from 1 and rising.
        title: Of the horizontal axis.
        alt_text: All of it in words.
    """
    most = max(x for _, points in lines for x, _ in points)
    decades = max(math.ceil(math.log10(most)), 1)
    frame = Frame(372, 236, 48, 96, 10, 40, (0, decades), (0, 1))
    ticks = [(float(power), f"{10**power:,}") for power in range(decades + 1)]
    parts = frame.axes(ticks, [(y / 4, f"{25 * y} %") for y in range(5)], title)
    ends = []
    for number, (_, points) in enumerate(lines):
        spaced = [(math.log10(x), y) for x, y in points]
        stairs = _steps([x for x, _ in spaced], [y for _, y in spaced], later=False)
        whole = [*stairs, (float(decades), stairs[-1][1])]
        parts.append(element("polyline", class_=f"series-{number % SERIES}", points=_points(frame, whole)))
        ends.append(frame.y_pixel(stairs[-1][1]))
    heights = spread(ends, 15, frame.top + 4, frame.height - frame.bottom)
    for number, ((name, _), y) in enumerate(zip(lines, heights, strict=True)):
        parts.append(
            element(
                "text", name, class_=f"lab series-{number % SERIES}", x=frame.width - frame.right + 7, y=y + 4
            )
        )
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")


def interval_chart(
    points: Sequence[tuple[float, float, float, float]],
    references: Sequence[tuple[float, str, str]],
    *,
    title: str,
    alt_text: str,
) -> Markup:
    """Accuracies over a logarithmic axis, each with its interval, beside reference lines named at their right
    end.

    Args:
        points: (x, accuracy, low, high), x positive and rising.
        references: (accuracy, name, class) of horizontal lines.
        title: Of the horizontal axis.
        alt_text: All of it in words.
    """
    values = [y for _, *sides in points for y in sides] + [y for y, _, _ in references]
    low, high = max(math.floor(min(values) * 10) / 10, 0.0), min(math.ceil(max(values) * 10) / 10, 1.0)
    room = math.log2(points[-1][0] / points[0][0]) * 0.04 or 0.5
    frame = Frame(
        372,
        236,
        46,
        118,
        12,
        40,
        (math.log2(points[0][0]) - room, math.log2(points[-1][0]) + room),
        (low, high),
    )
    grid = [low + step / 10 for step in range(round((high - low) * 10) + 1)]
    grid = grid if len(grid) <= 6 else grid[::2]
    parts = frame.axes(
        [(math.log2(x), f"{x:,g}") for x, *_ in points], [(y, f"{100 * y:.0f} %") for y in grid], title
    )
    end = frame.width - frame.right
    for y, _, colour in references:
        parts.append(
            element("line", class_=colour, x1=frame.left, x2=end, y1=frame.y_pixel(y), y2=frame.y_pixel(y))
        )
    spaced = [(math.log2(x), y) for x, y, _, _ in points]
    for (place, _), (_, _, least, most) in zip(spaced, points, strict=True):
        parts.append(
            element(
                "line",
                class_="ci",
                x1=frame.x_pixel(place),
                x2=frame.x_pixel(place),
                y1=frame.y_pixel(least),
                y2=frame.y_pixel(most),
            )
        )
    parts.append(element("polyline", class_="line-proved", points=_points(frame, spaced)))
    parts += [
        element("circle", class_="dot-proved", cx=frame.x_pixel(x), cy=frame.y_pixel(y), r=3.5)
        for x, y in spaced
    ]
    heights = spread([frame.y_pixel(y) for y, _, _ in references], 16, frame.top, frame.height - frame.bottom)
    for (_, text, _), y in zip(references, heights, strict=True):
        parts.append(element("text", text, class_="lab ink-soft", x=end + 7, y=y + 4))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")


def log_log_chart(
    lines: Sequence[tuple[str, Sequence[Point]]], mark: Tick | None = None, *, title: str, alt_text: str
) -> Markup:
    """Curves over two logarithmic axes, each named at its right end.

    Args:
        lines: (name, (x, y) pairs), all positive, x rising and the same for every line.
        mark: A height to be marked, and its name.
        title: Of the horizontal axis.
        alt_text: All of it in words.
    """
    xs = [x for x, _ in lines[0][1]]
    heights = [y for _, points in lines for _, y in points] + ([mark[0]] if mark else [])
    low, high = math.log10(min(heights)), math.log10(max(heights))
    room = max((high - low) * 0.05, 0.05)
    frame = Frame(372, 236, 54, 96, 12, 40, (math.log2(xs[0]), math.log2(xs[-1])), (low - room, high + room))
    parts = frame.axes(
        [(math.log2(x), f"{x:,g}") for x in xs],
        [(math.log10(y), f"{y:g}") for y in _decades(low, high)],
        title,
    )
    end = frame.width - frame.right
    if mark:
        y = frame.y_pixel(math.log10(mark[0]))
        parts.append(element("line", class_="need", x1=frame.left, x2=end, y1=y, y2=y))
    labels = [
        (math.log10(points[-1][1]), name, f"series-{number % SERIES}")
        for number, (name, points) in enumerate(lines)
    ]
    labels += [(math.log10(mark[0]), mark[1], "ink-soft")] if mark else []
    for number, (_, points) in enumerate(lines):
        spaced = [(math.log2(x), math.log10(y)) for x, y in points]
        parts.append(element("polyline", class_=f"series-{number % SERIES}", points=_points(frame, spaced)))
    moved = spread([frame.y_pixel(y) for y, _, _ in labels], 15, frame.top + 4, frame.height - frame.bottom)
    for (_, name, ink), y in zip(labels, moved, strict=True):
        parts.append(element("text", name, class_=f"lab {ink}", x=end + 7, y=y + 4))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")


def _decades(low: float, high: float) -> list[float]:
    """Round numbers between two powers of ten: several of a decade, or the powers alone where those would be
    many.
    """
    digits = (1, 1.5, 2, 3, 5, 7) if high - low < 1 else (1, 3) if high - low < 2.5 else (1,)
    every = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in digits]
    inside = [value for value in every if low - 1e-9 <= math.log10(value) <= high + 1e-9]
    return inside or [10.0**low]


def _part(value: float, within: tuple[float, float]) -> float:
    low, high = within
    return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5


def _points(frame: Frame, line: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in (frame.at(*point) for point in line))


def _steps(sizes: Sequence[float], values: Sequence[float], *, later: bool) -> list[Point]:
    """A staircase: each stretch keeps its left value, or its right one if ``later``."""
    points = [(sizes[0], values[0])]
    for (left, right), (was, becomes) in zip(pairwise(sizes), pairwise(values), strict=True):
        points += [(left, becomes), (right, becomes)] if later else [(right, was), (right, becomes)]
    return points


def _apart(labels: Sequence[Tick], left: float = 0.0, right: float = math.inf) -> list[Tick]:
    """The labels that can stand in one row without touching: the last one always, then the others from the
    left; kept inside.
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
