"""Charts of privacy: well-formed and inside their frame."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quintain.report.drawings.privacy_charts import histogram, log_log_chart


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


@given(
    st.lists(st.lists(st.floats(1e-4, 1e4), min_size=3, max_size=3), min_size=1, max_size=3),
    st.none() | st.floats(1e-3, 1e3),
)
def test_curves_stay_inside_their_frame(lines: list[list[float]], mark: float | None) -> None:
    named = [
        (f"{place} steps", list(zip((64, 128, 256), line, strict=True))) for place, line in enumerate(lines)
    ]
    drawn = ET.fromstring(
        log_log_chart(named, None if mark is None else (mark, "the budget"), title="batch", alt_text="x")
    )
    places = [
        tuple(map(float, point.split(",")))
        for line in drawn.iter("polyline")
        for point in line.get("points", "").split()
    ]
    assert len(places) == 3 * len(lines)
    assert all(54 <= x <= 276.1 and 12 <= y <= 196.1 for x, y in places)
