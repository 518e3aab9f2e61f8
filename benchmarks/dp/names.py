"""Opacus' public names as they are installed, against the list that the tests walk
(tests/dp/opacus_1_6.txt).
"""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.harness import Comparison

LISTED = Path(__file__).parents[2] / "tests/dp/opacus_1_6.txt"
Names = dict[str, frozenset[str]]


def listed() -> Names:
    """What the tests take Opacus to have, module by module."""
    lines = (
        line.split(": ")
        for line in LISTED.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    return {module: frozenset(names.split()) for module, names in lines}


def installed() -> Names:
    """What Opacus' files define, and what its packages take over from them; read, not run."""
    spec = find_spec("opacus")
    if spec is None or spec.origin is None:
        raise SystemExit("Opacus is not installed; expected pip install -e '.[bench]'")
    root = Path(spec.origin).parent
    found: Names = {}
    for path in sorted(root.rglob("*.py")):
        package = path.name == "__init__.py"
        parts = path.relative_to(root.parent).with_suffix("").parts[: -1 if package else None]
        names = frozenset(public(ast.parse(path.read_text(encoding="utf-8")), package=package))
        if names and "tests" not in parts:
            found[".".join(parts)] = names
    return found


def public(file: ast.Module, *, package: bool) -> Iterator[str]:
    """Names that a file gives, but for loggers, and modules taken over as such."""
    for node in file.body:
        names: list[str] = []
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name]
        elif (
            isinstance(node, ast.ImportFrom)
            and package
            and node.module
            and (node.level or node.module.startswith("opacus."))
        ):
            names = [alias.asname or alias.name for alias in node.names]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        yield from (name for name in names if not name.startswith("_") and name != "logger")


def run() -> Iterator[Comparison]:
    """One line; the process ends with the differences if there are any."""
    ours, theirs = listed(), installed()
    differ = [
        f"{module}: {sign} {name}"
        for module in sorted(ours.keys() | theirs.keys())
        for sign, one, other in (("+", theirs, ours), ("-", ours, theirs))
        for name in sorted(one.get(module, frozenset()) - other.get(module, frozenset()))
    ]
    if differ:
        raise SystemExit(
            "\n".join([f"Opacus {version('opacus')} has other names than {LISTED.name}:", *differ])
        )
    yield Comparison("Opacus' names", f"{sum(map(len, ours.values()))} in {len(ours)} modules, as listed")
