from itertools import pairwise

import pytest
import torch

from quintain.attacks import FGM, FGSM, PGD
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L2, Linf


def stubborn(count: int = 6) -> tuple:
    x = random_inputs(count, 5)
    return batch_invariant_net(5, 3, lead=50.0), x, torch.zeros(count, dtype=torch.long)


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (7, 1), (4, 3)])
def test_the_cost_of_an_unbroken_example(steps: int, restarts: int) -> None:
    outcome = PGD(steps=steps, restarts=restarts)(*stubborn(), Linf(0.1))
    assert outcome.backwards.tolist() == [steps * restarts] * 6
    assert outcome.forwards.tolist() == [1 + restarts * (steps + 1)] * 6
    assert not outcome.success.any()


def test_a_broken_example_stops_paying() -> None:
    x = random_inputs(30, 12, seed=1)
    model = batch_invariant_net(12, 3, seed=2)
    y = model(x).argmax(1)
    outcome = PGD(steps=25)(model, x, y, Linf(0.1))
    assert outcome.success.any()
    assert not outcome.success.all()
    assert (outcome.backwards[outcome.success] < 25).all()
    assert (outcome.backwards[~outcome.success] == 25).all()
    alone = PGD(steps=25)(model, x[:1], y[:1], Linf(0.1))
    assert torch.equal(alone.forwards, outcome.forwards[:1])


def test_seeds_and_restarts_start_elsewhere() -> None:
    model, x, y = stubborn()
    runs = [
        PGD(steps=1, rel_step_size=1e-9)(model, x, y, Linf(0.1), seed=seed).adversarial for seed in (0, 1, 0)
    ]
    assert not torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    more = PGD(steps=1, rel_step_size=1e-9, restarts=8)(model, x, y, Linf(0.1), seed=0).adversarial
    assert (
        model(more)[:, 1:].amax(1) - model(more)[:, 0] >= model(runs[0])[:, 1:].amax(1) - model(runs[0])[:, 0]
    ).all()


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.3)])
def test_it_breaks_at_least_as_many_as_one_step(threat: Linf | L2) -> None:
    x = random_inputs(60, 16, seed=3)
    model = batch_invariant_net(16, 4, seed=5)
    y = model(x).argmax(1)
    one, many = (
        (FGM() if isinstance(threat, L2) else FGSM())(model, x, y, threat),
        PGD(steps=20, loss="ce")(model, x, y, threat),
    )
    assert one.success.any()
    assert many.success.sum() >= one.success.sum()


def test_the_broken_set_grows_with_the_ball() -> None:
    x = random_inputs(60, 16, seed=3)
    model = batch_invariant_net(16, 4, seed=5)
    y = model(x).argmax(1)
    broken = [PGD(steps=20)(model, x, y, Linf(eps)).success for eps in (0.01, 0.05, 0.1, 0.2)]
    assert all((small <= large).all() for small, large in pairwise(broken))
    assert broken[-1].sum() > broken[0].sum()


@pytest.mark.parametrize("name", ["steps", "rel_step_size", "restarts"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} = 0; expected"):
        PGD(**{name: 0})


def test_it_is_a_value() -> None:
    assert PGD() == PGD(steps=40)
    assert len({PGD(), PGD(steps=40), PGD(steps=20)}) == 2
