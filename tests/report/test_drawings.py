"""Drawings: well-formed, inside their frame, labels apart."""

import math
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from quintain.report.bar import MIN_WIDTH_PX, PERCENT, bracket_bar, scale_to, stacked_bar
from quintain.report.charts import accuracy_band, histogram, round_chart
from quintain.report.svg import element, nice_step, nice_top, spread, text_width

shares = st.floats(0, 1)


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
    return one[0] < other[1] - 1e-6 and other[0] < one[1] - 1e-6 and one[2] < other[3] and other[2] < one[3]


@given(low=shares, high=shares, ask=st.none() | shares, constant=st.none() | shares)
def test_no_two_labels_of_a_bar_touch_and_none_leaves_it(
    low: float, high: float, ask: float | None, constant: float | None
) -> None:
    drawn = bracket_bar(
        (low, high),
        (max(low - 0.05, 0), min(high + 0.05, 1)),
        (f"proved {100 * low:.1f} %", f"attacked {100 * high:.1f} %"),
        required=[] if ask is None else [(ask, f"asked ≥ {100 * ask:.1f} %")],
        marker=None if constant is None else (constant, f"constant answer {100 * constant:.1f} %"),
        alt_text="both sides",
    )
    found = boxes(drawn)
    assert all(left >= -1e-6 and right <= MIN_WIDTH_PX + 1e-6 for left, right, _, _ in found)
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


@given(st.floats(1e-3, 1e6))
def test_an_axis_shows_its_value_in_few_steps(value: float) -> None:
    top = nice_top(value)
    assert value < top <= 1.6 * value
    assert 2 <= top / nice_step(top) <= 6


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.floats(1, 16))
def test_labels_move_apart_and_keep_their_order(places: list[float], gap: float) -> None:
    moved = spread(places, gap, 0, 100)
    order = sorted(range(len(places)), key=lambda index: places[index])
    ranked = [moved[index] for index in order]
    assert all(later - earlier >= gap - 1e-6 for earlier, later in pairwise(ranked))
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in moved)


def test_labels_with_room_stay() -> None:
    assert spread([10, 50, 90], 16, 0, 100) == [10, 50, 90]


def test_attributes_and_content_are_escaped() -> None:
    drawn = element("text", "<b>", Markup("<i/>"), class_='"', aria_label="a & b", x=1.25)
    assert drawn == '<text class="&#34;" aria-label="a &amp; b" x="1.2">&lt;b&gt;<i/></text>'


def test_a_curve_is_a_staircase_on_which_every_point_holds() -> None:
    drawn = ET.fromstring(
        accuracy_band(
            [0.0, 0.5, 1.0],
            [0.8, 0.6, 0.2],
            [0.9, 0.7, 0.3],
            marked=[0.0, 1.0],
            baseline=0.5,
            title="size",
            alt_text="x",
        )
    )
    upper, lower = (line.get("points", "").split() for line in drawn.iter("polyline"))
    heights = [[float(point.split(",")[1]) for point in line] for line in (upper, lower)]
    assert heights[0] == sorted(heights[0])
    assert len(heights[0]) == len(heights[1]) == 5
    assert heights[0][1] == heights[0][0]
    assert heights[1][1] > heights[1][0]
    assert len(list(drawn.iter("polygon"))) == 1
    assert len(list(drawn.iter("circle"))) == 4


def test_half_a_bracket_draws_half_of_it() -> None:
    drawn = ET.fromstring(
        accuracy_band([0.0, 1.0], None, [0.9, 0.3], marked=[0.0], baseline=None, title="size", alt_text="x")
    )
    assert [line.get("class") for line in drawn.iter("polyline")] == ["line-broken"]
    lone = ET.fromstring(
        accuracy_band([0.0], [0.8], [0.9], marked=[0.0], baseline=0.5, title="size", alt_text="x")
    )
    assert lone.get("viewBox") == "0 0 344 236"


def test_a_histogram_goes_up_for_one_and_down_for_the_other() -> None:
    drawn = ET.fromstring(histogram([0, 1, 2], [3, 0], [1, 4], title="score", alt_text="x"))
    found = [
        (rect.get("class"), float(rect.get("y", "nan")), float(rect.get("height", "nan")))
        for rect in drawn.iter("rect")
    ]
    middle = found[0][1] + found[0][2]
    assert [colour for colour, _, _ in found] == ["bar-in", "bar-out", "bar-out"]
    assert [top for colour, top, _ in found if colour == "bar-out"] == pytest.approx([middle, middle])
    assert found[0][2] == pytest.approx(3 * found[1][2], rel=0.01)
    assert ET.fromstring(histogram([0, 1], [0], [0], title="score", alt_text="x")).tag == "svg"


def test_rounds_show_references_and_dropouts() -> None:
    drawn = ET.fromstring(
        round_chart(
            [(1.0, 0.7), (2.0, 0.84)],
            "together 84.0 %",
            [
                (0.845, "pooled 84.5 %", "pooled"),
                (0.83, "best alone 83.0 %", "alone"),
                (0.625, "constant 62.5 %", "constant"),
            ],
            [(2.0, "Mercy dropped out")],
            title="round",
            alt_text="x",
        )
    )
    labels = {
        text.text: float(text.get("y", "nan"))
        for text in drawn.iter("text")
        if "lab" in text.get("class", "")
    }
    assert set(labels) == {"together 84.0 %", "pooled 84.5 %", "best alone 83.0 %", "constant 62.5 %"}
    heights = sorted(labels.values())
    assert min(b - a for a, b in pairwise(heights)) >= 15.9
    assert labels["pooled 84.5 %"] < labels["together 84.0 %"] < labels["best alone 83.0 %"]
    assert "Mercy dropped out" in [text.text for text in drawn.iter("text")]
    assert (
        ET.fromstring(round_chart([(1.0, 0.7)], "together", [], [], title="round", alt_text="x")).tag == "svg"
    )


def test_a_strip_is_as_wide_as_its_parts() -> None:
    drawn = ET.fromstring(stacked_bar([(0.5, "certified"), (0.0, "open"), (0.25, "broken")], "x"))
    assert [(rect.get("class"), rect.get("x"), rect.get("width")) for rect in drawn.iter("rect")] == [
        ("certified", "0.00%", "50.00%"),
        ("broken", "50.00%", "25.00%"),
    ]
    assert PERCENT.fraction(2.0) == 1.0
