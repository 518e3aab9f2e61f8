"""Elements, axes and labels that move apart."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from quintain.report.drawings.svg import element, nice_step, nice_top, spread


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
