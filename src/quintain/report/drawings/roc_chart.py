"""The ROC of membership attacks on two logarithmic axes, where a few sure finds show."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from quintain.report.drawings.frame import Frame, Point, polyline_points, series_class
from quintain.report.drawings.svg import element, picture

LOWEST = 1e-4
"""Smaller rates are not drawn, however many candidates there were."""


def roc_chart(lines: Sequence[Sequence[Point]], *, alt_text: str) -> Markup:
    """Draw curves of true-positive rates over false-positive rates, with guessing as a dashed line.

    What is 0 lies on no logarithmic axis: a curve begins at its first point above it.

    Args:
        lines: Points (FPR, TPR) of each curve, rising; the styles of lines follow from their order.
        alt_text: All of it in words.
    """
    rates = [value for points in lines for point in points for value in point if value > 0]
    least = max(min(rates, default=1e-3), LOWEST)
    low = math.floor(math.log10(least))
    frame = Frame(
        width=372,
        height=300,
        left=54,
        right=16,
        top=12,
        bottom=40,
        x_range=(low, 0.0),
        y_range=(low, 0.0),
    )
    ticks = [(float(power), f"{100 * 10.0**power:g} %") for power in range(low, 1)]
    parts = frame.axes(ticks, ticks, "false-positive rate")
    parts.append(
        element("polyline", class_="guessing", points=polyline_points(frame, [(low, low), (0.0, 0.0)]))
    )
    for number, points in enumerate(lines):
        drawn = [(math.log10(x), math.log10(y)) for x, y in points if x > 0 and y > 0]
        if drawn:
            parts.append(
                element("polyline", class_=series_class(number), points=polyline_points(frame, drawn))
            )
    return picture(alt_text, *parts, width=frame.width, height=frame.height, class_="chart wide")
