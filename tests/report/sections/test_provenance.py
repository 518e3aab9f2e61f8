"""The section on provenance: how to reproduce the results, and what each bound assumes."""

from dataclasses import replace

from quintain.report.blocks import Collapsible, TableBlock, Text
from quintain.report.run_results import RunResults
from quintain.report.sections.provenance import provenance_section
from quintain.report.table import Table
from quintain.results.records import DrillResult, Record
from quintain.results.robustness_records import AttackResult
from tests.report.support.claims import accuracy
from tests.report.support.sample import record, record_of


def tables(*records: Record) -> dict[str, Table]:
    blocks = provenance_section(RunResults.of(records)).blocks
    inside = (each for block in blocks if isinstance(block, Collapsible) for each in block.blocks)
    return {each.table.caption: each.table for each in (*blocks, *inside) if isinstance(each, TableBlock)}


def test_a_command_of_several_records_is_said_once(records: tuple[Record, ...]) -> None:
    blocks = provenance_section(RunResults.of(records)).blocks
    commands = [block.text for block in blocks if isinstance(block, Text) and block.tone == "code"]
    assert commands == ["quintain drill --seed 7 --out runs/2026-11-24"]


def test_every_step_has_its_time_and_the_total(records: tuple[Record, ...]) -> None:
    *steps, total = tables(*records)["Steps"].rows
    done = record_of(records, DrillResult).result.steps
    assert [row[0].text for row in steps] == [step.name for step in done]
    assert total[2].text == "3 min 41 s"
    assert "Steps" not in tables(records[0])


def test_every_claim_is_listed_with_its_consistency() -> None:
    wrong = accuracy("net:linf:4/255", "Robust accuracy, net", 480, 461)
    right = accuracy("net:linf:2/255", "Robust accuracy, net", 455, 461, token="linf:2/255")
    rows = tables(record(AttackResult(()), (wrong, right)))["All claims"].rows
    assert [row[-1].text for row in rows] == ["CONTRADICTION", "CONSISTENT"]
    assert [row[-1].tone for row in rows] == ["bad", ""]


def test_bounds_of_one_method_share_a_row_of_assumptions(records: tuple[Record, ...]) -> None:
    claims = (
        accuracy("a:linf:4/255", "Robust accuracy, a", 455, 461),
        accuracy("b:linf:4/255", "Robust accuracy, b", None, 461),
    )
    rows = {row[0].text: row for row in tables(record(AttackResult(()), claims))["Assumptions"].rows}
    assert [cell.text for cell in rows["interval bounds"][1:]] == [
        "lower",
        "proof",
        "float32 rounding is small",
        "Robust accuracy, a",
    ]
    assert rows["fgsm + pgd-20"][4].text == "Robust accuracy, a, Robust accuracy, b"
    assert "nothing known" not in rows


def test_hashes_name_data_weights_and_files(records: tuple[Record, ...]) -> None:
    found = {row[0].text: row[1] for row in tables(*records)["Hashes"].rows}
    assert "data xrays.test" in found
    assert found["plain training: weights and program"].tone == "code"
    assert "plain training: models/plain.safetensors" in found
    other = replace(records[0].provenance, threads=9)
    machines = [
        row[1].text
        for row in tables(replace(records[0], provenance=other), records[1])["Versions and machine"].rows
        if row[0].text == "machine"
    ]
    assert machines == [
        "Linux x86_64, cpu, float32, 9 threads",
        "Linux x86_64, cpu, float32, 2 threads",
    ]
