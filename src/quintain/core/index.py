"""Write what is generated: an index of strings for each part, tables of docs, and the JSON Schema of records.

``make format`` runs this; by hand: ``python -m quintain.core.index``. An index holds the entries of a part,
read from the classes and functions that say what they are, and where each public name of the part is defined:
what is registered, and what the part's ``__init__`` imports for type checkers.
"""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from quintain.core.registry import KINDS, Entry, entry_of
from quintain.core.tables import PAGE, STRATEGIES_PAGE, render_page, render_strategies

ROOT = Path(__file__).parents[1]
WIDTH = 110
SUMMARY = re.compile(r"\bsummary\b(?!\()")

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


def index_of(package: str) -> Path:
    """Return the file of a package's index."""
    return _folder(package) / "_index.py"


def _folder(package: str) -> Path:
    return ROOT.joinpath(*package.split(".")[1:])


def registered(kind: str) -> list[tuple[Entry, Any]]:
    """Return all of a kind that say what they are, by folder and name: the entry, and the class or function.

    Of a part's modules only those are imported whose text has the word ``summary``, but as a method's name.
    """
    package = KINDS[kind].package
    found = [
        (entry_of(value, kind), value)
        for module in map(import_module, _modules(package))
        for value in vars(module).values()
        if getattr(value, "__module__", "") == module.__name__
        and isinstance(getattr(value, "__dict__", {}).get("summary"), str)
        and getattr(value, "kind", kind) == kind
    ]
    return sorted(found, key=lambda pair: (group(pair[0]), pair[0].name))


def _modules(package: str) -> Iterator[str]:
    for found in walk_packages([str(_folder(package))], f"{package}."):
        path = ROOT.joinpath(*found.name.split(".")[1:]).with_suffix(".py")
        if not found.ispkg and path.name != "_index.py" and SUMMARY.search(path.read_text("utf-8")):
            yield found.name


def group(entry: Entry) -> str:
    """Return the folder of its part that something lies in; empty where it lies in the part itself."""
    _, _, *folders, _ = entry.import_path.partition(":")[0].split(".")
    return folders[0] if folders else ""


def render_index(package: str) -> str:
    """Return the text of a package's index."""
    found = [pair for kind, of in KINDS.items() if of.package == package for pair in registered(kind)]
    own = sorted(entry.import_path.split(":") for entry, _ in found)
    exports = {**{name: module for module, name in own}, **_imported(package)}
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


def _imported(package: str) -> dict[str, str]:
    """Return what a package's ``__init__`` imports for type checkers: public names and their modules."""
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
    line = f"from {module} import {name} as {name}"
    return line if len(line) <= WIDTH - 4 else f"from {module} import (\n        {name} as {name},\n    )"


def _entry(entry: Entry) -> str:
    """Return an entry as Python, a fact a line."""
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
    line = f"            ({_literal(key)}, {_literal(value)}),\n"
    if len(line) <= WIDTH:
        return line
    return (
        f"            (\n                {_literal(key, 16)},\n                {_literal(value, 16)},\n"
        "            ),\n"
    )


def _literal(text: str, indent: int = 0) -> str:
    """Return a text as a Python string in double quotes, over several lines where it is long."""
    whole = _quote(text)
    if not indent or len(whole) + indent + len("guarantee=,") <= WIDTH:
        return whole
    room, lines = WIDTH - indent - 4 - 2, [""]
    for word in text.split(" "):
        if lines[-1] and len(_quote(f"{lines[-1]}{word} ")) > room:
            lines.append("")
        lines[-1] += f"{word} "
    lines[-1] = lines[-1][:-1]
    inside = "".join(f"{' ' * (indent + 4)}{_quote(line)}\n" for line in lines)
    return f"(\n{inside}{' ' * indent})"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def main() -> None:
    """Write every index, the schema of records, and the tables where there are documents."""
    for package in packages():
        index_of(package).write_text(render_index(package), encoding="utf-8")
    import_module("quintain.results.json_schema").write_schema()
    if PAGE.exists():
        members = [*registered("attack"), *registered("universal_attack")]
        page = render_page(PAGE.read_text(encoding="utf-8"), members, registered("threat"))
        PAGE.write_text(page, encoding="utf-8")
    if STRATEGIES_PAGE.exists():
        page = render_strategies(STRATEGIES_PAGE.read_text(encoding="utf-8"), registered("strategy"))
        STRATEGIES_PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
