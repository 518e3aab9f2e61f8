"""Every registered attack that fits one perturbation for many images."""

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from quintain.attacks import Perturbation, held_out, success_rate
from quintain.core.errors import DataError, SettingError
from quintain.core.registry import declared_entries, entries
from quintain.data import from_arrays
from quintain.data.dataset import Dataset
from quintain.testing import example_threat, law_threat, random_inputs
from quintain.threats import contains

KIND = "universal_attack"
REGISTERED = declared_entries(KIND)
PAIRS = [(name, kind) for name, entry in REGISTERED.items() for kind in entry.words("supports") or [""]]
every_pair = pytest.mark.parametrize(("name", "kind"), PAIRS)


def images(count: int, seed: int) -> Dataset:
    """Random images of three colors, three classes."""
    return from_arrays(
        random_inputs(count, 3, 16, 16, seed=seed).numpy(),
        torch.arange(count).remainder(3).numpy(),
        name=f"noise {seed}",
    )


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 3)).eval()


def fitted(name: str, kind: str, model: nn.Module, seed: int = 0) -> Perturbation:
    """What an attack of a name fits in the laws' settings, in a threat where it takes one."""
    entry = REGISTERED[name]
    return entry.load()(**entry.numbers("test_settings")).fit(
        model, images(12, seed=3), *([law_threat(kind)] if kind else []), seed=seed
    )


def tensors(perturbation: Perturbation) -> Iterator[torch.Tensor]:
    """Every tensor of a fitted perturbation."""
    yield from (
        value
        for slot in type(perturbation).__slots__
        if isinstance(value := getattr(perturbation, slot), torch.Tensor)
    )


@every_pair
def test_the_same_seed_fits_the_same_and_leaves_the_model_as_it_was(name: str, kind: str) -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    once, again = (list(tensors(fitted(name, kind, model))) for _ in range(2))
    assert once
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())


@every_pair
def test_applied_it_is_allowed_and_each_view_depends_on_its_own_example(name: str, kind: str) -> None:
    found = fitted(name, kind, net())
    x, _ = images(8, seed=4).batch(range(8))
    ids = torch.arange(8) + 5
    for one in (found, found.random_control(seed=2)):
        z = one.apply(x, ids, seed=7)
        assert z.shape == x.shape
        assert ((z >= 0) & (z <= 1)).all()
        assert not torch.equal(z, x)
        assert not kind or contains(law_threat(kind), z, x).all()
        torch.testing.assert_close(one.apply(x[2:5], ids[2:5], seed=7), z[2:5], rtol=0, atol=1e-5)


@every_pair
def test_it_is_not_scored_on_what_it_was_fitted_on(name: str, kind: str) -> None:
    model = net()
    found, seen = fitted(name, kind, model), images(12, seed=3)
    with pytest.raises(DataError, match="was fitted on 12 of the images"):
        success_rate(model, seen, found)
    with pytest.raises(DataError, match="was fitted on all 12 images"):
        held_out(seen, found)
    assert success_rate(model, images(30, seed=5), found).examples == 30


@pytest.mark.parametrize("name", sorted({name for name, kind in PAIRS if kind}))
def test_a_threat_that_it_does_not_support_is_refused_by_name(name: str) -> None:
    entry = REGISTERED[name]
    for other in sorted(set(entries("threat")) - set(entry.words("supports"))):
        with pytest.raises(SettingError, match=f"{name} does not support the threat"):
            entry.load()(**entry.numbers("test_settings")).fit(
                net(), images(12, seed=3), example_threat(other)
            )
