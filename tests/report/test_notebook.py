"""What a notebook shows of a record, a claim and a bracket."""

import xml.etree.ElementTree as ET
from dataclasses import replace

from quintain.report.claim_rows import bound_text
from quintain.results.quantity import Side
from quintain.results.records import Record
from quintain.results.robustness_records import AttackResult, CertifyResult
from tests.report.support.claims import accuracy
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of


def bars(html: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(html).iter("svg") if one.get("class") == "bar"]


def test_a_bracket_is_its_bar_under_its_quantity() -> None:
    bracket = accuracy("net:linf:4/255", "Robust accuracy, net", 455, 461).bracket
    html = bracket._repr_html_()
    (bar,) = bars(html)
    assert [rect.get("class") for rect in bar.iter("rect")] == ["proved", "open", "broken"]
    text = Page(html).text
    assert "robust_accuracy(linf:4/255)" in text
    assert "above the majority class" in text
    for side in (Side.LOWER, Side.UPPER):
        assert bound_text(bracket, side) in text


def test_a_claim_is_what_its_card_on_the_page_is() -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", 455, 461)
    html = claim._repr_html_()
    assert len(bars(html)) == 1
    text = Page(html).text
    for words in (
        "Robust accuracy, net",
        "Linf 4/255",
        "Certified 455 by interval bounds, undecided 6 (1.0 %)",
    ):
        assert words in text


def test_a_record_has_its_title_its_requirements_and_a_bar_for_each_key_claim(
    records: tuple[Record, ...],
) -> None:
    one = record_of(records, CertifyResult)
    html = replace(one, requirements=records[-1].result.requirements)._repr_html_()
    assert len(bars(html)) == 4
    text = Page(html).text
    assert text.startswith("Certification on xrays.test PASS robust_accuracy(linf:4/255) >= 0.65")


def test_what_people_wrote_is_escaped_and_nothing_is_requested() -> None:
    claim = accuracy("net:linf:4/255", "<script>alert(1)</script>", 455, 461)
    html = record(AttackResult(()), (claim,))._repr_html_()
    assert "<script" not in html
    assert "url(" not in html
    assert "<script>alert(1)</script>" in Page(html).text
