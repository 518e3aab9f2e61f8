"""The laws of certifiers, over everything registered."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from quintain.core.registry import declared_entries, entries
from quintain.testing import (
    certified_radii,
    check_certified_alone,
    check_certified_model_untouched,
    check_certifier,
    check_halfspace_certified,
    check_nan_not_certified,
    check_radius_at_most_exact,
    check_wrong_not_certified,
)

pytestmark = pytest.mark.rounding

NAMES = sorted(entries("certifier"))
PAIRS = [
    (name, kind)
    for name in NAMES
    for kind in declared_entries("certifier")[name].words("supports")
    if kind in ("linf", "l2", "l1")
]
every_certifier = pytest.mark.parametrize(("name", "kind"), PAIRS)


def prove(name, kind):
    """What a registered certifier proves in a kind of threat, at settings that do not take long."""
    method = declared_entries("certifier")[name].build(sigma=0.2, noise_samples=2000)
    return partial(certified_radii, method, kind=kind)


@pytest.mark.parametrize("name", NAMES)
def test_a_certifier_says_what_it_guarantees_and_can_be_imported(name):
    entry = declared_entries("certifier")[name]
    assert callable(entry.load())
    assert entry.guarantee
    assert set(entry.words("supports")) <= set(entries("threat"))
    assert entry.fact("example").partition(":")[0] in entry.words("supports")


@every_certifier
def test_what_is_certified_is_at_most_what_is_true(name, kind):
    check_radius_at_most_exact(prove(name, kind), kind=kind)


@every_certifier
def test_a_halfspace_is_certified_up_to_a_tenth_of_sigma(name, kind):
    check_halfspace_certified(prove(name, kind), kind=kind)


@every_certifier
def test_a_wrong_example_is_not_certified(name, kind):
    check_wrong_not_certified(prove(name, kind))


@every_certifier
def test_each_example_is_certified_by_itself(name, kind):
    check_certified_alone(prove(name, kind))


@every_certifier
def test_the_model_and_the_global_generator_are_left_as_they_were(name, kind):
    check_certified_model_untouched(prove(name, kind))


@every_certifier
def test_nan_proves_nothing(name, kind):
    check_nan_not_certified(prove(name, kind))


@pytest.mark.parametrize("name", NAMES)
def test_a_third_party_can_check_all_of_it_at_once(name):
    check_certifier(declared_entries("certifier")[name].build(sigma=0.2, noise_samples=2000))


def test_one_that_claims_too_much_and_does_not_know_its_laws_is_named():
    class Generous:
        name, supports, exemptions = "generous", ("l2",), ("modesty",)

        def derive(self, model):
            return self

        def certify(self, x, y, *, seed):
            return SimpleNamespace(radius=torch.full((len(x),), 0.3))

    with pytest.raises(
        AssertionError, match=r"generous does not keep\n- no radius above the exact"
    ) as broken:
        check_certifier(Generous())
    assert "NaN proves nothing in l2: expected radius 0 where the model returns NaN" in str(broken.value)
    assert "exempt from modesty, which is no law here" in str(broken.value)


def test_the_exemptions_are_these():
    found = declared_entries("certifier").items()
    assert {name: entry.exemptions for name, entry in found if entry.exemptions} == {}
