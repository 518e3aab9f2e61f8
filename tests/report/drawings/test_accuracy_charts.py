"""Charts of accuracy: well-formed, inside their frame, labels apart."""

import itertools
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.report.drawings.accuracy_charts import accuracy_band, interval_chart, round_chart, step_chart


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


@pytest.mark.parametrize("most", [1, 2, 10, 9999])
def test_the_lines_stay_in_their_frame_and_never_rise(most: int) -> None:
    lines = [(f"attack {number}", [(1.0, 0.9), (float(most), 0.9 - number / 10)]) for number in range(1, 6)]
    drawn = ET.fromstring(step_chart(lines, title="queries", alt_text="words"))
    for line in drawn.iter("polyline"):
        places = [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
        assert all(48 <= x <= 276 and 10 <= y <= 196 for x, y in places)
        assert [y for _, y in places] == sorted(y for _, y in places)
    names = [text for text in drawn.iter("text") if "lab" in (text.get("class") or "")]
    heights = sorted(float(text.get("y") or "nan") for text in names)
    assert all(b - a >= 14.9 for a, b in itertools.pairwise(heights))


@given(
    st.lists(
        st.tuples(st.floats(0.01, 1e4), st.floats(0, 1)),
        min_size=1,
        max_size=8,
        unique_by=lambda point: point[0],
    ),
    st.lists(st.floats(0, 1), max_size=3),
)
def test_accuracies_stay_inside_their_frame(
    points: list[tuple[float, float]], references: list[float]
) -> None:
    drawn = ET.fromstring(
        interval_chart(
            [(x, y, max(y - 0.1, 0), min(y + 0.1, 1)) for x, y in sorted(points)],
            [(y, f"line {y:.2f}", "constant") for y in references],
            title="epsilon",
            alt_text="x",
        )
    )
    circles = [(float(dot.get("cx", "nan")), float(dot.get("cy", "nan"))) for dot in drawn.iter("circle")]
    assert len(circles) == len(points)
    assert all(46 <= x <= 254.1 and 12 <= y <= 196.1 for x, y in circles)
    assert [x for x, _ in circles] == sorted(x for x, _ in circles)
