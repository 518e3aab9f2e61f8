"""What the page says of attacks: whom to trust, who broke what, after how many queries."""

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.report import render, summary_lines
from quintain.report.blocks import FigureRow, TwoColumns
from quintain.report.run_results import RunResults
from quintain.report.sections.evasion import evasion_section, median_queries, queries_chart
from quintain.results.class_counts import ClassCounts
from quintain.results.codec import decode
from quintain.results.records import Record
from quintain.results.robustness_records import (
    AttackedModel,
    AttackResult,
    AttackRow,
    BreakLog,
)
from tests.report.support.reading import Page
from tests.report.support.robustness import first_attacked

GOLDEN = Path(__file__).parents[2] / "results" / "golden" / "schema-1-certify.json"


OLD = (
    b'{"model": "m", "title": "m", "rows": [{"attack": "pgd", "threat": "linf:4/255", '
    b'"standing": {"right": [1, 0], "total": [1, 1]}, '
    b'"forwards": 2.0, "backwards": 1.0, "seconds": 0.5}], "examples": {"ids": [0, 1], "labels": [0, 1], '
    b'"predicted": [0, 1], '
    b'"safe_radius": [0.0, 0.0], "broken_radius": ["Infinity", 0.01], "failed": [false, false]}, '
    b'"ball": "linf", "gallery": []}'
)


def page_of(record: Record, attacks: AttackedModel, folder: Path) -> str:
    return Page(render([replace(record, result=AttackResult((attacks,)))], folder)).text


def test_trust_and_the_breakdown_stand_above_the_curves_and_each_indicator_below(
    records: tuple[Record, ...], folder: Path
) -> None:
    text = Page(render(records, folder)).text
    assert "plain training, trust: high." in text
    doubt = (
        "adversarial training, trust: doubtful, because random points broke 3 of 31 examples that the "
        "attacks left."
    )
    assert doubt in text
    assert text.index(doubt) < text.index("Accuracy by number of queries") < text.rindex("Diagnostics")
    assert "trust: high. First broken by: fgsm " in text
    assert text.count("doubtful above 0.05") >= 3
    assert "YES" in text


def test_the_chart_of_a_single_model_has_a_neighbor(records: tuple[Record, ...], folder: Path) -> None:
    record, attacks = first_attacked(records)
    (row,) = [
        block
        for block in evasion_section(RunResults.of([replace(record, result=AttackResult((attacks,)))])).blocks
        if isinstance(block, FigureRow)
    ]
    assert [figure.title.endswith("by number of queries") for figure in row.drawings] == [False, True]
    unbroken = replace(attacks, rows=tuple(replace(one, correct_by_queries=()) for one in attacks.rows))
    (pair,) = [
        block
        for block in evasion_section(
            RunResults.of([replace(record, result=AttackResult((unbroken,)))])
        ).blocks
        if isinstance(block, TwoColumns)
    ]
    assert [len(side) > 0 for side in (pair.left, pair.right)] == [True, True]


def test_a_run_that_broke_off_says_so_and_how_many_were_not_met(
    records: tuple[Record, ...], folder: Path
) -> None:
    record, attacks = first_attacked(records)
    text = page_of(
        record, replace(attacks, stop_reason="connection lost", num_unattacked=40, diagnostics=None), folder
    )
    assert (
        "the run stopped early (connection lost); 40 examples not attacked by all attacks count as unbroken"
        in text
    )
    assert "how far the unbroken examples can be trusted is not known" in text


def test_a_record_from_before_these_fields_still_makes_a_page(folder: Path) -> None:
    whole = json.loads(GOLDEN.read_bytes())
    old = decode(
        json.dumps(
            {**whole, "claims": [], "judged": [], "body": {"attacks": [json.loads(OLD)], "kind": "attack"}}
        ).encode()
    )
    assert isinstance(old.result, AttackResult)
    (attacks,) = old.result.models
    assert (attacks.break_log, attacks.diagnostics, attacks.target_class, attacks.stop_reason) == (
        BreakLog(),
        None,
        None,
        "",
    )
    assert attacks.rows[0].eps == 4 / 255
    text = Page(render([old], folder)).text
    assert "50.0 %" in text
    assert "not run" in text
    assert "trust: high" not in text
    assert not [line for line in summary_lines(old) if "trust" in line]


def test_a_threat_without_a_size_in_its_spec_is_shown(records: tuple[Record, ...], folder: Path) -> None:
    record, attacks = first_attacked(records)
    row = replace(attacks.rows[-1], threat="spatial:rotate=15,shift=3", eps=1.0)
    examples = replace(
        attacks.examples,
        broken_radius=tuple(0.5 if 0 < one < math.inf else one for one in attacks.examples.broken_radius),
    )
    text = page_of(record, replace(attacks, rows=(row,), examples=examples, threat_type="spatial"), folder)
    assert "Spatial rotate=15,shift=3" in text
    assert "worst case" in text
    assert f"{100 * examples.unbroken_counts(1.0, 2).accuracy:.1f} %" in text


@pytest.mark.parametrize(
    ("queries", "expected"),
    [
        ((), "\u2013"),
        (((0, 9),), "\u2013"),
        (((0, 9), (4, 8), (50, 5), (1200, 2)), "50"),
        (((0, 9), (1200, 2)), "1,200"),
    ],
)
def test_queries_to_a_break_are_the_median(queries: tuple[tuple[int, int], ...], expected: str) -> None:
    assert (
        median_queries(AttackRow("a", "linf:0.1", ClassCounts((2, 0), (9, 1)), 1, 1, 1, 0.1, 7, queries))
        == expected
    )


def test_a_curve_over_queries_is_drawn_for_the_largest_size_and_for_what_broke_something(
    records: tuple[Record, ...],
) -> None:
    _, attacks = first_attacked(records)
    drawing = queries_chart(RunResults.of(records), attacks)
    assert drawing is not None
    assert "Linf 8/255" in drawing.title
    assert len(list(ET.fromstring(drawing.svg).iter("polyline"))) == 2
    silent = tuple(replace(row, correct_by_queries=row.correct_by_queries[:1]) for row in attacks.rows)
    assert queries_chart(RunResults.of(records), replace(attacks, rows=silent)) is None
    assert queries_chart(RunResults.of(records), replace(attacks, rows=())) is None
