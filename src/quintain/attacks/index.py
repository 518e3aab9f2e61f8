"""Write what is generated from the attacks' classes: the index of strings and the tables of docs/attacks.md.

``make format`` runs this; by hand: ``python -m quintain.attacks.index``. The index is all that ``import
quintain``, ``quintain list`` and the command line's help read, so that none of them imports an attack.
"""

from collections.abc import Iterator
from importlib import import_module
from inspect import isclass
from itertools import groupby
from pathlib import Path
from pkgutil import walk_packages

import quintain.attacks
from quintain.attacks.base import Attack
from quintain.attacks.facts import entry_of, sources_of, with_defaults
from quintain.attacks.universal.base import UniversalAttack
from quintain.core.registry import Entry

INDEX = Path(__file__).with_name("_index.py")
PAGE = Path(__file__).parents[3] / "docs" / "attacks.md"
KINDS = {"attack": Attack, "universal_attack": UniversalAttack}

HEADER = '''"""The registered attacks as strings. Written by ``python -m quintain.attacks.index`` from \
their classes; do not edit."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

'''

HEADS = {
    "attack": ("attack", "in Python", "needs", "supports", "finds", "what for", "cost", "source"),
    "universal_attack": ("attack", "in Python", "supports", "what it makes", "cost", "source"),
}


def registered() -> list[tuple[Entry, type]]:
    """Return every attack of this package that says what it is, by folder and name: its entry and its
    class.
    """
    modules = [
        import_module(found.name) for found in walk_packages(quintain.attacks.__path__, "quintain.attacks.")
    ]
    found = [
        (entry_of(value, kind, vars(value)["name"]), value)
        for module in modules
        for value in vars(module).values()
        for kind, base in KINDS.items()
        if isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and "summary" in vars(value)
    ]
    return in_order(found)


def in_order(attacks: list[tuple[Entry, type]]) -> list[tuple[Entry, type]]:
    """Return attacks by folder and name."""
    return sorted(attacks, key=lambda pair: (group(pair[0]), pair[0].name))


def group(entry: Entry) -> str:
    """Return the folder that an attack lies in."""
    return entry.import_path.split(".")[2]


def render_index(attacks: list[tuple[Entry, type]]) -> str:
    """Return the text of the index: the public names for type checkers, where each is, and the entries."""
    places = sorted(entry.import_path.split(":") for entry, _ in attacks)
    imports = "".join(f"    from {module} import {name} as {name}\n" for module, name in places)
    exports = "".join(f"    {quoted(name)}: {quoted(module)},\n" for module, name in places)
    rows = "".join(map(render_entry, (entry for entry, _ in attacks)))
    return (
        f"{HEADER}if TYPE_CHECKING:\n{imports}\nEXPORTS = {{\n{exports}}}\n\nCATALOGUE: tuple[Entry, ...] = "
        f"(\n{rows})\n"
    )


def render_entry(entry: Entry) -> str:
    """Return an entry as Python, a fact a line."""
    words = "".join(
        f"        {quoted(word)},\n"
        for word in (entry.kind, entry.name, entry.import_path, entry.summary, entry.guarantee)
    )
    return (
        f"    Entry(\n{words}        facts={pairs(entry.facts)},\n        "
        f"exemptions={pairs(entry.exemptions)},\n    ),\n"
    )


def pairs(facts: tuple[tuple[str, str], ...]) -> str:
    """Return pairs of strings as Python."""
    lines = "".join(f"            ({quoted(key)}, {quoted(value)}),\n" for key, value in facts)
    return f"(\n{lines}        )" if lines else "()"


def quoted(text: str) -> str:
    """Return a text as a Python string in double quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def render_page(page: str, attacks: list[tuple[Entry, type]]) -> str:
    """Return the page of the attacks with new tables between its markers, one for each folder of attacks."""
    for folder, members in groupby(attacks, key=lambda pair: group(pair[0])):
        start, end = f"<!-- attacks: {folder} -->\n", f"<!-- end: {folder} -->\n"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(
                f"docs/attacks.md has no place for the table of {folder}; expected the lines {start}{end}"
            )
        page = before + start + "".join(table(list(members))) + end + after
    return page


def table(attacks: list[tuple[Entry, type]]) -> Iterator[str]:
    """Yield the lines of a table."""
    head = HEADS[attacks[0][0].kind]
    yield f"| {' | '.join(head)} |\n"
    yield f"|{'---|' * len(head)}\n"
    for entry, attack in attacks:
        cells = row(entry, attack)
        yield f"| {' | '.join(cells[title] for title in head)} |\n"


def row(entry: Entry, attack: type) -> dict[str, str]:
    """Return the cells of an attack by the titles of their columns."""
    finds = "the smallest change" if entry.fact("finds") else "a break"
    use = with_defaults(getattr(attack, "use_for", "") or entry.summary, attack)
    return {
        "attack": f"`{entry.name}`",
        "in Python": f"`{attack.__name__}`",
        "needs": entry.fact("access"),
        "supports": ", ".join(entry.fact("supports").split()) or "its own settings",
        "finds": f"{finds}; no targets" if entry.fact("targets") == "no" else finds,
        "what for": use,
        "what it makes": use,
        "cost": with_defaults(getattr(attack, "cost", ""), attack),
        "source": sources_of(attack),
    }


def main() -> None:
    """Write the index, and the tables where there are documents."""
    attacks = registered()
    INDEX.write_text(render_index(attacks), encoding="utf-8")
    if PAGE.exists():
        PAGE.write_text(render_page(PAGE.read_text(encoding="utf-8"), attacks), encoding="utf-8")


if __name__ == "__main__":
    main()
