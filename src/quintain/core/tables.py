"""The tables of docs, written from the classes of attacks, threats, defenses and federated strategies."""

import re
from collections.abc import Iterator
from inspect import getdoc, signature
from itertools import groupby
from pathlib import Path

from quintain.core.registry import Entry

ATTACKS_PAGE = Path(__file__).parents[3] / "docs" / "attacks.md"
STRATEGIES_PAGE = ATTACKS_PAGE.with_name("strategies.md")
DEFENSES_PAGE = ATTACKS_PAGE.with_name("hardening.md")
LEAKS_PAGE = ATTACKS_PAGE.with_name("leakage.md")

COLUMNS = {
    "attack": ("attack", "in Python", "needs", "supports", "finds", "what for", "cost", "source"),
    "universal_attack": ("attack", "in Python", "supports", "what it makes", "cost", "source"),
}
"""Titles of the columns of an attack's table, by its kind; ``_row`` has a cell for each."""


def render_attacks_page(
    page: str, attacks: list[tuple[Entry, type]], threats: list[tuple[Entry, type]]
) -> str:
    """Return the page of the attacks with new tables between its markers.

    There is one table for each folder of attacks, and one for the threats.

    Raises:
        ValueError: If the page lacks the markers of a table.
    """
    # import paths are quintain.attacks.FOLDER.MODULE:CLASS
    for folder, members in groupby(attacks, key=lambda pair: pair[0].import_path.split(".")[2]):
        page = replace_table(page, f"attacks: {folder}", folder, "".join(_table(list(members))))
    return replace_table(page, "threats", "threats", "".join(_threat_table(threats)))


def render_strategies_page(page: str, strategies: list[tuple[Entry, type]]) -> str:
    """Return the page of the strategies with a new table between its markers.

    Raises:
        ValueError: If the page lacks the markers of the table.
    """
    rows = (
        f"| `{entry.name}` | `{strategy.__name__}{_defaults(strategy)}` | {entry.summary} "
        f"| {sources_of(strategy)} |\n"
        for entry, strategy in strategies
    )
    head = "| strategy | in Python | what it does | source |\n|---|---|---|---|\n"
    return replace_table(page, "strategies", "strategies", head + "".join(rows))


def render_defenses_page(page: str, defenses: list[tuple[Entry, type]]) -> str:
    """Return the page of the defenses with a new table between its markers.

    Raises:
        ValueError: If the page lacks the markers of the table.
    """
    rows = (
        f"| `{entry.name}` | `{defense.__name__}{_defaults(defense)}` | {entry.summary} "
        f"| {', '.join(entry.words('supports'))} | `{entry.fact('certifier')}` | {_front(defense)} "
        f"| {sources_of(defense)} |\n"
        for entry, defense in defenses
    )
    head = (
        "| defense | in Python | what it does | threats | certifier | setting of `--front` | source |\n"
        f"|{'---|' * 7}\n"
    )
    return replace_table(page, "defenses", "defenses", head + "".join(rows))


def render_leaks_page(page: str, attacks: list[tuple[Entry, type]]) -> str:
    """Return the page of the leakage attacks with a new table between its markers: goal by goal, by rank.

    Raises:
        ValueError: If the page lacks the markers of the table.
    """

    def order(pair: tuple[Entry, type]) -> tuple[str, int, str]:
        entry = pair[0]
        return entry.fact("goal"), int(entry.fact("default_rank", "99")), entry.name

    rows = (
        f"| `{entry.name}` | {entry.fact('goal')} | {entry.fact('access')} "
        f"| {', '.join(entry.words('needs')) or 'nothing'} | {entry.summary} | {sources_of(attack)} |\n"
        for entry, attack in sorted(attacks, key=order)
    )
    head = f"| attack | goal | sees | knows beside | what it guesses | source |\n|{'---|' * 6}\n"
    return replace_table(page, "leaks", "leaks", head + "".join(rows))


def _front(defense: type) -> str:
    """Return the setting that trades accuracy for robustness, and its values."""
    name, values = getattr(defense, "front", ("", ()))
    return f"{name.replace('_', ' ')} {', '.join(f'{value:g}' for value in values)}".strip()


def _defaults(settings: type) -> str:
    """Return the parameters of a class with their defaults as Python writes them: ``(steps=40)``.

    A recipe of training is left out.
    """
    parameters = (
        name if one.default is one.empty else f"{name}={one.default!r}"
        for name, one in signature(settings).parameters.items()
        if name != "recipe"
    )
    return f"({', '.join(parameters)})"


def replace_table(page: str, start_mark: str, name: str, table: str) -> str:
    """Return a page whose text between the start mark and ``end: name`` is replaced by a table."""
    start, end = f"<!-- {start_mark} -->\n", f"<!-- end: {name} -->\n"
    before, _, rest = page.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(
            f"the page in docs has no place for the table of {name}; expected the lines "
            f"{start.strip()!r} and {end.strip()!r}: add both"
        )
    return before + start + table + end + after


def _threat_table(threats: list[tuple[Entry, type]]) -> Iterator[str]:
    """Yield the lines of the table of threats: balls by name, then parametric threats by name."""
    yield "| spec | what it allows |\n|---|---|\n"
    for entry, threat in sorted(threats, key=lambda pair: (pair[0].is_true("parametric"), pair[0].name)):
        specs = ", ".join(f"`{spec}`" for spec in getattr(threat, "specs", (entry.fact("example"),)))
        yield f"| {specs} | {getattr(threat, 'allows', entry.summary)} |\n"


def _table(attacks: list[tuple[Entry, type]]) -> Iterator[str]:
    """Yield the lines of the table of one folder of attacks."""
    head = COLUMNS[attacks[0][0].kind]
    yield f"| {' | '.join(head)} |\n"
    yield f"|{'---|' * len(head)}\n"
    for entry, attack in attacks:
        cells = _row(entry, attack)
        yield f"| {' | '.join(cells[title] for title in head)} |\n"


def _row(entry: Entry, attack: type) -> dict[str, str]:
    """Return the cells of an attack's row by the titles of their columns, those of both kinds of tables."""
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
    """Return ``text`` with each parameter's name in braces replaced by the name and its default.

    ``{steps}`` becomes ```steps` (40)``.

    Raises:
        KeyError: If the attack has no parameter of a name in braces.
    """
    return text.format_map(
        {name: f"`{name}` ({setting.default})" for name, setting in signature(attack).parameters.items()}
    )


def sources_of(thing: type) -> str:
    """Return the sources that a docstring names after ``Source:``: arXiv numbers, and the text of others."""
    text = " ".join((getdoc(thing) or "").partition("Source:")[2].split()).rstrip(".")
    return ", ".join(
        number
        for source in text.split("; ")
        for number in re.findall(r"arXiv:(\d{4}\.\d{4,5})", source) or [source]
    )
