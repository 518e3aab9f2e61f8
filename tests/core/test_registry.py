"""Names to module paths."""

from importlib.metadata import EntryPoint

import pytest

from quintain.core import registry
from quintain.core.errors import ExecutionError, SettingError, UnknownNameError
from quintain.core.registry import KINDS, Entry, choose, entries, get_entry

EVERYTHING = [entry for kind in KINDS for entry in entries(kind).values()]


@pytest.mark.parametrize("entry", EVERYTHING, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_everything_registered_imports_and_says_what_it_is(entry):
    assert callable(entry.load()) or entry.load() is not None
    assert entry.summary
    assert entry.kind in KINDS


def test_the_exceptions_to_the_laws_are_these():
    assert [(entry.name, law) for entry in EVERYTHING for law, _ in entry.exemptions] == [
        ("cgba", "the smallest change in a wide ball"),
        ("hopskipjump", "the smallest change in a wide ball"),
        ("rays", "the smallest change in a wide ball"),
        ("pgd", "better than random in spatial"),
        ("pgd", "better than random in color"),
    ]


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean pgd"):
        get_entry("attack", "pgdd")


def test_a_name_of_another_kind_is_refused_with_its_kind():
    with pytest.raises(
        UnknownNameError,
        match="'uap' is no attack but a universal_attack; see 'quintain list universal_attack'",
    ):
        get_entry("attack", "uap")


def test_other_packages_add_by_entry_points_but_do_not_replace(monkeypatch):
    points = [
        EntryPoint("mine", "json:dumps", "quintain.attack"),
        EntryPoint("pgd", "json:loads", "quintain.attack"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "quintain.attack" else [])
    entries.cache_clear()
    try:
        assert get_entry("attack", "mine").load().__name__ == "dumps"
        assert get_entry("attack", "pgd").import_path.startswith("quintain.")
    finally:
        entries.cache_clear()


def test_an_entry_that_does_not_import_is_told_by_name():
    with pytest.raises(ExecutionError, match=r"'ghost' is registered as 'no.such:thing'"):
        Entry("attack", "ghost", "no.such:thing", "nothing").load()


def test_facts_that_no_entry_has_are_refused_by_name():
    with pytest.raises(SettingError, match="no leak is registered with goal nonsense"):
        choose("leak", goal="nonsense")
    with pytest.raises(SettingError, match="expected one with access labels: "):
        choose("attack", "pgd", access="labels")
