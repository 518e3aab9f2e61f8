"""Settings chosen after seeing releases: epsilon is then by a bound that holds for such choices, and both
figures are shown.
"""

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import BudgetExceededError, PrivacyError
from quintain.dp import Ledger, PrivacyEngine, Release, epsilon
from quintain.dp.accounting.composition import epsilon_if_adaptive, epsilon_if_fixed_beforehand
from quintain.dp.opacus.schedulers import ExponentialGradClip, ExponentialNoise, LambdaNoise
from tests.dp.support.loops import step

DELTA = 1e-3
SECOND = (0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Noise that may be chosen for a second release, of all records, after the first."""


def failing(figure) -> float:
    """How much an adversary who chooses the second noise by the first output gains beyond what the figure
    says: its real delta.

    The first release is y of standard deviation 1 about 1 or 0, so that its loss is y - 1/2; the second may
    be left out.
    """
    y = np.linspace(-9, 10, 4001)
    none = figure([Release(1.0, 1, 1)])
    gains = [np.maximum(0, -np.expm1(np.minimum(none - (y - 0.5), 0)))]
    for sigma in SECOND:
        left = figure([Release(1.0, 1, 1), Release(sigma, 1, 1)]) - (y - 0.5)
        gains.append(
            norm.cdf(0.5 / sigma - left * sigma) - np.exp(left + norm.logcdf(-0.5 / sigma - left * sigma))
        )
    return float(np.sum(norm.pdf(y - 1) * np.max(gains, axis=0)) * (y[1] - y[0]))


@pytest.mark.parametrize("delta", [1e-2, 1e-4, 1e-6])
def test_whoever_chooses_the_noise_by_the_first_release_stays_within_the_figure(delta: float) -> None:
    assert failing(lambda releases: epsilon_if_adaptive(releases, delta)) <= delta
    assert failing(lambda releases: epsilon_if_fixed_beforehand(releases, delta)) > 1.3 * delta


def test_what_a_choice_costs_is_bounded() -> None:
    for releases in (
        [Release(1.0, 256, 60000, 10000)],
        [Release(4.0, 20, 20, 10)],
        [Release(2.0, 10, 100, 5, sampling="shuffle", epoch=k) for k in range(4)],
        [
            Release(2.0, 10, 1000, 100, sampling="balls-in-bins", epoch=k, steps_per_epoch=100)
            for k in range(3)
        ],
        [Release(2.0, 10, 100, 50, mechanism="discrete gaussian")],
    ):
        fixed, chosen = epsilon_if_fixed_beforehand(releases, 1e-5), epsilon_if_adaptive(releases, 1e-5)
        assert fixed <= chosen <= 1.8 * fixed
    assert epsilon_if_adaptive([], 1e-5) == 0
    assert epsilon_if_adaptive([Release(0.0, 1, 2)], 1e-5) == math.inf


def test_bins_hide_nothing_of_a_pass_whose_noise_was_chosen_within() -> None:
    def thrown(sigma: float, choice: int = 0) -> Release:
        return Release(sigma, 10, 1000, 50, sampling="balls-in-bins", steps_per_epoch=100, choice=choice)

    changed = [thrown(2.0), thrown(3.0, 1)]
    assert (
        epsilon_if_adaptive(changed, 1e-5)
        == epsilon_if_adaptive([Release(2.0, 1, 1)], 1e-5)
        > epsilon_if_adaptive([thrown(2.0)], 1e-5)
    )


def private(engine: PrivacyEngine, sigma: float = 2.0, batch: int = 10, **settings):
    net = nn.Linear(6, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(torch.randn(40, 6), torch.arange(40) % 2), batch_size=batch),
            noise_multiplier=sigma,
            wrap_model=False,
            **settings,
        )


def train(net, optimizer, loader) -> None:
    for x, y in loader:
        step(net, optimizer, x, y)


def train_once(net, optimizer, loader) -> None:
    step(net, optimizer, *next(iter(loader)))


def check(engine: PrivacyEngine, *, fixed: bool) -> None:
    found = engine.ledger.guarantee(DELTA)
    assert engine.report.fixed_beforehand == found.fixed_beforehand == fixed
    assert (
        engine.get_epsilon(DELTA)
        == found.epsilon
        == (found.epsilon_if_fixed_beforehand if fixed else found.epsilon_if_adaptive)
    )
    assert found.epsilon_if_fixed_beforehand < found.epsilon_if_adaptive
    assert any("chosen after releases" in warning for warning in found.warnings) == (not fixed)
    if not fixed:
        told = re.search(r"would be (\S+) had they been fixed", found.text)
        assert told
        assert (
            found.epsilon_if_fixed_beforehand <= float(told[1]) <= 1.001 * found.epsilon_if_fixed_beforehand
        )
        assert "for settings chosen after releases" in found.text


def test_one_run_with_its_schedule_is_fixed_beforehand() -> None:
    engine = PrivacyEngine()
    made = private(engine)
    train(*made)
    assert engine.get_epsilon(DELTA) == epsilon(2.0, 0.25, 4, DELTA)
    check(engine, fixed=True)
    engine = PrivacyEngine()
    made = private(engine)
    schedule = ExponentialNoise(made[1], gamma=0.9)
    for _ in range(2):
        train(*made)
        schedule.step()
    assert len(engine.ledger.releases) == 2
    check(engine, fixed=True)


def test_runs_made_before_the_first_release_are_fixed_beforehand() -> None:
    engine = PrivacyEngine()
    made = [private(engine, sigma) for sigma in (2.0, 3.0)]
    made[1][1].noise_multiplier = 4.0
    for one in made:
        train(*one)
    assert [release.noise_multiplier for release in engine.ledger.releases] == [2.0, 4.0]
    check(engine, fixed=True)


@pytest.mark.parametrize("accountant", ["pld", "rdp", "prv"])
@pytest.mark.parametrize("poisson", [True, False])
def test_a_run_made_after_releases_is_a_choice(poisson: bool, accountant: str) -> None:
    engine = PrivacyEngine(accountant=accountant)
    for _ in range(2):
        train(*private(engine, poisson_sampling=poisson))
    check(engine, fixed=False)


def test_noise_set_by_hand_after_releases_is_a_choice() -> None:
    engine = PrivacyEngine()
    made = private(engine)
    train(*made)
    made[1].noise_multiplier = 2.0
    train(*made)
    check(engine, fixed=True)
    made[1].noise_multiplier = 3.0
    check(engine, fixed=True)
    train(*made)
    check(engine, fixed=False)


def test_a_schedule_of_noise_made_after_releases_is_a_choice() -> None:
    engine = PrivacyEngine()
    made = private(engine)
    train(*made)
    ExponentialGradClip(made[1], gamma=0.5).step()
    schedule = ExponentialNoise(made[1], gamma=0.5)
    train(*made)
    check(engine, fixed=True)
    schedule.step()
    train(*made)
    check(engine, fixed=False)


@pytest.mark.parametrize("gamma", [0.9, 0.5])
@pytest.mark.parametrize("scheduled_first", [True, False])
def test_a_schedule_that_goes_on_is_no_choice_and_another_one_is(scheduled_first: bool, gamma: float) -> None:
    engine = PrivacyEngine()
    made = private(engine)
    schedule = ExponentialNoise(made[1], gamma=0.9)
    schedule.step()
    train(*made)
    states = made[1].state_dict(), schedule.state_dict(), made[0].state_dict()
    engine = PrivacyEngine()
    made = private(engine)
    made[0].load_state_dict(states[2])
    schedule = ExponentialNoise(made[1], gamma=gamma) if scheduled_first else None
    made[1].load_state_dict(states[0])
    schedule = schedule or ExponentialNoise(made[1], gamma=gamma)
    schedule.load_state_dict(states[1])
    assert made[1].noise_multiplier == pytest.approx(2.0 * gamma)
    schedule.step()
    train(*made)
    check(engine, fixed=gamma == 0.9)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
@pytest.mark.parametrize("other", [False, True])
def test_a_schedule_that_was_edited_after_looking_is_a_choice(other: bool, order: tuple[int, ...]) -> None:
    """It gives the same value for the epochs that were, and others for those to come."""
    states: list[dict] = []
    for edited in (False, other):
        engine = PrivacyEngine()
        made = private(engine)
        schedule = LambdaNoise(
            made[1],
            noise_lambda=lambda epoch, edited=edited: 0.5 if edited and epoch > 3 else 1 / (1 + epoch // 3),
        )
        parts = (made[0], made[1], schedule)
        for part in order if states else ():
            parts[part].load_state_dict(states[part])
        for _ in range(2):
            train(*made)
            schedule.step()
        states = [part.state_dict() for part in parts]
    train(*made)
    check(engine, fixed=not other)


def test_a_schedule_that_reads_what_changes_on_the_way_is_a_choice() -> None:
    found = {"sigma": 1.0}
    for look in (False, True):
        engine = PrivacyEngine()
        made = private(engine)
        schedule = LambdaNoise(made[1], noise_lambda=lambda epoch: found["sigma"] / (1 + epoch))
        train(*made)
        schedule.step()
        train(*made)
        check(engine, fixed=True)
        found["sigma"] *= 2 if look else 1
        schedule.step()
        train(*made)
        check(engine, fixed=not look)


def test_a_schedule_may_have_an_end() -> None:
    engine = PrivacyEngine()
    made = private(engine)
    values = [1.0, 1.5, 2.0]
    schedule = LambdaNoise(made[1], noise_lambda=lambda epoch: values[epoch])
    for _ in values[1:]:
        train(*made)
        schedule.step()
    train(*made)
    assert [release.noise_multiplier for release in engine.ledger.releases] == [2.0, 3.0, 4.0]
    check(engine, fixed=True)
    with pytest.raises(IndexError):
        schedule.step()


@pytest.mark.parametrize("stops", [False, True])
def test_a_schedule_that_is_not_stepped_when_it_is_due_is_a_choice(stops: bool) -> None:
    engine = PrivacyEngine()
    made = private(engine)
    schedule = ExponentialNoise(made[1], gamma=0.9)
    for epoch in range(4):
        train(*made)
        if epoch < 2 or not stops:
            schedule.step()
    check(engine, fixed=not stops)


@pytest.mark.parametrize("own_state", [False, True])
def test_a_schedule_made_before_a_state_is_loaded_goes_on_with_its_own_alone(own_state: bool) -> None:
    engine = PrivacyEngine()
    made = private(engine)
    schedule = LambdaNoise(made[1], noise_lambda=lambda epoch: 1.0)
    train(*made)
    states = made[0].state_dict(), made[1].state_dict(), schedule.state_dict()
    engine = PrivacyEngine()
    made = private(engine)
    schedule = LambdaNoise(made[1], noise_lambda=lambda epoch: 1.0 if own_state or epoch < 1 else 0.5)
    for part, state in zip((*made[:2], schedule), states[: 3 if own_state else 2], strict=False):
        part.load_state_dict(state)
    schedule.step()
    train(*made)
    check(engine, fixed=own_state)


def test_a_run_that_goes_on_with_other_batches_is_a_choice() -> None:
    engine = PrivacyEngine()
    net, optimizer, loader = private(engine)
    train(net, optimizer, loader)
    for size in (10, 20):
        engine = PrivacyEngine()
        made = private(engine, batch=size)
        made[0].load_state_dict(net.state_dict())
        made[1].load_state_dict(optimizer.state_dict())
        train(*made)
        check(engine, fixed=size == 10)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("first", ["load", "make"])
def test_a_run_that_goes_on_is_no_choice_and_one_over_its_ledger_is(
    whole: bool, first: str, tmp_path: Path
) -> None:
    engine = PrivacyEngine()
    net, optimizer, loader = private(engine)
    train(net, optimizer, loader)
    path = tmp_path / "run.pt"
    engine.save_checkpoint(path=path, module=net, optimizer=optimizer if whole else None)
    engine = PrivacyEngine()
    if first == "load":
        if whole:
            engine.ledger.load_state_dict(
                torch.load(path, weights_only=True)["privacy_accountant_state_dict"]
            )
        else:
            engine.load_checkpoint(path=path, module=nn.Linear(6, 2))
    net, optimizer, loader = private(engine)
    if whole or first == "make":
        engine.load_checkpoint(path=path, module=net, optimizer=optimizer if whole else None)
    train(net, optimizer, loader)
    assert engine.ledger.steps == 8
    check(engine, fixed=whole)


def test_a_budget_holds_for_runs_that_are_chosen_one_after_another() -> None:
    engine, sigma = PrivacyEngine(), 2.0
    for _ in range(9):
        made = private(engine, sigma, stop_at_epsilon=(1.5, DELTA))
        try:
            train(*made)
        except BudgetExceededError:
            break
        sigma += 0.5
    found = engine.ledger.guarantee(DELTA)
    assert engine.ledger.steps > 4
    assert found.epsilon_if_fixed_beforehand < found.epsilon <= 1.5
    one_more = Ledger(engine.ledger.releases)
    one_more.record(made[1].private_step.account.next_release)
    assert one_more.epsilon(DELTA) > 1.5


@given(
    noises=st.lists(st.sampled_from([0.7, 1.0, 1.5, 2.0]), min_size=2, max_size=5),
    sampling=st.sampled_from(["shuffle", "balls-in-bins"]),
)
@settings(max_examples=30, deadline=None)
@example(noises=[2.0, 1.0, 1.0], sampling="balls-in-bins")
def test_no_further_step_of_a_pass_makes_epsilon_smaller(noises: list[float], sampling: str) -> None:
    steps = [
        Release(sigma, 100, 1000, 1, sampling=sampling, steps_per_epoch=10, choice=i)
        for i, sigma in enumerate(noises)
    ]
    spent = [Ledger(steps[:count]).epsilon(DELTA) for count in range(1, len(steps) + 1)]
    assert spent == sorted(spent)


def scheduled(law=lambda _epoch: 1.0):
    engine = PrivacyEngine()
    made = private(engine)
    return engine, made, LambdaNoise(made[1], noise_lambda=law)


@pytest.mark.parametrize("name", ["base", "last_epoch"])
def test_epoch_and_first_value_of_a_schedule_are_part_of_its_plan(name: str) -> None:
    engine, made, schedule = scheduled()
    train(*made)
    with pytest.raises(PrivacyError, match=f"another {name} for a LambdaNoise"):
        setattr(schedule, name, 4)
    setattr(schedule, {"base": "_base", "last_epoch": "_epoch"}[name], 4)
    schedule.step()
    train(*made)
    check(engine, fixed=name == "last_epoch")


@pytest.mark.parametrize(
    ("gaps", "fixed"),
    [((1, 1, 1), True), ((2, 2), True), ((0, 0, 2, 2), True), ((2, 3), False), ((2, 0), False)],
)
def test_a_schedule_that_steps_when_something_was_seen_is_a_choice(
    gaps: tuple[int, ...], fixed: bool
) -> None:
    """The times between its steps are constant, counted in private steps, or they may follow what was looked
    at.
    """
    engine, made, schedule = scheduled(lambda epoch: 0.9**epoch)
    for gap in gaps:
        for _ in range(gap):
            train_once(*made)
        schedule.step()
    for _ in range(max(gaps[-1], 1)):
        train_once(*made)
    check(engine, fixed=fixed)


@pytest.mark.parametrize("cut", [2, 3])
def test_the_times_of_a_schedule_go_on_over_a_restart(cut: int) -> None:
    engine, made, schedule = scheduled(lambda epoch: 0.9**epoch)
    for turn in range(cut):
        train_once(*made)
        if turn % 2:
            schedule.step()
    states = made[0].state_dict(), made[1].state_dict(), schedule.state_dict()
    for extra in (0, 1):
        engine, made, schedule = scheduled(lambda epoch: 0.9**epoch)
        for part, state in zip((*made[:2], schedule), states, strict=True):
            part.load_state_dict(state)
        for _ in range(4 - cut + extra):
            train_once(*made)
        schedule.step()
        train_once(*made)
        check(engine, fixed=not extra)


@pytest.mark.parametrize("name", ["base", "last_epoch", "beforehand", "plan", "pace"])
def test_a_state_of_a_schedule_that_was_edited_is_refused(name: str) -> None:
    _, _, schedule = scheduled()
    state = schedule.state_dict()
    _, _, other = scheduled()
    for wrong in ({**state, name: 0.5}, {key: value for key, value in state.items() if key != name}):
        with pytest.raises(PrivacyError, match="not what state_dict"):
            other.load_state_dict(wrong)


def test_the_state_of_another_schedule_that_is_loaded_before_the_optimizers_is_a_choice() -> None:
    """There is nothing to compare it to yet; the next step of the schedule finds that the optimizer's noise
    is not what it had set.
    """
    other = scheduled(lambda epoch: 0.5)[2].state_dict()
    _, made, _ = scheduled()
    train(*made)
    states = made[0].state_dict(), made[1].state_dict()
    engine, made, schedule = scheduled(lambda epoch: 0.5)
    schedule.load_state_dict(other)
    for part, state in zip(made, states, strict=False):
        part.load_state_dict(state)
    schedule.step()
    train(*made)
    check(engine, fixed=False)
