"""Bars of brackets: inside their frame, labels apart."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup

from quintain.report.drawings.bar import MIN_WIDTH_PX, PERCENT, bracket_bar, scale_to, stacked_bar
from quintain.report.drawings.svg import text_width

shares = st.floats(0, 1)

ROUNDING_PX = 0.5e-4 * MIN_WIDTH_PX + 1e-6
"""A place is written as a percentage with two decimals, and widths are sums of floats."""


def boxes(drawing: Markup) -> list[tuple[float, float, float, float]]:
    """(left, right, top, bottom) of each text of a bar at its narrowest, by the widest guess of its width."""
    found = []
    for text in ET.fromstring(drawing).iter("text"):
        size = 13 if "lab" in text.get("class", "") else 12
        width = text_width("".join(text.itertext()), size)
        x = float((text.get("x") or "").rstrip("%")) / 100 * MIN_WIDTH_PX
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.get("text-anchor") or "start"] * width
        bottom = float(text.get("y") or "nan")
        found.append((left, left + width, bottom - 10, bottom + 2))
    return found


def touch(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    apart = 2 * ROUNDING_PX
    return one[0] < other[1] - apart and other[0] < one[1] - apart and one[2] < other[3] and other[2] < one[3]


@given(low=shares, high=shares, ask=st.none() | shares, constant=st.none() | shares)
@example(low=0.0, high=0.0, ask=0.21604416886750816, constant=None)
def test_no_two_labels_of_a_bar_touch_and_none_leaves_it(
    low: float, high: float, ask: float | None, constant: float | None
) -> None:
    drawn = bracket_bar(
        (low, high),
        (max(low - 0.05, 0), min(high + 0.05, 1)),
        (f"certified {100 * low:.1f} %", f"attacked {100 * high:.1f} %"),
        required=[] if ask is None else [(ask, f"required ≥ {100 * ask:.1f} %")],
        marker=None if constant is None else (constant, f"majority class {100 * constant:.1f} %"),
        alt_text="both sides",
    )
    found = boxes(drawn)
    assert all(left >= -ROUNDING_PX and right <= MIN_WIDTH_PX + ROUNDING_PX for left, right, _, _ in found)
    assert not [(a, b) for index, a in enumerate(found) for b in found[:index] if touch(a, b)]


@given(low=shares, high=shares)
def test_the_blocks_of_a_bar_fill_it_and_a_crossing_is_drawn(low: float, high: float) -> None:
    drawn = ET.fromstring(bracket_bar((low, high), (low, high), ("a", "b"), alt_text="both sides"))
    wide = {rect.get("class"): float((rect.get("width") or "").rstrip("%")) for rect in drawn.iter("rect")}
    assert ("clash" in wide) == (low > high)
    assert sum(wide.values()) == pytest.approx(100 + 2 * wide.get("clash", 0), abs=0.1)
    assert wide.get("proved", 0) == pytest.approx(100 * low, abs=0.01)
    assert wide.get("open", 0) == pytest.approx(100 * max(high - low, 0), abs=0.01)


def test_equal_sides_are_said_once() -> None:
    drawn = bracket_bar((0.8, 0.8), (0.75, 0.85), ("right 80.0 %", "right 80.0 %"), alt_text="right 80.0 %")
    assert drawn.count("right 80.0 %") == 2
    assert drawn.count("<line") == 2


def test_an_epsilon_has_its_colours_the_other_way_round_and_may_be_endless() -> None:
    scale = scale_to(0.9, math.inf, 5.1)
    drawn = ET.fromstring(
        bracket_bar(
            (0.9, math.inf),
            (0.9, math.inf),
            ("audited 0.90", "no upper bound"),
            scale=scale,
            higher_is_better=False,
            alt_text="x",
        )
    )
    assert [rect.get("class") for rect in drawn.iter("rect")] == ["broken", "open"]
    assert scale.top == 6
    assert [text for _, text in scale.ticks] == ["0", "2", "4", "6"]
    assert scale_to(math.inf).top >= 1
    assert scale_to(0.0).top == 1


def test_a_strip_is_as_wide_as_its_parts() -> None:
    drawn = ET.fromstring(stacked_bar([(0.5, "certified"), (0.0, "open"), (0.25, "broken")], "x"))
    assert [(rect.get("class"), rect.get("x"), rect.get("width")) for rect in drawn.iter("rect")] == [
        ("certified", "0.00%", "50.00%"),
        ("broken", "50.00%", "25.00%"),
    ]
    assert PERCENT.fraction(2.0) == 1.0
