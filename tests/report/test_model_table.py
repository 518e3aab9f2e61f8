"""The table of what each model is worth: at the threat that the run is about."""

from dataclasses import replace

from quintain.report.model_table import model_table
from quintain.report.run_results import RunResults
from quintain.results.records import Claim, Record
from quintain.results.robustness_records import AttackResult, TrainResult
from tests.report.support.claims import accuracy
from tests.report.support.sample import record, record_of


def head_of(records: tuple[Record, ...], *claims: Claim) -> tuple[str, ...]:
    trained = replace(record_of(records, TrainResult), claims=())
    table = model_table(RunResults.of((trained, record(AttackResult(()), claims))))
    assert table is not None
    return table.head


def test_accuracies_stand_at_the_primary_threat_of_any_norm(records: tuple[Record, ...]) -> None:
    first = accuracy("plain:linf:4/255", "Robust accuracy", 0, 372)
    primary = accuracy("plain:l2:0.5", "Robust accuracy", 0, 300, token="l2:0.5", primary=True)
    assert head_of(records, first, primary) == (
        "model",
        "clean",
        "attacked L2 0.5",
        "certified L2 0.5",
        "epsilon",
    )
    assert head_of(records, first) == (
        "model",
        "clean",
        "attacked Linf 4/255",
        "certified Linf 4/255",
        "epsilon",
    )


def test_a_run_without_threats_has_no_column_for_them(records: tuple[Record, ...]) -> None:
    assert head_of(records) == ("model", "clean", "epsilon")


def test_there_is_no_table_without_a_model() -> None:
    assert model_table(RunResults.of((record(AttackResult(())),))) is None
