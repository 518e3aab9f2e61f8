"""Whatever can be registered is one file: that of another package is known to the command line, the laws and
the report by its class or function alone.
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from quintain import attacks
from quintain.attacks.base import attacks_supporting
from quintain.core.errors import ExitCode, SettingError
from quintain.core.registry import KINDS, declared_entries, entries
from quintain.threats import parse

ROOT = Path(__file__).parents[2]
TOYS = {
    "threat": {"toy-ball": "ToyBall"},
    "model": {"toy-net": "toy_net", "toy-scaled-net": "toy_scaled_net"},
    "dataset": {"toy-data": "toy_data"},
    "attack": {"toy": "ToyAttack", "ghost": "Ghost"},
    "universal_attack": {"toy-shift": "ToyShift"},
    "certifier": {"toy-bounds": "ToyBounds"},
    "defense": {"toy-training": "ToyTraining"},
    "mechanism": {"toy-sgd": "toy_fit"},
    "leak": {"toy-guess": "toy_guess"},
    "audit": {"toy-audit": "toy_audit"},
    "aggregation": {"toy-sum": "ToySum"},
    "strategy": {"toy-half": "ToyHalf"},
    "layer_rule": {"toy-scale": "scale_rule"},
}
LAWS = {
    "threat": ("tests/laws/test_balls.py", "tests/threats/test_threat.py"),
    "model": ("tests/models/test_nets.py",),
    "dataset": ("tests/data/test_data_loading.py",),
    "attack": ("tests/laws/test_attacks.py",),
    "universal_attack": ("tests/laws/test_universal_attacks.py",),
    "certifier": ("tests/laws/test_certifiers.py",),
    "defense": ("tests/laws/test_defenses.py",),
    "mechanism": ("tests/laws/test_dp.py",),
    "leak": ("tests/laws/test_leaks.py",),
    "audit": ("tests/laws/test_audit.py",),
    "aggregation": ("tests/laws/test_aggregations.py",),
    "strategy": ("tests/laws/test_strategies.py",),
    "layer_rule": ("tests/laws/test_dp.py",),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with an installed package of one file, with entry points."""
    site = tmp_path_factory.mktemp("site")
    shutil.copy(Path(__file__).with_name("one_of_each.py"), site / "one_of_each.py")
    about = site / "one_of_each-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: one-of-each\nVersion: 1.0\n")
    lines = []
    for kind, toys in TOYS.items():
        lines.append(f"[quintain.{kind}]")
        lines += [
            f"{name} = {'toy_ghost' if name == 'ghost' else 'one_of_each'}:{thing}"
            for name, thing in toys.items()
        ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture
def quintain(site, ready, tmp_path):
    """Run the command line in a process of its own that finds the package, in an empty folder: exit code,
    output and messages.
    """
    program = site / "command.py"
    program.write_text(
        "from quintain.evaluate import plain_training\n"
        "plain_training.FIRST_EPOCHS = plain_training.MIN_STEPS = 1\n"
        "from quintain.cli.main import run\n\nrun()\n"
    )
    return lambda *words: ready(program, *words, home=tmp_path, COLUMNS="200")


@pytest.fixture
def toys(site, monkeypatch):
    """The package is installed in this process."""
    monkeypatch.syspath_prepend(site)
    entries.cache_clear()
    yield
    entries.cache_clear()


def test_there_is_a_toy_of_each_kind_and_laws_for_it():
    assert set(TOYS) == set(LAWS) == {*KINDS, "layer_rule"}


def test_the_command_line_lists_runs_and_reports_each(quintain, tmp_path):
    code, out, err = quintain("list", "--long")
    assert code == ExitCode.OK, err
    assert out.count("from one-of-each") == sum(map(len, TOYS.values())) - len(TOYS["layer_rule"])

    words = ("--data", "toy-data", "--model", "toy-net")
    code, out, err = quintain("harden", *words, "--defense", "toy-training", "--out", "h")
    assert code == ExitCode.OK, err
    record = json.loads((tmp_path / "h" / "result.json").read_text())
    lower = record["claims"][1]["bracket"]["lower"]
    assert (lower["quantity"]["threat"], lower["method"]) == ("toy-ball:0.02", "toy bounds")
    assert record["result"]["models"][0]["rows"][0]["attack"] == "toy"

    words += ("--weights", "h/models/model.safetensors")
    code, out, err = quintain("attack", *words, "--threat", "toy-ball:0.1", "--attack", "toy", "--out", "a")
    assert code == ExitCode.OK, err
    assert "toy-ball:0.1 toy" in out
    code, out, err = quintain("attack", *words, "--attack", "toy-shift", "--out", "s")
    assert code == ExitCode.OK, err
    assert "toy-shift, all pictures are brighter" in out
    code, out, err = quintain("certify", *words, "--certifier", "toy-bounds", "--out", "c")
    assert code == ExitCode.OK, err
    assert "toy-ball:0.05" in out
    for folder, said in (("a", "toy"), ("s", "toy-shift"), ("c", "toy-bounds")):
        assert quintain("report", folder).code == ExitCode.OK
        assert said in (tmp_path / folder / "report.html").read_text(encoding="utf-8").lower()


def test_the_command_line_trains_and_attacks_privately_with_each(quintain, tmp_path):
    words = ("--data", "toy-data", "--model", "toy-scaled-net")
    code, _, err = quintain("leak", *words, "--attack", "toy-guess", "--steps", 1, "--out", "l")
    assert code == ExitCode.OK, err
    plain = json.loads((tmp_path / "l" / "result.json").read_text())["result"]["reconstructions"][0]
    assert plain["picture"] is not None
    small = ("--batch-size", 20, "--steps", 2)
    code, _, err = quintain("privatize", *words, *small, "--epsilon", 8, "--out", "p")
    assert code == ExitCode.OK, err
    code, _, err = quintain("audit", *words, *small, "--auditor", "toy-guess")
    assert code == ExitCode.USAGE
    assert "'toy-guess' is no audit but a leak" in err


@pytest.mark.exhaustive
def test_the_command_line_audits_by_an_auditor_of_another_package(quintain):
    words = ("--data", "toy-data", "--model", "toy-scaled-net", "--batch-size", 20, "--steps", 2)
    code, out, err = quintain("audit", *words, "--auditor", "toy-audit", "--canaries", 20)
    assert code == ExitCode.OK, err
    assert "audited:epsilon" in out


PYTEST = """
import sys
import pytest

sys.exit(pytest.main())
"""


@pytest.mark.exhaustive
def test_the_laws_collect_each_and_they_keep_them(site, fresh):
    files = sorted({file for files in LAWS.values() for file in files})
    names = [name for toys in TOYS.values() for name in toys if name != "ghost"]
    (site / "laws.py").write_text(PYTEST)
    told = fresh(
        *(site / "laws.py", "-p", "no:cacheprovider", "-q", "-rA", "--tb=short"),
        *("-m", "not exhaustive", "-k", "toy or Scale", *files),
        home=ROOT,
    )
    assert told.code == 0, told.out[-3000:] + told.err[-2000:]
    passed = [line for line in told.out.splitlines() if line.startswith("PASSED")]
    kept = {name: [line for line in passed if name in line] for name in names if name != "toy-scale"}
    assert {name for name, lines in kept.items() if not lines} == set()
    assert any("[Scale" in line or "Scale]" in line for line in passed)


@pytest.mark.usefixtures("toys")
def test_its_facts_are_read_from_its_class():
    entry = declared_entries("attack")["toy"]
    assert entry.words("supports") == ("linf", "l2", "toy-ball")
    assert entry.numbers("optimality_gap") == {"any": 0.2, "l2": 0.3}
    assert declared_entries("defense")["toy-training"].fact("certifier") == "toy-bounds"
    assert declared_entries("dataset")["toy-data"].is_true("is_public")


@pytest.mark.usefixtures("toys")
def test_messages_name_it_where_it_can_do_what_was_asked():
    assert attacks_supporting("linf").endswith(", toy")
    assert "toy" not in attacks_supporting("l1")
    x, y = torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(SettingError, match=r"Attacks that support toy-ball: toy$"):
        attacks.PGD()(lambda z: z.flatten(1), x, y, parse("toy-ball:0.1"))


@pytest.mark.usefixtures("toys")
def test_one_that_does_not_import_hinders_no_other_and_is_refused_by_name(call, weights, small):
    assert "ghost" not in attacks_supporting("linf")
    code, _, err = call("attack", "--data", small, "--weights", weights, "--limit", 2, "--attack", "ghost")
    assert code == ExitCode.EXECUTION
    assert "'ghost' is registered as 'toy_ghost:Ghost', which does not import" in " ".join(err.split())
