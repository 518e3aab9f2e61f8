"""What attackers find out, on the page: the section on anonymity, the curves, the tables and the pictures."""

from dataclasses import replace
from pathlib import Path

import pytest

from quintain.evaluate.leaks.claims import above, count_levels, leak_claims
from quintain.report import render
from quintain.report.claim_rows import claim_row
from quintain.report.leak_table import attack_table
from quintain.report.page import write
from quintain.report.registry import summary_lines
from quintain.report.run_results import RunResults
from quintain.results import codec
from quintain.results.gate import decide
from quintain.results.leak_records import LeakMeasurement
from quintain.results.privacy_records import LeakResult
from quintain.results.quantity import Metric
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
    assert "Model private-epsilon-3: not shown that members are told from others: an advantage of " in text
    assert " was reached (0.0 % without access), which chance may explain" in text
    assert "; the claimed privacy allows an advantage of at most 90.5 %." in text
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


def guessed_attributes(gain: float) -> LeakResult:
    """Guesses of a hidden attribute, better than without access on others, too, and how gains differ."""
    common = {
        "attack": "attribute-posterior", "goal": "attributes", "access": "scores", "model": "net",
        "confidence": 0.95, "unit": "example", "count": 400, "queries": 2.0,
    }  # fmt: skip
    accuracies = [
        LeakMeasurement(
            candidates=whose, measure=f"attribute accuracy, {whose}", value=0.99, low=0.95, high=1.0,
            baseline=0.875, baseline_name="an imputer", **common,
        )
        for whose in ("members", "others")
    ]  # fmt: skip
    leak = LeakMeasurement(
        candidates="members and others", measure="attribute gain, members less others", value=gain,
        low=gain - 0.1, high=gain + 0.1, baseline=0.0, baseline_name="the population", **common,
    )  # fmt: skip
    return replace(attacked(), measurements=(*accuracies, leak))


def test_what_a_model_tells_of_everyones_attributes_is_no_leak_of_its_training_data(tmp_path: Path) -> None:
    one = record(guessed_attributes(-0.03), ())
    first, members, others, both = summary_lines(one)
    assert first == (
        "no leak of the training data is shown: what is told of hidden attributes may hold for everyone; a "
        "stronger attack still might"
    )
    assert members.startswith("attributes (members): no leak by itself, attribute-posterior has")
    assert others.startswith("attributes (others): no leak by itself")
    assert both.startswith("attributes (members and others): no leak shown")
    html = render((one,), tmp_path)
    assert "It leaks" not in Page(html).text
    assert "not shown to help more with those that it was trained on than with others" in Page(html).text


def test_a_gain_on_members_beyond_that_on_others_is_a_leak(tmp_path: Path) -> None:
    one = record(guessed_attributes(0.2), ())
    first, *_, both = summary_lines(one)
    assert first == "shown to leak: attributes"
    assert both.startswith("attributes (members and others): LEAKS")
    assert "It leaks: attribute-posterior on net does better" in Page(render((one,), tmp_path)).text


def ranked_people(hits: int, *, count: int = 5) -> LeakResult:
    """People of whom some were ranked first: too few to show it, though a measure beside it shows a leak."""
    levels = above(count_levels(hits, count), 0.2)
    common = {
        "attack": "inversion-scores",
        "goal": "identity",
        "access": "scores",
        "model": "net",
        "candidates": "people",
        "high": 0.95,
        "confidence": 0.95,
        "unit": "person",
        "count": count,
        "queries": 9.0,
        "value": hits / count,
    }
    first = LeakMeasurement(
        measure="rank 1 of 13", low=0.14, baseline=0.2, baseline_name="the mean picture",
        metric=Metric.REIDENTIFIED, lower=levels, **common,
    )  # fmt: skip
    near = LeakMeasurement(
        measure="nearest training picture", low=0.14, baseline=0.11, baseline_name="guessing", **common
    )
    return replace(attacked(), measurements=(first, near))


def test_faces_that_were_known_again_are_counted_where_chance_may_explain_them(tmp_path: Path) -> None:
    result = ranked_people(3)
    one = record(result, leak_claims(result.measurements, model="model", model_hash="a", data_hash="b"))
    text = Page(render((one,), tmp_path)).text
    assert (
        "This model: not shown that faces are known again: 3 of 5 were (20.0 % without access), which chance "
        "may explain; yet an attack does better than what needs no access by nearest training picture, and "
        "nothing limits a stronger attack" in text
    )
    assert "no attack of this run made a face" not in text
    # the screen says of the same run why the claim shows nothing beside a leak
    assert "LEAKS" in (line := [*summary_lines(one)][1])
    assert line.endswith("; not shown by rank 1 of 13 (60.0 %), on which the claim rests")
    assert claim_row(RunResults.of((one,)), one.claims[0]).lower == "nothing shown"


def test_no_face_was_known_again_where_none_was(tmp_path: Path) -> None:
    result = ranked_people(0)
    one = record(result, leak_claims(result.measurements[:1], model="model", model_hash="a", data_hash="b"))
    assert "no attack of this run made a face that is known again" in Page(render((one,), tmp_path)).text
