"""Every type of result has one presentation, which the screen and the page share."""

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import pytest
from rich.console import Console

from quintain.cli.screen import show_record
from quintain.report import render, summary_lines
from quintain.report.blocks import TableBlock
from quintain.report.registry import PRESENTATIONS, blocks_of, presentation_of
from quintain.report.run_results import RunResults
from quintain.report.sections.training import training_section
from quintain.results.privacy_records import AuditResult, PrivatizeResult
from quintain.results.records import Record, StepResult
from quintain.results.robustness_records import CheckResult, HardenResult, TrainResult
from tests.report.support.claims import accuracy
from tests.report.support.privacy import PLANNED, swept
from tests.report.support.reading import Page
from tests.report.support.sample import record, record_of


def screen(shown: Record) -> str:
    written = io.StringIO()
    show_record(Console(file=written, width=200), shown)
    return written.getvalue()


@pytest.mark.parametrize("result_type", get_args(StepResult), ids=lambda one: one.__name__)
def test_every_type_of_result_has_a_presentation_in_a_file_of_its_name(result_type: type) -> None:
    shown = PRESENTATIONS[result_type]
    assert shown.result_type is result_type
    kind = result_type.__dataclass_fields__["kind"].default
    assert shown.summary.__module__ in (f"quintain.report.results.{kind}", "quintain.report.presentation")
    assert shown.title.strip()


def test_titles_tell_results_apart() -> None:
    titles = [shown.title for shown in PRESENTATIONS.values()]
    assert len(set(titles)) == len(titles) == len(get_args(StepResult))


def test_a_result_without_presentation_is_an_error_that_says_where_to_add_one() -> None:
    @dataclass(frozen=True)
    class StrangeResult:
        kind: str = "strange"

    with pytest.raises(NotImplementedError, match=r"StrangeResult.*quintain\.report\.results"):
        presentation_of(StrangeResult())


def test_the_title_of_a_page_of_one_record_is_that_of_its_result(
    records: tuple[Record, ...], folder: Path
) -> None:
    for one in records:
        head = f"{presentation_of(one.result).title} on xrays.test"
        assert Page(render((one,), folder)).text.startswith(head)


def test_the_screen_shows_the_summary_and_the_tables_of_a_result() -> None:
    for result in (swept(), PLANNED):
        shown = presentation_of(result)
        text = " ".join(screen(record(result)).split())
        for line in shown.summary(result):
            assert line in text
        tables = tuple(shown.tables(result))
        assert tables
        for table in tables:
            assert table.caption in text
            assert all(cell.text in text for row in table.rows for cell in row)


def test_the_screen_lists_what_a_check_found_in_place_of_its_summary(records: tuple[Record, ...]) -> None:
    one = record_of(records, CheckResult)
    text = screen(one)
    assert [line.split()[0] for line in text.splitlines()] == ["ok", "ok", "warning", "note", "ok"]
    (count, worst) = summary_lines(one)
    assert (count, worst.split(":")[0]) == ("5 checks: 1 warning, 0 errors", "warning")
    assert count not in text


def test_each_claim_on_robust_accuracy_is_a_sentence_after_the_summary(records: tuple[Record, ...]) -> None:
    claim = accuracy("net:linf:4/255", "Robust accuracy, net", None, 372)
    one = replace(record_of(records, TrainResult), claims=(claim,))
    first, sentence = summary_lines(one)
    assert first == "plain training: accuracy 86.1 % (95 %: 83.1 .. 88.7), balanced 82.4 %, 6.2 s"
    assert sentence == (
        "robust accuracy of net at linf:4/255: at least 0.0 % (not certified), at most 59.6 % (attacked); "
        "95 % interval for the population 0.0 .. 62.9 %; majority class 62.5 %"
    )


def test_what_is_true_of_every_claim_is_said_with_the_first(records: tuple[Record, ...]) -> None:
    claims = tuple(accuracy(f"net:linf:{eps}/255", "Robust accuracy, net", None, 372) for eps in (4, 8))
    _, first, second = summary_lines(replace(record_of(records, TrainResult), claims=claims))
    assert first.endswith("(attacked); 95 % interval for the population 0.0 .. 62.9 %; majority class 62.5 %")
    assert second.endswith("at most 59.6 % (attacked); 95 %: 0.0 .. 62.9 %")


def test_a_model_that_came_trained_has_no_time_of_training(records: tuple[Record, ...]) -> None:
    trained = record_of(records, TrainResult)
    assert isinstance(trained.result, TrainResult)
    one = replace(trained.result.training, seconds=0.0, losses=())
    given = replace(trained, result=TrainResult(one))
    (line, *_) = summary_lines(given)
    assert line.endswith("balanced 82.4 %")
    section = training_section(RunResults.of((given,)))
    assert section is not None
    table = section.blocks[0]
    assert isinstance(table, TableBlock)
    assert table.table.rows[0][-1].text == "given"


def test_a_hardening_is_summed_up_by_its_trainings_and_its_attacks(records: tuple[Record, ...]) -> None:
    one = record_of(records, HardenResult)
    lines = [line.partition(":")[0] for line in presentation_of(one.result).summary(one.result)]
    assert lines[:3] == [
        "adversarial training",
        "certified training",
        "accuracy under attack, adversarial",
    ]


def test_blocks_come_type_by_type(records: tuple[Record, ...], folder: Path) -> None:
    run = RunResults.of(records, folder)
    both = blocks_of(run, AuditResult, PrivatizeResult)
    assert both == [*blocks_of(run, AuditResult), *blocks_of(run, PrivatizeResult)]
    assert blocks_of(run, TrainResult) == []
