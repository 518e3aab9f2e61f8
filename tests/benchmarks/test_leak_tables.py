"""The tables of docs/leakage.md come from measurements, and its words follow from the tables."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.leakage import defenses, membership
from quintain.evaluate.leaks.job import LeakFindings
from quintain.results.leak_records import LeakMeasurement

PAGE = Path(__file__).parents[2] / "docs" / "leakage.md"
AREA = LeakMeasurement(
    attack="lira", goal="membership", access="scores", model="plain", candidates="natural", measure="AUC",
    value=0.6, low=0.5, high=0.7, confidence=0.95, baseline=0.5, baseline_name="guessing", unit="image",
    count=100, queries=1.0,
)  # fmt: skip


def rows(name: str) -> list[list[str]]:
    """Return the cells of a table of the page."""
    text = PAGE.read_text(encoding="utf-8")
    return rows_of(text.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- end: {name} -->")[0])


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()]


def three_seeds(attack: str, *wrong: float) -> list[list[LeakMeasurement]]:
    """Return the measurements of an attack at three seeds, whose areas on canaries are given."""
    return [
        [
            replace(AREA, attack=attack, value=0.5 + 0.01 * seed),
            replace(
                AREA, attack=attack, candidates="mislabeled canaries", value=value, low=value - 0.1, high=1.0
            ),
            replace(AREA, attack=attack, candidates="mislabeled canaries", measure="TPR at 1 % FPR"),
        ]
        for seed, value in enumerate(wrong)
    ]


def test_a_run_of_the_defenses_replaces_the_table_of_the_page_and_no_more(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures -->\nold\n<!-- end: figures -->\nafter\n")
    left_out = replace(AREA, measure=defenses.LEFT_OUT[0])
    found = LeakFindings((AREA, left_out, replace(AREA, value=0.45, low=0.4)), notes=("a note",))
    monkeypatch.setattr(defenses, "findings", lambda: iter([found, found]))
    defenses.write(page)
    row = (
        "| `lira` | plain | natural | AUC | 0.600 (0.500 .. 0.700) | 0.500 (guessing) | +0.100 | no |\n"
        "| `lira` | plain | natural | AUC | 0.450 (0.400 .. 0.700) | 0.500 (guessing) | -0.050 | no |\n"
    )
    assert page.read_text() == (
        f"before\n<!-- figures -->\n{defenses.HEAD}{row}{row}<!-- end: figures -->\nafter\n"
    )
    assert capsys.readouterr().out == "a note\n"


def test_a_page_without_a_place_for_the_table_is_left_as_it_is(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n")
    monkeypatch.setattr(defenses, "findings", lambda: iter([LeakFindings((AREA,))]))
    with pytest.raises(ValueError, match="no place for the table of figures"):
        defenses.write(page)
    assert page.read_text() == "before\n"


def test_membership_has_medians_and_ranges_and_the_strongest_attack_first():
    seeds = [
        LeakFindings((*weak, *strong))
        for weak, strong in zip(
            three_seeds("loss-threshold", 0.9, 0.7, 0.8), three_seeds("lira", 0.95, 0.98, 0.91), strict=True
        )
    ]
    trials = membership.Trials("plain", tuple(seeds), (0.9, 0.8, 0.85), (1.0, 3.0, 2.0), (9.0, 9.0, 9.0))
    *_, strong, weak = membership.table([trials]).splitlines()
    assert strong == (
        "| plain | `lira` | 0.510 (0.500 to 0.520; 95 %: 0.500 to 0.700) "
        "| 0.950 (0.910 to 0.980; 95 %: 0.810 to 1.000) | 60 % (60 % to 60 %; 95 %: 50 % to 70 %) |"
    )
    assert weak.startswith("| plain | `loss-threshold` |")
    assert "0.800 (0.700 to 0.900; 95 %: 0.600 to 1.000)" in weak
    assert next(membership.lines(trials)).text.startswith(
        "a target, 16 shadow models and the attacks take 2 s of processor time"
    )


def test_what_the_page_says_of_defenses_follows_from_its_table():
    head, _, *body = rows("figures")
    assert [head] == rows_of(defenses.HEAD)[:1]
    rebuilt = {(row[0], row[1]): row[-1] for row in body if row[3] == "pictures rebuilt"}
    assert {name for name, _ in rebuilt} == {"gradient-inversion", "imprint-layer"}
    for (_, defense), shown in rebuilt.items():
        stops = "noise" in defense or "refused" in defense
        assert shown == ("no" if stops else "yes"), defense
    told = {(row[1].split(",")[0], row[2]): row[-1] for row in body if row[0] == "lira" and row[3] == "AUC"}
    assert told == {
        ("plain", "natural"): "yes",
        ("plain", "mislabeled canaries"): "yes",
        ("private", "natural"): "no",
        ("private", "mislabeled canaries"): "no",
    }
