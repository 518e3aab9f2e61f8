"""Tables of a notebook, and drawings that are looked up by name."""

import xml.etree.ElementTree as ET

from quintain.core.notebook import html_repr, html_table


def test_a_table_has_a_row_a_pair_and_escapes_all_text() -> None:
    drawn = html_table("<caption>", [("broken", "161"), ("<b>", "&")])
    cells = ["".join(cell.itertext()) for cell in ET.fromstring(drawn).iter() if cell.tag in ("th", "td")]
    assert cells == ["<caption>", "broken", "161", "<b>", "&"]


def test_a_drawing_is_found_by_name_when_it_is_asked_for() -> None:
    class Value:
        _repr_html_ = html_repr("html:escape")

        def replace(self, *_: str) -> "Value":
            return self

    value = Value()
    assert value._repr_html_() is value
