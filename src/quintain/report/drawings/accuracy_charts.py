"""Charts of accuracy: against the size of the change, by round, by number of queries, and by a setting."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from quintain.report import format as fmt
from quintain.report.drawings.frame import (
    Frame,
    Point,
    labels_without_overlap,
    polyline_points,
    series_class,
    step_line,
)
from quintain.report.drawings.svg import Tick, element, picture, spread


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
    """Accuracy against the size of the change: the band between certified accuracy and accuracy under attack.

    Both are drawn as steps, so that each point of each line is a bound that holds: between two sizes the
    upper line keeps the value of the smaller one, the lower line that of the larger one.
    """
    frame = Frame(
        width=344,
        height=236,
        left=48,
        right=14,
        top=10,
        bottom=40,
        x_range=(min(sizes), max(sizes)),
        y_range=(0, 1),
    )
    upper = step_line(sizes, unbroken, where="post") if unbroken else []
    lower = step_line(sizes, certified, where="pre") if certified else []
    parts = frame.axes(
        [(size, fmt.eps_text(size)) for size in marked], [(y / 4, f"{25 * y} %") for y in range(5)], title
    )
    if upper:
        floor = lower or [(sizes[0], 0.0), (sizes[-1], 0.0)]
        parts.append(
            element("polygon", class_="band", points=polyline_points(frame, [*upper, *reversed(floor)]))
        )
    if baseline is not None:
        y = frame.y_pixel(baseline)
        parts.append(
            element("line", class_="constant", x1=frame.left, x2=frame.width - frame.right, y1=y, y2=y)
        )
    for line, values, color in ((upper, unbroken, "broken"), (lower, certified, "proved")):
        if line and values is not None:
            parts.append(element("polyline", class_=f"line-{color}", points=polyline_points(frame, line)))
            at = dict(zip(sizes, values, strict=True))
            dots = [(size, at[size]) for size in marked if size in at]
            parts += [
                element("circle", class_=f"dot-{color}", cx=frame.x_pixel(x), cy=frame.y_pixel(y), r=3)
                for x, y in dots
            ]
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
    frame = Frame(
        width=372,
        height=250,
        left=46,
        right=122,
        top=28,
        bottom=40,
        x_range=(curve[0][0], curve[-1][0]),
        y_range=(low, high),
    )
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
    for x, text in labels_without_overlap(
        [(frame.x_pixel(x), text) for x, text in marks], left=frame.left, right=frame.width
    ):
        parts.append(
            element("text", text, class_="tick ink-broken", x=x, y=frame.top - 11, text_anchor="middle")
        )
    for y, _, color in references:
        parts.append(
            element("line", class_=color, x1=frame.left, x2=end, y1=frame.y_pixel(y), y2=frame.y_pixel(y))
        )
    parts.append(element("polyline", class_="line-proved", points=polyline_points(frame, curve)))
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
    """Fractions that fall as a count grows: steps over a logarithmic axis, each line named at its right end.

    Args:
        lines: (name, (count, fraction) pairs), counts from 1 and rising.
        title: Of the horizontal axis.
        alt_text: All of it in words.
    """
    most = max(x for _, points in lines for x, _ in points)
    decades = max(math.ceil(math.log10(most)), 1)
    frame = Frame(
        width=372, height=236, left=48, right=96, top=10, bottom=40, x_range=(0, decades), y_range=(0, 1)
    )
    ticks = [(float(power), f"{10**power:,}") for power in range(decades + 1)]
    parts = frame.axes(ticks, [(y / 4, f"{25 * y} %") for y in range(5)], title)
    ends = []
    for number, (_, points) in enumerate(lines):
        spaced = [(math.log10(x), y) for x, y in points]
        stairs = step_line([x for x, _ in spaced], [y for _, y in spaced], where="post")
        whole = [*stairs, (float(decades), stairs[-1][1])]
        parts.append(element("polyline", class_=series_class(number), points=polyline_points(frame, whole)))
        ends.append(frame.y_pixel(stairs[-1][1]))
    heights = spread(ends, 15, frame.top + 4, frame.height - frame.bottom)
    for number, ((name, _), y) in enumerate(zip(lines, heights, strict=True)):
        parts.append(
            element(
                "text",
                name,
                class_=f"lab {series_class(number)}",
                x=frame.width - frame.right + 7,
                y=y + 4,
            )
        )
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")


def trade_off_chart(
    lines: Sequence[tuple[str, int, Sequence[Point]]],
    *,
    marked: float,
    labels: Sequence[Tick],
    title: str,
    alt_text: str,
) -> Markup:
    """Accuracies over a common axis, each line named at its right end, and one of its places marked.

    Args:
        lines: (name, number of its style, (x, accuracy) pairs by rising x).
        marked: The x that is marked.
        labels: What is written under the axis.
        title: Of the horizontal axis.
        alt_text: All of it in words.
    """
    xs = [x for _, _, points in lines for x, _ in points]
    frame = Frame(
        width=372,
        height=236,
        left=48,
        right=96,
        top=10,
        bottom=40,
        x_range=(min(xs), max(xs)),
        y_range=(0, 1),
    )
    parts = frame.axes(labels, [(y / 4, f"{25 * y} %") for y in range(5)], title)
    at = frame.x_pixel(marked)
    parts.append(element("line", class_="axis", x1=at, x2=at, y1=frame.top, y2=frame.height - frame.bottom))
    for _, style, points in lines:
        parts.append(element("polyline", class_=series_class(style), points=polyline_points(frame, points)))
        parts += [
            element(
                "circle",
                class_=f"dot-{'broken' if style == 0 else 'proved' if style == 1 else 'plain'}",
                cx=frame.x_pixel(x),
                cy=frame.y_pixel(y),
                r=5.5 if x == marked else 3,
            )
            for x, y in points
        ]
    ends = [frame.y_pixel(points[-1][1]) for _, _, points in lines]
    heights = spread(ends, 15, frame.top + 4, frame.height - frame.bottom)
    for (name, style, _), y in zip(lines, heights, strict=True):
        place = frame.width - frame.right + 9
        parts.append(element("text", name, class_=f"lab {series_class(style)}", x=place, y=y + 4))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")


def interval_chart(
    points: Sequence[tuple[float, float, float, float]],
    references: Sequence[tuple[float, str, str]],
    *,
    title: str,
    alt_text: str,
) -> Markup:
    """Accuracies over a logarithmic axis, each with its interval, beside reference lines with their names.

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
        width=372,
        height=236,
        left=46,
        right=118,
        top=12,
        bottom=40,
        x_range=(math.log2(points[0][0]) - room, math.log2(points[-1][0]) + room),
        y_range=(low, high),
    )
    grid = [low + step / 10 for step in range(round((high - low) * 10) + 1)]
    grid = grid if len(grid) <= 6 else grid[::2]
    parts = frame.axes(
        [(math.log2(x), f"{x:,g}") for x, *_ in points], [(y, f"{100 * y:.0f} %") for y in grid], title
    )
    end = frame.width - frame.right
    for y, _, color in references:
        parts.append(
            element("line", class_=color, x1=frame.left, x2=end, y1=frame.y_pixel(y), y2=frame.y_pixel(y))
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
    parts.append(element("polyline", class_="line-proved", points=polyline_points(frame, spaced)))
    parts += [
        element("circle", class_="dot-proved", cx=frame.x_pixel(x), cy=frame.y_pixel(y), r=3.5)
        for x, y in spaced
    ]
    heights = spread([frame.y_pixel(y) for y, _, _ in references], 16, frame.top, frame.height - frame.bottom)
    for (_, text, _), y in zip(references, heights, strict=True):
        parts.append(element("text", text, class_="lab ink-soft", x=end + 7, y=y + 4))
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")
