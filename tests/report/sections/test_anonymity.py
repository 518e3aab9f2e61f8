"""What attackers find out, on the page: the section on anonymity, the curves, the tables and the pictures."""

from dataclasses import replace
from pathlib import Path

import pytest

from quintain.report import render
from quintain.report.leak_table import attack_table
from quintain.report.page import write
from quintain.report.registry import summary_lines
from quintain.results import codec
from quintain.results.gate import decide
from quintain.results.records import Record
from quintain.results.requirements import Requirement
from tests.report.support.browser import measured
from tests.report.support.leaks import PRIVATE, attacked, leak_sides
from tests.report.support.reading import Page
from tests.report.support.sample import record


def leak_record(folder: Path | None = None) -> Record:
    """Two attacks on two models."""
    result = attacked(folder)
    claims = leak_sides(result)
    judged = (decide(Requirement.parse("membership_tpr(fpr=1%) <= 5 %"), claims),)
    return record(result, claims, judged=judged)


def test_it_says_of_each_model_whether_it_is_anonymous_from_both_sides(tmp_path: Path) -> None:
    text = Page(render((leak_record(),), tmp_path)).text
    assert "Is it anonymous?" in text
    assert "Model plain: no, an attack tells who was trained on with an advantage of at least 56.7 %" in text
    assert (
        "Model private-epsilon-3: no attack of this run told members from others; the claimed privacy allows "
        "an advantage of at most 90.5 %." in text
    )
    assert "nothing claimed" in text
    assert "20.1 %" in text  # what epsilon 3 allows at 1 % false alarms


def test_an_attack_above_its_ceiling_takes_the_claim_away(tmp_path: Path) -> None:
    one = leak_record()
    plain, private = (
        [claim for claim in one.claims if claim.model == model] for model in ("plain", "private-epsilon-3")
    )
    crossed = []
    for claim, other in zip(private, plain, strict=True):
        low = replace(other.bracket.lower, quantity=claim.bracket.quantity)
        high = replace(claim.bracket.upper, value=min(claim.bracket.upper.value, low.value / 2))
        crossed.append(replace(claim, bracket=replace(claim.bracket, lower=low, upper=high)))
    text = Page(render((replace(one, claims=tuple(crossed)),), tmp_path)).text
    assert "an attack finds out more than the claimed privacy allows; do not rely on the claim" in text
    assert "SUSPECT" in text


def test_curves_tables_exposed_examples_and_pictures_are_shown(tmp_path: Path) -> None:
    codec.save(leak_record(tmp_path), tmp_path / "result.json")
    html = write(tmp_path).read_text()
    page = Page(html)
    assert html.count("<svg") == 3  # the required claim, and a curve for each kind of candidates
    assert html.count("data:image/png") == 3
    for words in ("Natural", "Mislabeled canaries", PRIVATE, "loss-threshold", "without access"):
        assert words in page.text
    assert "Examples that can be told to have taken part" in page.text
    assert "person 3: reconstructed" in page.text
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert "<script" not in html


def test_nobody_is_named_where_no_attack_shows_a_leak(tmp_path: Path) -> None:
    result = attacked(tmp_path)
    nothing = tuple(replace(one, low=0.0, value=one.baseline) for one in result.measurements)
    shown = replace(leak_record(tmp_path), result=replace(result, measurements=nothing))
    codec.save(shown, tmp_path / "result.json")
    page = Page(write(tmp_path).read_text())
    assert "No leak is shown: no attack did better than what needs no access" in page.text
    assert "can say that it took part" not in page.text


def test_many_defenses_have_rows_of_their_own() -> None:
    one = attacked().measurements[0]
    many = [replace(one, model=f"defense {number}") for number in range(5)]
    assert attack_table(many[:2]).head == ("measure", "attack", "defense 0", "defense 1", "without access")
    table = attack_table(many)
    assert table.head == ("measure", "attack", "model or defense", "value", "without access")
    assert [row[2].text for row in table.rows if len(row) > 1] == [one.model for one in many]


def test_numbers_alone_are_shown_where_pictures_are_private(tmp_path: Path) -> None:
    assert "data:image/png" not in render((leak_record(),), tmp_path)


@pytest.mark.browser
def test_the_page_fits_wide_and_narrow_screens_and_asks_nobody(chromium: str, tmp_path: Path) -> None:
    codec.save(leak_record(tmp_path), tmp_path / "result.json")
    html = write(tmp_path).read_text()
    for width, found in zip(
        (1200, 390), measured(chromium, tmp_path, [(html, 1200), (html, 390)]), strict=True
    ):
        assert found["width"] == found["scroll"] == width
        assert found["beyond"] == found["clash"] == found["outside"] == found["requests"] == []


def test_the_screen_says_what_leaks_worst_first() -> None:
    first, *rest = summary_lines(leak_record())
    assert first == "shown to leak: membership"
    assert rest[1].startswith("membership (mislabeled canaries, plain): LEAKS, lira has TPR at 0.1 % FPR")
    assert "without access 0.1 % (guessing)" in rest[1]
    # a line for each model and kind of candidates, whatever the number of measures
    assert len({line.partition(":")[0] for line in rest}) == len(rest)
    assert any("no leak shown" in line for line in rest)
