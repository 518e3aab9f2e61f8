"""Write the generated files: the index of each package, tables of docs, and the JSON Schema of records.

``make format`` runs this; by hand: ``python -m quintain.core.index``. A package's ``_index.py`` holds strings
alone: the registry entry of each class and function with a ``summary``, and the module of each public name,
which are those that are registered and those that the package's ``__init__`` imports for type checkers.
"""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from quintain.core.registry import KINDS, Entry, entry_of
from quintain.core.tables import (
    ATTACKS_PAGE,
    DEFENSES_PAGE,
    LEAKS_PAGE,
    STRATEGIES_PAGE,
    render_attacks_page,
    render_defenses_page,
    render_leaks_page,
    render_strategies_page,
)

ROOT = Path(__file__).parents[1]
WIDTH = 110
"""Most characters of a line of an index, as in all other files."""

SUMMARY = re.compile(r"\bsummary\b(?!\()")
"""The word in the text of a module that may register something: a class variable or an argument, no call."""

HEADER = '''"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

'''


def packages() -> list[str]:
    """Return the packages whose public names come from an index."""
    inits = (
        path for path in ROOT.rglob("__init__.py") if "._index import EXPORTS" in path.read_text("utf-8")
    )
    return sorted(".".join(("quintain", *path.parent.relative_to(ROOT).parts)) for path in inits)


def index_path(package: str) -> Path:
    """Return the path of a package's index."""
    return _folder(package) / "_index.py"


def _folder(package: str) -> Path:
    """Return the folder of a package by its dotted name."""
    return ROOT.joinpath(*package.split(".")[1:])


def find_registered(kind: str) -> list[tuple[Entry, Any]]:
    """Return the entry of each of Quintain's classes or functions of a kind, with the class or function.

    They are those that have a ``summary`` in the package of the kind, sorted by subfolder and name. Only the
    modules are imported whose text matches ``SUMMARY``.
    """
    package = KINDS[kind].package
    found = [
        (entry_of(value, kind), value)
        for module in map(import_module, _modules(package))
        for value in vars(module).values()
        # defined in this module, not imported by it; what names no kind is of the one kind of its package
        if getattr(value, "__module__", "") == module.__name__
        and isinstance(getattr(value, "__dict__", {}).get("summary"), str)
        and getattr(value, "kind", kind) == kind
    ]
    return sorted(found, key=lambda pair: (subfolder(pair[0]), pair[0].name))


def _modules(package: str) -> Iterator[str]:
    """Yield the names of the modules in a package, at any depth, whose text matches ``SUMMARY``."""
    for found in walk_packages([str(_folder(package))], f"{package}."):
        path = ROOT.joinpath(*found.name.split(".")[1:]).with_suffix(".py")
        if not found.ispkg and path.name != "_index.py" and SUMMARY.search(path.read_text("utf-8")):
            yield found.name


def subfolder(entry: Entry) -> str:
    """Return the subfolder of its package that an entry's module lies in; empty if it lies in none."""
    _, _, *folders, _ = entry.import_path.partition(":")[0].split(".")
    return folders[0] if folders else ""


def render_index(package: str) -> str:
    """Return the text of a package's index."""
    kinds = [name for name, kind in KINDS.items() if kind.package == package]
    found = [pair for kind in kinds for pair in find_registered(kind)]
    own = sorted(entry.import_path.split(":") for entry, _ in found)
    exports = {**{name: module for module, name in own}, **_public_imports(package)}
    parts = [HEADER]
    if found:
        imports = "".join(f"    {_import(module, name)}\n" for module, name in own)
        parts.append(
            "from typing import TYPE_CHECKING\n\nfrom quintain.core.registry import Entry\n\n"
            f"if TYPE_CHECKING:\n{imports}\n"
        )
    rows = "".join(f"    {_literal(name)}: {_literal(module)},\n" for name, module in sorted(exports.items()))
    parts.append(f"EXPORTS: dict[str, str] = {{\n{rows}}}\n")
    if found:
        parts.append(f"\nENTRIES: tuple[Entry, ...] = (\n{''.join(_entry(entry) for entry, _ in found)})\n")
    return "".join(parts)


def _public_imports(package: str) -> dict[str, str]:
    """Return the public names that a package's ``__init__`` imports for type checkers, with their modules."""
    tree = ast.parse((_folder(package) / "__init__.py").read_text("utf-8"))
    blocks = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {
        alias.name: f"{package}.{alias.name}" if line.module == package else str(line.module)
        for block in blocks
        for line in block.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
        if alias.name != "*"
    }


def _import(module: str, name: str) -> str:
    """Return the statement that imports a name, which ``as`` marks as public for type checkers."""
    line = f"from {module} import {name} as {name}"
    return line if len(line) <= WIDTH - 4 else f"from {module} import (\n        {name} as {name},\n    )"


def _entry(entry: Entry) -> str:
    """Return an entry as Python, one fact on a line."""
    words = (entry.kind, entry.name, entry.import_path, entry.summary)
    lines = [f"        {_literal(word, 8)},\n" for word in words]
    if entry.guarantee:
        lines.append(f"        guarantee={_literal(entry.guarantee, 8)},\n")
    for name, pairs in (("facts", entry.facts), ("exemptions", entry.exemptions)):
        if pairs:
            rows = "".join(_pair(key, value) for key, value in pairs)
            lines.append(f"        {name}=(\n{rows}        ),\n")
    if entry.old_names:
        lines.append(f"        old_names=({', '.join(map(_literal, entry.old_names))},),\n")
    return f"    Entry(\n{''.join(lines)}    ),\n"


def _pair(key: str, value: str) -> str:
    """Return a fact or an exemption as Python, on one line where it fits."""
    line = f"            ({_literal(key)}, {_literal(value)}),\n"
    if len(line) <= WIDTH:
        return line
    return (
        f"            (\n                {_literal(key, 16)},\n                {_literal(value, 16)},\n"
        "            ),\n"
    )


def _literal(text: str, indent: int = 0) -> str:
    """Return a text as a Python string in double quotes; one that is too long is split over several lines.

    Args:
        text: The value of the string.
        indent: Blanks before the line that it is on; with 0 it is never split.
    """
    whole = _quote(text)
    if not indent or len(whole) + indent + len("guarantee=,") <= WIDTH:
        return whole
    # a line is indented by four blanks more; two characters are spare
    room, lines = WIDTH - indent - 4 - 2, [""]
    for word in text.split(" "):
        if lines[-1] and len(_quote(f"{lines[-1]}{word} ")) > room:
            lines.append("")
        lines[-1] += f"{word} "
    lines[-1] = lines[-1][:-1]
    inside = "".join(f"{' ' * (indent + 4)}{_quote(line)}\n" for line in lines)
    return f"(\n{inside}{' ' * indent})"


def _quote(text: str) -> str:
    """Return a text as a Python string in double quotes, on one line."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def main() -> None:
    """Write every index, the schema of records, and the tables of docs where there is a folder of docs."""
    for package in packages():
        index_path(package).write_text(render_index(package), encoding="utf-8")
    import_module("quintain.results.json_schema").write_schema()
    if ATTACKS_PAGE.exists():
        attacks = [*find_registered("attack"), *find_registered("universal_attack")]
        page = render_attacks_page(
            ATTACKS_PAGE.read_text(encoding="utf-8"), attacks, find_registered("threat")
        )
        ATTACKS_PAGE.write_text(page, encoding="utf-8")
    if STRATEGIES_PAGE.exists():
        page = render_strategies_page(
            STRATEGIES_PAGE.read_text(encoding="utf-8"), find_registered("strategy")
        )
        STRATEGIES_PAGE.write_text(page, encoding="utf-8")
    if DEFENSES_PAGE.exists():
        page = render_defenses_page(DEFENSES_PAGE.read_text(encoding="utf-8"), find_registered("defense"))
        DEFENSES_PAGE.write_text(page, encoding="utf-8")
    if LEAKS_PAGE.exists():
        page = render_leaks_page(LEAKS_PAGE.read_text(encoding="utf-8"), find_registered("leak"))
        LEAKS_PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
