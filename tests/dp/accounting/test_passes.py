"""Passes over shuffled data and balls in bins: what is reported is never below what the record that was used
most often has spent.
"""

import math
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import BudgetExceededError
from quintain.dp import BallsInBinsLoader, PrivacyEngine
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.sampling.loader import SamplingLoader
from tests.dp.support.figures import gaussian_epsilon
from tests.dp.support.loops import step

DELTA, SIGMA, RECORDS = 1e-3, 1.0, 20
KINDS = ("shuffle", "balls-in-bins")


class Uses:
    """Counts how often each record was stepped on, over all runs and processes."""

    def __init__(self) -> None:
        self.of: Counter[int] = Counter()

    def train(
        self, net: nn.Module, optimizer: DPOptimizer, loader: SamplingLoader, *, most: int = 10**6
    ) -> None:
        for x, y in loader:
            step(net, optimizer, x, y)
            self.of.update(loader.physical_batch.rows.tolist())
            most -= 1
            if not most:
                return

    @property
    def epsilon(self) -> float:
        """The exact one of the record used most often, by who knows the order: what is claimed of shuffled
        passes.
        """
        return gaussian_epsilon(SIGMA / math.sqrt(max(self.of.values())), DELTA)

    def check(self, engine: PrivacyEngine) -> None:
        """What an engine reports is of as many passes as the record used most often was in."""
        passes = {(release.sampling, release.epoch) for release in engine.ledger.releases}
        assert len(passes) >= max(self.of.values())
        if any(
            release.sampling == "shuffle" or release.steps_per_epoch == 1
            for release in engine.ledger.releases
        ):
            assert engine.get_epsilon(DELTA) >= self.epsilon


def private(
    engine: PrivacyEngine, kind: str = "shuffle", *, batch: int = 5, net: nn.Module | None = None, **settings
):
    net = nn.Linear(3, 2) if net is None else net
    data = TensorDataset(torch.randn(RECORDS, 3), torch.arange(RECORDS) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = DataLoader(data, batch_size=batch)
        if kind == "balls-in-bins":
            given = BallsInBinsLoader.from_loader(given, engine._random.issue("sampling"))
        return engine.make_private(
            module=net,
            optimizer=torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1),
            data_loader=given,
            noise_multiplier=SIGMA,
            poisson_sampling=False,
            wrap_model=False,
            **settings,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_ten_runs_of_one_engine_are_ten_passes(kind: str) -> None:
    engine, uses = PrivacyEngine(), Uses()
    for _ in range(10):
        uses.train(*private(engine, kind, batch=RECORDS))
    assert uses.epsilon == pytest.approx(gaussian_epsilon(1 / math.sqrt(10), DELTA))
    uses.check(engine)


@pytest.mark.parametrize("kind", KINDS)
def test_passes_after_freezing_and_unfreezing_are_further_ones(kind: str) -> None:
    engine, uses = PrivacyEngine(), Uses()
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for frozen in (False, True, False):
        net[0].requires_grad_(not frozen)
        made = private(engine, kind, net=net)
        uses.train(*made)
        made[1].capture.remove()
    uses.check(engine)


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_counts_the_passes_of_all_runs(kind: str) -> None:
    engine, uses = PrivacyEngine(), Uses()
    target = gaussian_epsilon(SIGMA / math.sqrt(3.5), DELTA)
    for _ in range(5):
        made = private(engine, kind, stop_at_epsilon=(target, DELTA))
        with suppress(BudgetExceededError):
            uses.train(*made)
    assert uses.of.total() > RECORDS
    uses.check(engine)
    assert engine.get_epsilon(DELTA) <= target


@pytest.mark.parametrize(
    ("done", "seed", "kind"),
    [
        pytest.param(done, seed, kind, marks=() if (place + turn + k) % 2 == 0 else pytest.mark.exhaustive)
        for place, done in enumerate((2, 4, 6))
        for turn, seed in enumerate((0, None))
        for k, kind in enumerate(KINDS)
    ],
)
def test_passes_after_a_checkpoint_without_its_optimizer_are_further_ones(
    kind: str, seed: int | None, done: int, tmp_path: Path
) -> None:
    path, uses = tmp_path / "run.pt", Uses()
    for run in range(3):
        engine = PrivacyEngine(seed=seed)
        net, optimizer, loader = private(engine, kind)
        if run:
            engine.load_checkpoint(path=path, module=net)
        before = engine.ledger.steps
        for _ in range(-(-done // 4)):
            uses.train(net, optimizer, loader, most=done - (engine.ledger.steps - before))
        assert engine.ledger.steps == before + done
        uses.check(engine)
        engine.save_checkpoint(path=path, module=net)
        optimizer.capture.remove()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("seed", "passes"), [(0, 2), (None, 3)])
def test_a_resume_in_mid_pass_goes_on_with_the_pass_or_begins_another(
    kind: str, seed: int | None, passes: int, tmp_path: Path
) -> None:
    """With the same stream the same order goes on; a fresh one orders the records anew, and may use some
    again.
    """
    path, uses = tmp_path / "run.pt", Uses()
    engine = PrivacyEngine(seed=seed)
    net, optimizer, loader = private(engine, kind)
    uses.train(net, optimizer, loader, most=3)
    engine.save_checkpoint(path=path, module=net, optimizer=optimizer)
    engine = PrivacyEngine(seed=seed)
    net, optimizer, loader = private(engine, kind)
    engine.load_checkpoint(path=path, module=net, optimizer=optimizer)
    uses.train(net, optimizer, loader, most=4)
    assert len({release.epoch for release in engine.ledger.releases}) == passes
    assert max(uses.of.values()) <= passes
    uses.check(engine)


@pytest.mark.parametrize("changed", [{"batch": 4}, {"kind": "balls-in-bins"}])
def test_the_same_seed_with_other_batches_orders_the_records_anew(changed: dict, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    engine = PrivacyEngine(seed=0)
    net, optimizer, loader = private(engine)
    Uses().train(net, optimizer, loader, most=2)
    engine.save_checkpoint(path=path, module=net, optimizer=optimizer)
    engine = PrivacyEngine(seed=0)
    net, optimizer, loader = private(engine, **changed)
    engine.load_checkpoint(path=path, module=net, optimizer=optimizer)
    Uses().train(net, optimizer, loader, most=1)
    assert [release.epoch for release in engine.ledger.releases] == [0, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_one_run_counts_one_pass_an_epoch(kind: str) -> None:
    engine, uses = PrivacyEngine(), Uses()
    made = private(engine, kind)
    for _ in range(3):
        uses.train(*made)
    assert {release.epoch for release in engine.ledger.releases} == {0, 1, 2}
    exact = gaussian_epsilon(SIGMA / math.sqrt(3), DELTA)
    assert exact == pytest.approx(uses.epsilon)
    assert engine.get_epsilon(DELTA) <= 1.001 * exact
    if kind == "shuffle":
        assert engine.get_epsilon(DELTA) >= exact
