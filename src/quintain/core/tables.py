"""The tables of docs, written from the classes of attacks, threats and federated strategies."""

import re
from collections.abc import Iterator
from inspect import getdoc, signature
from itertools import groupby
from pathlib import Path

from quintain.core.registry import Entry

PAGE = Path(__file__).parents[3] / "docs" / "attacks.md"
STRATEGIES_PAGE = PAGE.with_name("strategies.md")

HEADS = {
    "attack": ("attack", "in Python", "needs", "supports", "finds", "what for", "cost", "source"),
    "universal_attack": ("attack", "in Python", "supports", "what it makes", "cost", "source"),
}


def render_page(page: str, attacks: list[tuple[Entry, type]], threats: list[tuple[Entry, type]]) -> str:
    """Return the page of the attacks with new tables between its markers.

    There is one table for each folder of attacks, and one for the threats.

    Raises:
        ValueError: If the page has no place for one of them.
    """
    for folder, members in groupby(attacks, key=lambda pair: pair[0].import_path.split(".")[2]):
        page = _put(page, f"attacks: {folder}", folder, "".join(_table(list(members))))
    return _put(page, "threats", "threats", "".join(_threat_table(threats)))


def render_strategies(page: str, strategies: list[tuple[Entry, type]]) -> str:
    """Return the page of the strategies with a new table between its markers.

    Raises:
        ValueError: If the page has no place for it.
    """
    rows = (
        f"| `{entry.name}` | `{strategy.__name__}{_defaults(strategy)}` | {entry.summary} "
        f"| {sources_of(strategy)} |\n"
        for entry, strategy in strategies
    )
    head = "| strategy | in Python | what it does | source |\n|---|---|---|---|\n"
    return _put(page, "strategies", "strategies", head + "".join(rows))


def _defaults(made: type) -> str:
    """Return the settings of a class with their defaults, as they are written in Python."""
    return f"({', '.join(f'{name}={one.default!r}' for name, one in signature(made).parameters.items())})"


def _put(page: str, mark: str, name: str, table: str) -> str:
    """Return a page with a table between the lines that mark its place."""
    start, end = f"<!-- {mark} -->\n", f"<!-- end: {name} -->\n"
    before, _, rest = page.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(
            f"the page in docs has no place for the table of {name}; expected the lines {start}{end}"
        )
    return before + start + table + end + after


def _threat_table(threats: list[tuple[Entry, type]]) -> Iterator[str]:
    """Yield the lines of the table of threats: the balls first, then those with parameters."""
    yield "| spec | what it allows |\n|---|---|\n"
    for entry, threat in sorted(threats, key=lambda pair: (pair[0].is_true("parametric"), pair[0].name)):
        specs = ", ".join(f"`{spec}`" for spec in getattr(threat, "specs", (entry.fact("example"),)))
        yield f"| {specs} | {getattr(threat, 'allows', entry.summary)} |\n"


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
