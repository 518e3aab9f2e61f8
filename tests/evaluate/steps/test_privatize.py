"""Private training beside the plain one: what is shown on the way, what is compared, and what is kept of a
run that broke off.
"""

from contextlib import contextmanager

import pytest
import torch

from quintain.dp import Ledger
from quintain.dp.training.resume import ResumableRun
from quintain.evaluate.steps.privatize import partial_privatize, run_privatize
from quintain.results import Basis
from quintain.results.class_counts import ClassCounts
from tests.evaluate.support.private_blobs import BUDGET, QUICK, data, net


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
        QUICK,
        folder=tmp_path,
        nonprivate_counts=plain,
        unfinished=tmp_path / "u",
        validation=data(50),
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
        QUICK,
        folder=tmp_path,
        nonprivate_counts=ClassCounts((1, 1), (2, 2)),
        progress=progress,
    )
    assert progress.told == []
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_trainings_are_compared_in_order_and_the_asked_one_is_done_once(tmp_path):
    outcome = run_privatize(
        net(), data(), data(100), QUICK, folder=tmp_path, epsilons=(1.0, 3.0, 8.0), batch_sizes=(30, 60)
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
        run_privatize(net(), data(), data(100), QUICK, progress=Watched(stop=7), **words)
    kept, model = ResumableRun(tmp_path / "u" / "main"), net()
    ledger = Ledger()
    ledger.load_state_dict(kept.ledger)
    outcome = partial_privatize(model, data(), data(100), QUICK, reason="interrupted", **words)
    assert kept.steps == 7
    assert outcome.result.stop_reason == "interrupted after 7 of 20 steps"
    assert outcome.claims[1].bracket.upper.value == outcome.result.plan.epsilon == ledger.epsilon(1e-5)
    assert not outcome.claims[1].primary
    assert torch.equal(model.weight, kept.weights["weight"])
    assert outcome.result.clipped_fraction == kept.clipped_fraction


def test_nothing_is_left_of_a_run_that_did_no_step(tmp_path):
    assert (
        partial_privatize(
            net(), data(), data(), QUICK, folder=tmp_path, unfinished=tmp_path / "u", reason="interrupted"
        )
        is None
    )


def test_privatize_spends_at_most_the_budget(tmp_path):
    outcome = run_privatize(net(), data(), data(100), BUDGET, folder=tmp_path)
    assert outcome.result.plan.epsilon <= 3.0
    assert outcome.claims[1].bracket.upper.value == outcome.result.plan.epsilon
    assert outcome.claims[1].bracket.lower.basis is Basis.TRIVIAL
    assert (
        outcome.result.training.clean_counts.accuracy > outcome.result.training.clean_counts.majority_accuracy
    )
    assert outcome.result.nonprivate_counts.num_examples == 100
    assert 0 <= outcome.result.clipped_fraction <= 1
    assert (tmp_path / outcome.result.training.model.path).exists()


def test_mutant_of_batches_drawn_twice_as_often_shows_in_the_claim(monkeypatch, tmp_path):
    from quintain.dp.sampling.poisson_loader import PoissonLoader

    real = PoissonLoader.__iter__

    def twice(self):
        yield from real(self)
        yield from real(self)

    monkeypatch.setattr(PoissonLoader, "__iter__", twice)
    outcome = run_privatize(net(), data(), data(100), BUDGET, folder=tmp_path)
    assert outcome.claims[1].bracket.upper.value > outcome.result.plan.epsilon
