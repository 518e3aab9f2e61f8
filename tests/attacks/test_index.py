"""What is generated from the attacks' classes is current, and says what they say."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from quintain import attacks
from quintain.attacks.base import Attack
from quintain.attacks.facts import entry_of, sources_of, with_defaults
from quintain.attacks.index import INDEX, PAGE, main, registered, render_index, render_page
from quintain.attacks.search import Search
from quintain.core.registry import entries

STALE = (
    "is stale: an attack's class says something else now; run `make format`, or `python -m "
    "quintain.attacks.index`"
)


def test_the_index_is_current() -> None:
    assert INDEX.read_text(encoding="utf-8") == render_index(registered()), f"{INDEX} {STALE}"


def test_the_tables_of_the_documents_are_current() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == render_page(page, registered()), f"{PAGE} {STALE}"


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
    optimality_gap: ClassVar = {"any": 0.2, "l0": 0}
    test_settings: ClassVar = {"steps": 3, "size": 0.5}
    exemptions: ClassVar = {"a law": "a reason"}

    steps: int = 7
    size: float = 1.0

    def run(self, search: Search) -> None:
        """Do nothing."""


def test_every_fact_of_a_class_is_in_its_entry() -> None:
    entry = entry_of(Flip, "attack", "flip")
    assert entry.summary == Flip.summary
    assert entry.exemptions == (("a law", "a reason"),)
    assert "no smaller change is ruled out" in entry.guarantee
    assert dict(entry.facts) == {
        "supports": "l0 mask",
        "access": "gradients",
        "finds": "minimum-norm",
        "targets": "no",
        "optimality_gap": "0.2",
        "optimality_gap:l0": "0",
        "test_settings": "steps=3 size=0.5",
    }


def test_a_new_attack_makes_index_and_tables_stale_and_its_row_says_what_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    entry = entry_of(Flip, "attack", "flip")
    entry = entry.__class__(
        entry.kind,
        entry.name,
        "quintain.attacks.gradient.flip:Flip",
        *[getattr(entry, f) for f in entry.__slots__[3:]],
    )
    more = sorted(
        [*registered(), (entry, Flip)], key=lambda pair: (pair[0].import_path.split(".")[2], pair[0].name)
    )
    page = PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr("quintain.attacks.index.registered", lambda: more)
    monkeypatch.setattr("quintain.attacks.index.INDEX", tmp_path / "index.py")
    monkeypatch.setattr("quintain.attacks.index.PAGE", tmp_path / "attacks.md")
    (tmp_path / "attacks.md").write_text(page)
    main()
    row = (
        '| `flip` | `Flip` | gradients | l0, mask | the smallest change; no targets | turns the image "over" '
        "| `steps` (7) queries | 2001.00001, A book |"
    )
    assert set((tmp_path / "attacks.md").read_text().splitlines()) - set(page.splitlines()) == {row}
    index: dict = {}
    exec((tmp_path / "index.py").read_text(), index)
    assert entry in index["CATALOGUE"]
    assert index["EXPORTS"]["Flip"] == "quintain.attacks.gradient.flip"


def test_a_table_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for the table of decision_based"):
        render_page("nothing", registered())


def test_what_is_registered_is_exported_and_comes_from_its_class() -> None:
    for entry, attack in registered():
        assert entries(entry.kind)[entry.name] == entry
        assert getattr(attacks, attack.__name__) is attack is entry.load()


def test_settings_and_sources_are_read_from_the_class() -> None:
    assert with_defaults("{steps} of {size}", Flip) == "`steps` (7) of `size` (1.0)"
    assert sources_of(Flip) == "2001.00001, A book"
    with pytest.raises(KeyError):
        with_defaults("{nothing}", Flip)
