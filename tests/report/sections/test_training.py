"""The section on training: every training of the run, and the data."""

from dataclasses import replace

from quintain.report.blocks import Collapsible, TableBlock, Text
from quintain.report.run_results import RunResults
from quintain.report.sections.training import training_section
from quintain.results.class_counts import ClassCounts
from quintain.results.records import Record
from quintain.results.robustness_records import CheckResult, HardenResult, TrainResult
from tests.report.support.sample import record_of


def test_every_training_has_a_row_and_a_recipe(records: tuple[Record, ...]) -> None:
    section = training_section(RunResults.of(records))
    assert section is not None
    table, recipes, classes = section.blocks
    assert isinstance(table, TableBlock)
    assert [row[0].text for row in table.table.rows] == [
        "plain training",
        "adversarial training",
        "certified training",
        "private model",
    ]
    assert isinstance(recipes, Collapsible)
    assert (recipes.summary, classes.summary) == ("recipes", "examples of each class")
    assert recipes.blocks[0].table.rows[1][1].text == "PGD training at 6/255, 40 epochs"


def test_a_model_no_better_than_the_majority_class_is_marked_and_the_mark_is_explained(
    records: tuple[Record, ...],
) -> None:
    one = record_of(records, TrainResult)
    weak = replace(one.result.training, clean_counts=ClassCounts((0, 390), (234, 390)))
    section = training_section(RunResults.of((replace(one, result=TrainResult(weak)),)))
    assert section is not None
    table, note, *_ = section.blocks
    assert table.table.rows[0][1].tone == "low"
    assert isinstance(note, Text)
    assert "correct for 62.5 % of the examples" in note.text


def test_it_is_about_the_data_where_nothing_was_trained(records: tuple[Record, ...]) -> None:
    alone = training_section(RunResults.of((record_of(records, CheckResult),)))
    assert alone is not None
    assert alone.title == "The data"
    assert training_section(RunResults.of((record_of(records, HardenResult),))).title == "Training"
    assert training_section(RunResults.of(records[-1:])) is None
