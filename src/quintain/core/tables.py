"""The tables of docs/attacks.md, written from the classes of the attacks."""

import re
from collections.abc import Iterator
from inspect import getdoc, signature
from itertools import groupby
from pathlib import Path

from quintain.core.registry import Entry

PAGE = Path(__file__).parents[3] / "docs" / "attacks.md"

HEADS = {
    "attack": ("attack", "in Python", "needs", "supports", "finds", "what for", "cost", "source"),
    "universal_attack": ("attack", "in Python", "supports", "what it makes", "cost", "source"),
}


def render_page(page: str, attacks: list[tuple[Entry, type]]) -> str:
    """Return the page of the attacks with new tables between its markers, one for each folder of attacks.

    Raises:
        ValueError: If the page has no place for one of them.
    """
    for folder, members in groupby(attacks, key=lambda pair: pair[0].import_path.split(".")[2]):
        start, end = f"<!-- attacks: {folder} -->\n", f"<!-- end: {folder} -->\n"
        before, _, rest = page.partition(start)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(
                f"docs/attacks.md has no place for the table of {folder}; expected the lines {start}{end}"
            )
        page = before + start + "".join(_table(list(members))) + end + after
    return page


def _table(attacks: list[tuple[Entry, type]]) -> Iterator[str]:
    """Yield the lines of a table."""
    head = HEADS[attacks[0][0].kind]
    yield f"| {' | '.join(head)} |\n"
    yield f"|{'---|' * len(head)}\n"
    for entry, attack in attacks:
        cells = _row(entry, attack)
        yield f"| {' | '.join(cells[title] for title in head)} |\n"


def _row(entry: Entry, attack: type) -> dict[str, str]:
    """Return the cells of an attack by the titles of their columns."""
    finds = "the smallest change" if entry.fact("minimum_norm") else "a break"
    use = with_defaults(getattr(attack, "use_for", "") or entry.summary, attack)
    return {
        "attack": f"`{entry.name}`",
        "in Python": f"`{attack.__name__}`",
        "needs": entry.fact("access"),
        "supports": ", ".join(entry.words("supports")) or "its own settings",
        "finds": f"{finds}; no targets" if entry.fact("supports_targets") == "no" else finds,
        "what for": use,
        "what it makes": use,
        "cost": with_defaults(getattr(attack, "cost", ""), attack),
        "source": sources_of(attack),
    }


def with_defaults(text: str, attack: type) -> str:
    """Put settings and their defaults in the place of their names in braces.

    ``{steps}`` becomes ```steps` (40)``.
    """
    return text.format_map(
        {name: f"`{name}` ({setting.default})" for name, setting in signature(attack).parameters.items()}
    )


def sources_of(attack: type) -> str:
    """Return where an attack was published, by its docstring: arXiv numbers, and in words what has none."""
    text = " ".join((getdoc(attack) or "").partition("Source:")[2].split()).rstrip(".")
    return ", ".join(
        number
        for part in text.split("; ")
        for number in re.findall(r"arXiv:(\d{4}\.\d{4,5})", part) or [part]
    )
