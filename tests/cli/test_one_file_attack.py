"""An attack is one file: that of another package is known to the command line, the laws and the report by its
class alone.
"""

from pathlib import Path

import pytest
import torch

from quintain import attacks
from quintain.attacks.base import attacks_supporting
from quintain.core.errors import ExitCode
from quintain.core.registry import entries
from quintain.results.codec import load
from tests.laws.attack_pairs import attack_of, collect_pairs, exempt, gap_of, sized
from tests.laws.checks_attacks import (
    check_budget,
    check_inside,
    check_metered,
    check_never_worse,
    check_replayable,
    check_split,
    check_targeted,
    check_untouched,
    inputs,
    invariant_net,
)

TOY = '''"""Random points of the threat."""

from dataclasses import dataclass
from typing import ClassVar

from quintain.attacks import Attack, Search


@dataclass(frozen=True)
class Toy(Attack):
    """Query random points of the threat."""

    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "random points of the threat"
    access: ClassVar = "scores"
    supports: ClassVar = ("linf", "l2")
    optimality_gap: ClassVar = {"any": 0.9, "l2": 0.8}
    test_settings: ClassVar = {"samples": 2}
    exemptions: ClassVar = {"better than random in linf": "it is random itself"}

    samples: int = 5

    def run(self, search: Search) -> None:
        for index in range(self.samples):
            rows = search.active_rows
            if len(rows):
                rng = search.rng.fold_in(index).select(rows)
                search.query(search.threat.sample(search.x[rows], rng), rows)
'''


@pytest.fixture
def toy(tmp_path_factory, monkeypatch):
    """An installed package of one file, with an entry point."""
    site = tmp_path_factory.mktemp("site")
    (site / "toy_attack.py").write_text(TOY)
    about = site / "toy_attack-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-attack\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[quintain.attack]\ntoy = toy_attack:Toy\nghost = toy_ghost:Ghost\n"
    )
    monkeypatch.syspath_prepend(site)
    entries.cache_clear()
    yield
    entries.cache_clear()


@pytest.mark.usefixtures("toy")
def test_the_command_line_lists_runs_and_reports_it(call, weights, small):
    assert "from toy-attack" in call("list", "attack")[1]
    words = ("attack", "--data", small, "--weights", weights, "--limit", 6, "--threat", "linf:8/255")
    code, out, err = call(*words, "--attack", "toy", "--attack", "fgsm", "--out", "r")
    assert code == ExitCode.OK, err
    assert "toy" in out
    assert {row.attack for row in load(Path("r/result.json")).result.models[0].rows} == {"toy", "fgsm"}
    assert call("report", "r")[0] == ExitCode.OK
    assert "toy" in Path("r/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("toy")
def test_the_laws_collect_it_and_it_keeps_them():
    assert [pair for pair in collect_pairs() if pair[0] == "toy"] == [("toy", "linf"), ("toy", "l2")]
    attack = attack_of("toy")
    assert attack.samples == 2
    assert (gap_of("toy", "linf"), gap_of("toy", "l2")) == (0.9, 0.8)
    assert exempt("toy", "better than random in linf")
    x, model = inputs(10, 1, 4, 4, seed=3), invariant_net(16, 3, seed=4)
    y = model(x).argmax(1)
    for kind in attack.supports:
        outcome = attack(model, x, y, sized(kind))
        check_inside(outcome, x, sized(kind))
        check_replayable(outcome, model, x, y, sized(kind))
        check_never_worse(outcome, model, x, y)
        check_split(attack, model, x, y, sized(kind))
        check_metered(attack, sized(kind))
        check_budget(attack, sized(kind), 3)
        check_targeted(attack, sized(kind))
        check_untouched(attack, sized(kind), fail_at=None)


@pytest.mark.usefixtures("toy")
def test_messages_name_it_where_it_can_do_what_was_asked():
    assert attacks_supporting("linf").endswith(", toy")
    assert "toy" not in attacks_supporting("l1")
    with pytest.raises(Exception, match=r"Attacks that can: .*toy"):
        attacks.PGD()(Scores(), torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.long), sized("linf"))


class Scores:
    """A model that gives scores alone."""

    access = "scores"

    def __call__(self, x):
        return x.flatten(1)


@pytest.mark.usefixtures("toy")
def test_one_that_does_not_import_hinders_no_other_and_is_refused_by_name(call, weights, small):
    assert "ghost" not in attacks_supporting("linf")
    code, _, err = call("attack", "--data", small, "--weights", weights, "--limit", 2, "--attack", "ghost")
    assert code == ExitCode.EXECUTION
    assert "'ghost' is registered as 'toy_ghost:Ghost', which does not import" in " ".join(err.split())
