"""Every registered attack that fits one perturbation for many images."""

import pytest

from quintain.core.registry import declared_entries
from quintain.testing import (
    check_applied_allowed,
    check_held_out,
    check_other_threats_refused,
    check_same_seed_fits_same,
    check_universal_attack,
    check_universal_device,
)

REGISTERED = declared_entries("universal_attack")
PAIRS = [(name, kind) for name, entry in REGISTERED.items() for kind in entry.words("supports") or [""]]
every_pair = pytest.mark.parametrize(("name", "kind"), PAIRS)


def attack_of(name):
    """A registered attack in the laws' settings."""
    entry = REGISTERED[name]
    return entry.load()(**entry.numbers("test_settings"))


@every_pair
def test_the_same_seed_fits_the_same_and_leaves_the_model_as_it_was(name: str, kind: str) -> None:
    check_same_seed_fits_same(attack_of(name), kind)


@every_pair
def test_applied_it_is_allowed_and_each_view_depends_on_its_own_example(name: str, kind: str) -> None:
    check_applied_allowed(attack_of(name), kind)


@every_pair
def test_it_is_not_scored_on_what_it_was_fitted_on(name: str, kind: str) -> None:
    check_held_out(attack_of(name), kind)


@every_pair
def test_an_accelerator_gives_the_same(name: str, kind: str) -> None:
    check_universal_device(attack_of(name), kind)


@pytest.mark.parametrize("name", sorted({name for name, kind in PAIRS if kind}))
def test_a_threat_that_it_does_not_support_is_refused_by_name(name: str) -> None:
    check_other_threats_refused(attack_of(name))


def test_a_third_party_can_check_all_of_it_at_once() -> None:
    check_universal_attack(REGISTERED["uap"].load()())
