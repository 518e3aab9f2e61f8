"""What is generated from classes and functions is current, and says what they say."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest

from quintain.attacks.base import Attack
from quintain.attacks.search import Search
from quintain.core import index
from quintain.core.errors import SettingError
from quintain.core.index import WIDTH, find_registered, index_path, main, packages, render_index
from quintain.core.registry import KINDS, declare, entries, entry_of
from quintain.core.tables import (
    ATTACKS_PAGE,
    DEFENSES_PAGE,
    LEAKS_PAGE,
    STRATEGIES_PAGE,
    render_attacks_page,
    render_defenses_page,
    render_leaks_page,
    render_strategies_page,
    sources_of,
    with_defaults,
)

STALE = (
    "is stale: a class, a function or an __init__ says something else now; run `make format`, or `python -m "
    "quintain.core.index`"
)
ATTACKS = [*find_registered("attack"), *find_registered("universal_attack")]


@pytest.mark.parametrize("package", packages())
def test_an_index_is_current(package: str) -> None:
    assert index_path(package).read_text(encoding="utf-8") == render_index(package), (
        f"{package}._index {STALE}"
    )


def test_every_part_with_something_registered_has_an_index_and_every_index_is_written() -> None:
    assert {kind.package for kind in KINDS.values()} <= set(packages())
    assert {str(path) for path in index.ROOT.rglob("_index.py")} == {
        str(index_path(one)) for one in packages()
    }


def test_the_tables_of_the_documents_are_current() -> None:
    page = ATTACKS_PAGE.read_text(encoding="utf-8")
    assert page == render_attacks_page(page, ATTACKS, find_registered("threat")), f"{ATTACKS_PAGE} {STALE}"
    page = STRATEGIES_PAGE.read_text(encoding="utf-8")
    assert page == render_strategies_page(page, find_registered("strategy")), f"{STRATEGIES_PAGE} {STALE}"
    page = DEFENSES_PAGE.read_text(encoding="utf-8")
    assert page == render_defenses_page(page, find_registered("defense")), f"{DEFENSES_PAGE} {STALE}"
    page = LEAKS_PAGE.read_text(encoding="utf-8")
    assert page == render_leaks_page(page, find_registered("leak")), f"{LEAKS_PAGE} {STALE}"


@dataclass(frozen=True, slots=True)
class Flip(Attack):
    """Turn the image over.

    Source: Somebody, 2020, arXiv:2001.00001; A book.
    """

    name: ClassVar[str] = "flip"
    summary: ClassVar[str] = 'turns the image "over"'
    cost: ClassVar[str] = "{steps} queries"
    supports: ClassVar[tuple[str, ...]] = ("l0", "mask")
    minimum_norm: ClassVar[bool] = True
    supports_targets: ClassVar[bool] = False
    default_rank: ClassVar[int] = 9
    optimality_gap: ClassVar = {"any": 0.2, "l0": 0}
    test_settings: ClassVar = {"steps": 3, "size": 0.5}
    exemptions: ClassVar = {"a law": "a reason " * 15}
    old_names: ClassVar[tuple[str, ...]] = ("turn",)

    steps: int = 7
    size: float = 1.0

    def run(self, search: Search) -> None:
        """Do nothing."""


Flip.__module__ = "quintain.attacks.gradient.flip"


def test_every_fact_of_a_class_is_in_its_entry() -> None:
    entry = entry_of(Flip, "attack")
    assert entry.name == "flip"
    assert entry.summary == Flip.summary
    assert entry.exemptions == (("a law", "a reason " * 15),)
    assert entry.old_names == ("turn",)
    assert "no smaller change is ruled out" in entry.guarantee
    assert dict(entry.facts) == {
        "supports": "l0 mask",
        "access": "gradients",
        "minimum_norm": "yes",
        "supports_targets": "no",
        "default_rank": "9",
        "optimality_gap": "any=0.2 l0=0",
        "test_settings": "steps=3 size=0.5",
    }
    assert entry.words("supports") == ("l0", "mask")
    assert entry.is_true("minimum_norm")
    assert not entry.is_true("supports_targets")
    assert not entry.is_true("is_reference")


def test_a_function_says_by_a_decorator_what_a_class_says_by_variables() -> None:
    @declare(name="mine", summary="a toy", guarantee="none", old_names=("ours",), is_public=True)
    def load() -> int:
        return 3

    entry = entry_of(load, "dataset")
    assert (entry.name, entry.summary, entry.guarantee, entry.old_names) == (
        "mine",
        "a toy",
        "none",
        ("ours",),
    )
    assert entry.facts == (("is_public", "yes"),)
    assert load() == 3
    with pytest.raises(SettingError, match="model 'mine' declares is_public; expected some of name, summary"):
        entry_of(load, "model")


def test_something_new_makes_index_and_tables_stale_and_its_row_says_what_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entry, found = entry_of(Flip, "attack"), index.find_registered
    page = ATTACKS_PAGE.read_text(encoding="utf-8")

    def more(kind: str) -> list:
        pairs = [*found(kind), *([(entry, Flip)] if kind == "attack" else [])]
        return sorted(pairs, key=lambda pair: (index.subfolder(pair[0]), pair[0].name))

    monkeypatch.setattr(index, "find_registered", more)
    monkeypatch.setattr(index, "index_path", lambda package: tmp_path / f"{package}.py")
    monkeypatch.setattr(index, "ATTACKS_PAGE", tmp_path / "attacks.md")
    (tmp_path / "attacks.md").write_text(page)
    main()
    row = (
        '| `flip` | `Flip` | gradients | l0, mask | the smallest change; no targets | turns the image "over" '
        "| `steps` (7) queries | 2001.00001, A book |"
    )
    assert set((tmp_path / "attacks.md").read_text().splitlines()) - set(page.splitlines()) == {row}
    text = (tmp_path / "quintain.attacks.py").read_text()
    written: dict = {}
    exec(text, written)
    assert entry in written["ENTRIES"]
    assert written["EXPORTS"]["Flip"] == "quintain.attacks.gradient.flip"
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("package", packages())
def test_the_lines_of_an_index_are_as_narrow_as_all_others(package: str) -> None:
    assert max(map(len, index_path(package).read_text(encoding="utf-8").splitlines())) <= WIDTH


def test_a_table_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table of decision_based"):
        render_attacks_page("nothing", ATTACKS, [])


def test_a_threat_has_a_row_with_what_it_says_and_needs_a_place_too() -> None:
    assert "| `l0:5` | so many pixels, all channels of each, to any color |" in ATTACKS_PAGE.read_text(
        encoding="utf-8"
    )
    with pytest.raises(ValueError, match="no place for the table of threats"):
        render_attacks_page("nothing", [], find_registered("threat"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_registered_is_exported_and_comes_from_its_class_or_function(kind: str) -> None:
    part = import_module(KINDS[kind].package)
    assert {entry.name for entry, _ in find_registered(kind)} == set(entries(kind))
    for entry, thing in find_registered(kind):
        assert entries(kind)[entry.name] == entry
        assert getattr(part, thing.__name__) is thing is entry.load()


def test_settings_and_sources_are_read_from_the_class() -> None:
    assert with_defaults("{steps} of {size}", Flip) == "`steps` (7) of `size` (1.0)"
    assert sources_of(Flip) == "2001.00001, A book"
    with pytest.raises(KeyError):
        with_defaults("{nothing}", Flip)
