"""Charts of privacy: the scores of an audit, and what epsilon costs in noise."""

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from quintain.report import format as fmt
from quintain.report.drawings.frame import Frame, Point, polyline_points, series_class
from quintain.report.drawings.svg import Tick, element, picture, spread


def histogram(
    bins: Sequence[float], inside: Sequence[int], outside: Sequence[int], *, title: str, alt_text: str
) -> Markup:
    """Two counts over the same bins, one upwards and one downwards, so that neither hides the other."""
    tallest = max(*inside, *outside, 1)
    frame = Frame(
        width=344,
        height=210,
        left=36,
        right=14,
        top=10,
        bottom=40,
        x_range=(bins[0], bins[-1]),
        y_range=(-tallest, tallest),
    )
    ticks = [(edge, fmt.number(edge)) for edge in (bins[0], bins[len(bins) // 2], bins[-1])]
    parts = frame.axes(ticks, [(tallest, str(tallest)), (0, "0"), (-tallest, str(tallest))], title)
    for counts, sign, color in ((inside, 1, "bar-in"), (outside, -1, "bar-out")):
        for (low, high), many in zip(pairwise(bins), counts, strict=True):
            if many:
                left, right = frame.x_pixel(low), frame.x_pixel(high)
                tip, foot = sorted((frame.y_pixel(sign * many), frame.y_pixel(0)))
                width = max(right - left - 1, 0.6)
                parts.append(element("rect", class_=color, x=left, y=tip, width=width, height=foot - tip))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart")


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
    frame = Frame(
        width=372,
        height=236,
        left=54,
        right=96,
        top=12,
        bottom=40,
        x_range=(math.log2(xs[0]), math.log2(xs[-1])),
        y_range=(low - room, high + room),
    )
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
        (math.log10(points[-1][1]), name, series_class(number)) for number, (name, points) in enumerate(lines)
    ]
    labels += [(math.log10(mark[0]), mark[1], "ink-soft")] if mark else []
    for number, (_, points) in enumerate(lines):
        spaced = [(math.log2(x), math.log10(y)) for x, y in points]
        parts.append(element("polyline", class_=series_class(number), points=polyline_points(frame, spaced)))
    moved = spread([frame.y_pixel(y) for y, _, _ in labels], 15, frame.top + 4, frame.height - frame.bottom)
    for (_, name, ink), y in zip(labels, moved, strict=True):
        parts.append(element("text", name, class_=f"lab {ink}", x=end + 7, y=y + 4))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")


def _decades(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of ten.

    Several of a decade, or the powers alone where those would be many.
    """
    digits = (1, 1.5, 2, 3, 5, 7) if high - low < 1 else (1, 3) if high - low < 2.5 else (1,)
    every = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in digits]
    inside = [value for value in every if low - 1e-9 <= math.log10(value) <= high + 1e-9]
    return inside or [10.0**low]
