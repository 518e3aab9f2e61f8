"""Report, evaluation and command line spell out no name of a threat, an attack, a defense or a data set."""

import ast
from pathlib import Path

import pytest

import quintain
from quintain.core.registry import KINDS, entries

PACKAGE = Path(quintain.__file__).parent
FILES = sorted(path for part in ("report", "evaluate", "cli") for path in (PACKAGE / part).rglob("*.py"))
ALLOWED = {
    "cli/options.py": {"xray-cnn", "xrays", "linf:4/255"},
    "evaluate/federation_defaults.py": {"fedavg", "fedavgm"},
    "evaluate/privacy_target.py": {"dp-sgd "},
}
"""What is taken where nothing was named, once for all commands; what is hashed for a private run."""
NAMES = {name for kind in KINDS for name in entries(kind)}


def literals(source: str) -> list[str]:
    """Every string of a program that is no docstring, parts of formatted strings included."""
    tree = ast.parse(source)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose
    ]


def spelled_out(source: str) -> set[str]:
    """Registered names that stand in a program as a string, or as the head of a spec."""
    return {text for text in literals(source) if text.partition(":")[0].strip().lower() in NAMES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_spells_out_a_registered_name(path: Path) -> None:
    allowed = ALLOWED.get(path.relative_to(PACKAGE).as_posix(), set())
    assert spelled_out(path.read_text(encoding="utf-8")) == allowed


@pytest.mark.parametrize(
    "line",
    ['x.startswith("linf")', 'spec == "linf:4/255"', '"l2" in threat', 'attack == "pgd"', 'data == "xrays"'],
)
def test_a_choice_by_name_is_found(line: str) -> None:
    assert spelled_out(f'"""Such as ``linf:4/255``."""\n{line}\n')
