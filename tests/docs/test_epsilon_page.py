"""Every figure of the page on epsilon is worked out again."""

import math
import re
from pathlib import Path

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from quintain.cli.commands import privatize
from quintain.dp import accounting

PAGE = (Path(__file__).parents[2] / "docs/epsilon.md").read_text(encoding="utf-8")
DELTA = 1e-5


def table(title: str) -> list[list[str]]:
    """The lines of the first table under a heading, without its head."""
    part = PAGE.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in part.splitlines()
        if re.match(r"\| [\d,.]+ \|", line)
    ]


def sigma(epsilon: float) -> float:
    """Noise of one Gaussian step that costs exactly this at DELTA (Balle & Wang, 2018, arXiv:1805.06530)."""

    def excess(s: float) -> float:
        return (
            float(norm.cdf(0.5 / s - epsilon * s) - math.exp(epsilon) * norm.cdf(-0.5 / s - epsilon * s))
            - DELTA
        )

    return float(brentq(excess, 0.05, 100))


@pytest.mark.parametrize("row", table("What an adversary gains"), ids=lambda row: row[0])
def test_what_an_adversary_gains(row: list[str]) -> None:
    epsilon = float(row[0])
    odds = math.exp(epsilon)
    sure, worst = 0.01 * odds / (0.99 + 0.01 * odds), (odds + DELTA) / (odds + 1)
    gaussian = norm.cdf(0.5 / sigma(epsilon))
    times = f"{odds:,.0f}" if odds > 100 else f"{odds:.3g}"
    assert row[1:] == [f"{times} times", *(f"{100 * share:.1f} %" for share in (sure, worst, gaussian))]


def test_the_accountant_agrees_on_what_gaussian_noise_allows() -> None:
    told = (1 + accounting.delta_curve(sigma(1.0), 1.0, 1)(0.0)) / 2
    assert f"{100 * told:.1f} %" == "55.3 %"


@pytest.mark.parametrize("row", table("How to choose delta"), ids=lambda row: row[0])
def test_delta_is_a_hundred_times_below_one_over_the_records(row: list[str]) -> None:
    records = int(row[0].replace(",", ""))
    assert float(row[1]) == pytest.approx(1 / records, rel=0.03)
    assert float(row[2]) == 10.0 ** math.floor(math.log10(1 / records / 100) + 1e-9)
    assert float(row[2]) <= 1 / records / 100


@pytest.mark.parametrize("row", table("Whose privacy"), ids=lambda row: row[0])
def test_groups_pay_for_each_of_their_records(row: list[str]) -> None:
    count = int(row[0])
    delta = DELTA * sum(math.exp(step) for step in range(count))
    assert (row[1], float(row[2])) == (str(count), pytest.approx(delta, rel=0.02))


def test_all_tables_were_read() -> None:
    assert [
        len(table(title)) for title in ("What an adversary gains", "How to choose delta", "Whose privacy")
    ] == [4, 3, 4]


@pytest.mark.parametrize(
    "named",
    ["Groups", "Attributes", "Correlated records", "The choice of settings", "Test and validation records"],
)
def test_what_is_not_covered_is_named(named: str) -> None:
    assert f"- **{named}" in PAGE


def test_the_commands_that_are_shown_can_be_read() -> None:
    shown = re.findall(r"^ {4}quintain privatize (.+)$", PAGE, re.MULTILINE)
    known = [one.name for one in privatize.VERB.options]
    options = [option.replace("-", "_") for line in shown for option in re.findall(r"--([a-z-]+)", line)]
    assert len(shown) == 2
    assert [option for option in options if option not in known] == []
