"""Private training beside the plain one: what is shown on the way, what is compared, and what is kept of a
run that broke off.
"""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from quintain.core.errors import SettingError
from quintain.dp import Ledger
from quintain.dp.training.resume import ResumableRun
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.steps.plan import run_plan
from quintain.evaluate.steps.privatize import partial_privatize, run_privatize
from quintain.results.class_counts import ClassCounts

from .test_privacy import data, net

BUDGET = PrivacyTarget(epsilon=3.0, batch_size=60, steps=20)


class Watched:
    """Progress that keeps what it is told, and stops the run once it was told so often."""

    def __init__(self, stop: int = 1000) -> None:
        self.told: list[str] = []
        self.stop = stop

    @contextmanager
    def bar(self, label, total):
        yield lambda _done: None

    def set_status(self, text):
        self.told.append(text)
        if len(self.told) == self.stop:
            raise KeyboardInterrupt


def test_epsilon_so_far_stands_beside_accuracy(tmp_path):
    progress = Watched()
    plain = ClassCounts((40, 50), (48, 52))
    outcome = run_privatize(
        net(),
        data(),
        data(100),
        BUDGET,
        folder=tmp_path,
        nonprivate_counts=plain,
        unfinished=tmp_path / "u",
        held_out=data(50),
        progress=progress,
    )
    spent = [float(text.split()[1].rstrip(",")) for text in progress.told]
    assert len(spent) == 20
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(outcome.result.plan.epsilon, abs=0.01)
    assert spent[-1] >= outcome.result.plan.epsilon
    assert all("accuracy " in text for text in progress.told)
    assert outcome.result.nonprivate_counts == plain


def test_without_a_place_for_its_state_nothing_is_shown_and_nothing_kept(tmp_path):
    progress = Watched()
    run_privatize(
        net(),
        data(),
        data(100),
        BUDGET,
        folder=tmp_path,
        nonprivate_counts=ClassCounts((1, 1), (2, 2)),
        progress=progress,
    )
    assert progress.told == []
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_trainings_are_compared_in_order_and_the_asked_one_is_done_once(tmp_path):
    outcome = run_privatize(
        net(), data(), data(100), BUDGET, folder=tmp_path, epsilons=(1.0, 3.0, 8.0), batch_sizes=(30, 60)
    )
    body = outcome.result
    epsilons = [one.plan.epsilon for one in body.epsilon_sweep]
    assert epsilons == sorted(epsilons)
    assert [one.plan.expected_batch_size for one in body.batch_size_sweep] == [30, 60]
    assert body.epsilon_sweep[1] == body.batch_size_sweep[1]
    assert body.epsilon_sweep[1].clean_counts == body.training.clean_counts
    assert max(epsilons) < body.composed_epsilon < sum(epsilons) + body.batch_size_sweep[0].plan.epsilon
    assert any("If you pick the best of these 4 trainings" in note for note in outcome.notes)


def test_what_is_left_of_a_run_that_broke_off_speaks_of_the_steps_that_are_safe(tmp_path):
    words = {"folder": tmp_path, "unfinished": tmp_path / "u"}
    with pytest.raises(KeyboardInterrupt):
        run_privatize(net(), data(), data(100), BUDGET, progress=Watched(stop=7), **words)
    kept, model = ResumableRun(tmp_path / "u" / "main"), net()
    ledger = Ledger()
    ledger.load_state_dict(kept.ledger)
    outcome = partial_privatize(model, data(), data(100), BUDGET, reason="interrupted", **words)
    assert kept.steps == 7
    assert outcome.result.stop_reason == "interrupted after 7 of 20 steps"
    assert outcome.claims[1].bracket.upper.value == outcome.result.plan.epsilon == ledger.epsilon(1e-5)
    assert not outcome.claims[1].primary
    assert torch.equal(model.weight, kept.weights["weight"])
    assert outcome.result.clipped_fraction == kept.clipped_fraction


def test_nothing_is_left_of_a_run_that_did_no_step(tmp_path):
    assert (
        partial_privatize(
            net(), data(), data(), BUDGET, folder=tmp_path, unfinished=tmp_path / "u", reason="interrupted"
        )
        is None
    )


def test_more_noise_buys_more_steps():
    few, many = (
        run_plan(BUDGET, 600, noise_multiplier=noise, batch_sizes=(30,)).result for noise in (1.0, 2.0)
    )
    assert few.steps_within_budget < many.steps_within_budget
    assert few.plan.epsilon > many.plan.epsilon
    assert few.noise_grid == many.noise_grid
    assert all(row == tuple(sorted(row)) for row in (*few.noise_grid, *few.epsilon_grid))


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0},
        {"delta": 1},
        {"batch_size": 0},
        {"steps": 0},
        {"max_grad_norm": 0},
        {"learning_rate": float("inf")},
    ],
)
def test_a_budget_out_of_range_is_refused(change):
    with pytest.raises(SettingError, match=r"got .*; expected"):
        replace(BUDGET, **change)
