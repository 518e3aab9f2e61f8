"""Compare the public names of the installed Opacus with the list that the tests walk."""

import ast
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks.harness import Comparison

LISTED = Path(__file__).parents[2] / "tests/dp/opacus/opacus_1_6.txt"
Names = dict[str, frozenset[str]]


def listed_names() -> Names:
    """Return the names that the tests take Opacus to have, by module."""
    lines = (
        line.split(": ")
        for line in LISTED.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    return {module: frozenset(names.split()) for module, names in lines}


def installed_names() -> Names:
    """Return the names that Opacus' files define and its packages import, read without running them."""
    spec = find_spec("opacus")
    if spec is None or spec.origin is None:
        raise SystemExit("Opacus is not installed; expected pip install -e '.[bench]'")
    root = Path(spec.origin).parent
    by_module: Names = {}
    for path in sorted(root.rglob("*.py")):
        package = path.name == "__init__.py"
        parts = path.relative_to(root.parent).with_suffix("").parts[: -1 if package else None]
        names = frozenset(public_names(ast.parse(path.read_text(encoding="utf-8")), package=package))
        if names and "tests" not in parts:
            by_module[".".join(parts)] = names
    return by_module


def public_names(file: ast.Module, *, package: bool) -> Iterator[str]:
    """Yield the public names of a file, without loggers and imported modules."""
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
    """Compare; the process ends with the differences if there are any."""
    ours, theirs = listed_names(), installed_names()
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
