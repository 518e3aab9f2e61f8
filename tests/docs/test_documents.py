"""What the documents say is what there is."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import quintain as q
from quintain.cli.ci_files import OPTIONS
from quintain.cli.commands import COMMANDS
from quintain.cli.options import MaxQueries
from quintain.core.errors import ExitCode
from quintain.core.registry import KINDS, entries
from quintain.core.threat_specs import threat_name
from quintain.evaluate.evasion import decision_probe, diagnostics, probes, query_budget
from quintain.models import preprocessing
from quintain.threats import parse
from quintain.version import __version__

ROOT = Path(__file__).parents[2]
README, ATTACKS, COMING = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("README.md", "docs/attacks.md", "docs/coming-from.md")
)
QUOTED = re.compile(r"`([^`]+)`")


def cells(line: str) -> list[str]:
    """The cells of a line of a table."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def section(text: str, title: str) -> list[list[str]]:
    """The lines of the tables under a heading that begins so, cell by cell."""
    part = text.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]
    return [cells(line) for line in part.splitlines() if line.startswith("| ")][1:]


def test_the_two_commands_come_first():
    lines = [line.strip() for line in README.splitlines() if line.startswith("    make")]
    assert [line.split("#")[0].strip() for line in lines[:2]] == ["make drill", "make test"]


def test_every_verb_and_exit_code_is_named():
    assert all(re.search(rf"quintain {verb.name}\b", README) for verb in COMMANDS)
    assert all(re.search(rf"\b{int(code)} ", README) for code in ExitCode)


def test_the_table_names_the_parts_that_have_something_registered():
    table = README.split("## What is inside")[1]
    parts = {
        KINDS[kind].package.split(".")[1]
        for kind in ("attack", "certifier", "defense", "mechanism", "leak", "aggregation")
    }
    assert all(f"`{part}`" in table for part in parts)
    assert all(entries(kind) for kind in KINDS)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "docs/attacks.md", "docs/coming-from.md"])
def test_every_link_leads_somewhere(name):
    page = ROOT / name
    links = [
        link
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
        if not link.startswith("https://")
    ]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert links


@pytest.mark.parametrize("text", [README, ATTACKS], ids=["readme", "attacks"])
def test_every_option_of_a_command_that_is_shown_exists(text):
    known = {
        verb.name: {one.name for one in (*verb.options, *(OPTIONS if verb.concerns_a_run else ()))}
        for verb in COMMANDS
    }
    shown = [
        (verb, option.replace("-", "_"))
        for verb, rest in re.findall(r"^ {4}.*\bquintain (\w+)((?:.*\\\n)*.*)$", text, re.MULTILINE)
        for option in re.findall(r" --([a-z-]+)", rest)
    ]
    assert shown
    assert [(verb, option) for verb, option in shown if option not in known[verb]] == []


def test_the_bundled_data_come_with_their_attribution():
    notice = (ROOT / "src/quintain/data/bundled/NOTICE").read_text(encoding="utf-8")
    assert "CC BY 4.0" in notice
    assert "Kermany" in notice


def test_the_version_is_one_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_the_tokens_are_those_of_the_registered_threats():
    tokens = [token for row in section(ATTACKS, "What may be changed") for token in QUOTED.findall(row[0])]
    assert {threat_name(token) for token in tokens} == set(entries("threat"))
    assert [token for token in tokens if parse(parse(token).spec) != parse(token)] == []


def test_every_sign_of_a_weak_attack_is_explained():
    code = "".join(map(inspect.getsource, (decision_probe, diagnostics, probes, query_budget)))
    signs = set(re.findall(r"\bindicator\(\s*\"([^\"]+)\"", code))
    assert signs
    assert {row[0] for row in section(ATTACKS, "How far to trust")} == signs
    assert f"up to {diagnostics.NUM_PROBED} examples" in ATTACKS


def test_the_budget_of_the_probes_is_stated_in_the_help_and_on_the_page():
    small, large = probes.PROBE_QUERIES["scores"], probes.PROBE_QUERIES["gradients"]
    assert probes.PROBE_QUERIES["labels"] == small
    (option,) = get_args(MaxQueries)[1:]
    assert f"at most {small} queries on each of {diagnostics.NUM_PROBED} examples, or {large}" in option.help
    walk = f"{decision_probe.WALK_QUERIES:,} more on each of {decision_probe.NUM_WALKED}"
    assert walk in option.help
    assert walk in ATTACKS.replace("\n", " ")
    assert f"at most {small} queries on each of them, or {large} forward passes" in ATTACKS


def test_the_queries_that_an_attack_needs_are_those_of_the_page():
    stated = {row[0].strip("`"): row[1].replace(",", "") for row in section(ATTACKS, "How many queries")}
    known = {
        name: str(query_budget.min_queries(entry.load()()))
        for name, entry in entries("attack").items()
        if entry.fact("access") in ("scores", "labels")
    }
    assert stated == known


def test_every_defence_that_ships_is_told_how_to_attack():
    told = {name for row in section(ATTACKS, "Defenses") for name in QUOTED.findall(row[0])}
    assert told == {name for name in dir(preprocessing) if isinstance(getattr(preprocessing, name), type)}


PEERS = {
    "AdverTorch": (
        "GradientAttack GradientSignAttack FGM FGSM FastFeatureAttack L2BasicIterativeAttack "
        "LinfBasicIterativeAttack PGDAttack LinfPGDAttack L2PGDAttack L1PGDAttack SparseL1DescentAttack "
        "MomentumIterativeAttack L2MomentumIterativeAttack LinfMomentumIterativeAttack CarliniWagnerL2Attack "
        "ElasticNetL1Attack DDNL2Attack LBFGSAttack SinglePixelAttack LocalSearchAttack "
        "SpatialTransformAttack JacobianSaliencyMapAttack JSMA LinfSPSAAttack FABAttack LinfFABAttack "
        "L2FABAttack L1FABAttack ChooseBestAttack GenAttack LinfGenAttack L2GenAttack NAttack LinfNAttack "
        "L2NAttack FDWrapper NESWrapper BanditAttack NESAttack BPDAWrapper"
    ),
    "CleverHans": (
        "fast_gradient_method projected_gradient_descent carlini_wagner_l2 hop_skip_jump_attack noise "
        "semantic sparse_l1_descent spsa BasicIterativeMethod BoundaryAttackPlusPlus CarliniWagnerL2 "
        "DeepFool ElasticNetMethod FastFeatureAdversaries FastGradientMethod HopSkipJumpAttack LBFGS "
        "MadryEtAl MaxConfidence MomentumIterativeMethod Noise ProjectedGradientDescent SaliencyMapMethod "
        "Semantic SparseL1Descent SPSA SpatialTransformationMethod VirtualAdversarialMethod"
    ),
}
"""Every attack of AdverTorch 0.2, and of CleverHans 4 (PyTorch) and 3.1, by the names that they have
there.
"""


@pytest.mark.parametrize("peer", PEERS)
def test_every_attack_of_a_peer_has_its_line(peer):
    there = {name for row in section(COMING, peer) for name in QUOTED.findall(row[0])}
    assert sorted(set(PEERS[peer].split()) - there) == []


def replacements() -> Iterator[str]:
    """Every name in the columns of what takes another attack's place."""
    for line in COMING.splitlines():
        row = cells(line)
        if line.startswith("| ") and len(row) == 2:
            yield from QUOTED.findall(row[1])


def test_every_replacement_is_a_name_of_ours():
    names = sorted(set(replacements()))
    assert names
    assert [name for name in names if not (hasattr(q.attacks, name) or hasattr(q, name))] == []
