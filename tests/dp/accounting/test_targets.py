"""A target epsilon is met, and a budget filled, whatever the noise, the sampling, the accountant, the units
and the clip.
"""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import SettingError
from quintain.dp import DPDataLoader, Ledger, PrivacyEngine, Release
from quintain.dp.accounting.budget import PrivacyBudget

pytestmark = pytest.mark.filterwarnings(
    "ignore:batches of shuffled data", "ignore:accountant .gdp", "ignore:delta = "
)

FLAT = [
    pytest.param(accountant, *ways, "flat", marks=() if sum(ways) % 2 else pytest.mark.exhaustive)
    for accountant in ("pld", "rdp", "prv", "gdp")
    for ways in product((False, True), (True, False), (False, True))
]
"""Of secure mode, Poisson sampling and units, each accountant meets an odd number: so each two of them meet
in each way.
"""
CLIPS = [
    pytest.param("pld", *ways, False, clip, marks=() if (sum(ways) + place) % 2 else pytest.mark.exhaustive)
    for ways in product((False, True), (True, False))
    for place, clip in enumerate(("per_layer", "adaptive"))
]
"""In the same manner, of secure mode, Poisson sampling and two kinds of clip."""


@pytest.mark.parametrize(("accountant", "secure", "poisson", "units", "clipping"), [*FLAT, *CLIPS])
def test_planned_epochs_cost_at_most_the_target(
    blobs, accountant: str, secure: bool, poisson: bool, units: bool, clipping: str
) -> None:
    engine = PrivacyEngine(accountant=accountant, secure_mode=secure)
    net = nn.Linear(6, 2)
    net, optimizer, loader = engine.make_private_with_epsilon(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=10),
        target_epsilon=4.0,
        target_delta=1e-3,
        epochs=2,
        poisson_sampling=poisson,
        units=[row // 2 for row in range(40)] if units else None,
        clipping=clipping,
        **({"unclipped_num_std": 5.0} if clipping == "adaptive" else {}),
    )
    for _ in range(2):
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    assert engine.ledger.steps == 8
    assert 3.9 <= engine.get_epsilon(1e-3) <= 4.0


def test_a_loader_that_draws_by_itself_is_taken_as_it_is(blobs) -> None:
    def made(**settings):
        net, engine = nn.Linear(6, 2), PrivacyEngine()
        loader = DPDataLoader(TensorDataset(*blobs), sample_rate=0.25)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        given = {"module": net, "optimizer": optimizer, "data_loader": loader, **settings}
        return (
            *engine.make_private_with_epsilon(target_epsilon=4.0, target_delta=1e-3, epochs=2, **given),
            engine,
            loader,
        )

    net, optimizer, loader, engine, given = made(max_physical_batch_size=4)
    assert loader is given
    for _ in range(2):
        for x, y in loader:
            assert len(x) <= 4
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    assert engine.ledger.releases[0].sample_rate == 0.25
    assert engine.ledger.steps == 8
    assert engine.get_epsilon(1e-3) <= 4.0
    for settings in ({"units": range(40)}, {"poisson_sampling": False}):
        with pytest.raises(SettingError, match="ordinary DataLoader"):
            made(**settings)


PLAIN = Release(2.0, 4, 40)
KINDS = {
    "plain": (PLAIN, [PLAIN]),
    "after others": (PLAIN, [Release(1.5, 10, 40, 7), PLAIN]),
    "secure": (Release(2.0, 4, 40, mechanism="discrete gaussian"), []),
    "shuffled": (Release(2.0, 4, 40, sampling="shuffle", steps_per_epoch=10), []),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_of_a_budget_is_found_in_few_trials(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    release, spent = KINDS[kind]
    ledger, costs, asked = Ledger(spent), Ledger.epsilon, []
    monkeypatch.setattr(Ledger, "epsilon", lambda self, delta: asked.append(self.steps) or costs(self, delta))
    budget = PrivacyBudget(6.0, 1e-3)
    assert budget.affords(ledger, release)
    assert len(asked) <= 25
    assert max(asked, default=0) <= 1 << 12
    fit = 0
    while fit < (release.steps_per_epoch or 1 << 12) and budget.affords(ledger, release):
        ledger.record(release)
        fit += 1
    assert costs(ledger, 1e-3) <= 6.0
    over = Ledger(ledger.releases)
    over.record(release)
    assert costs(over, 1e-3) > 6.0 or fit == release.steps_per_epoch


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("inf"), float("nan")])
def test_a_budget_is_a_number(epsilon: float) -> None:
    with pytest.raises(SettingError, match="positive finite"):
        PrivacyBudget(epsilon, 1e-5)


def test_a_budget_has_a_probability_for_its_delta() -> None:
    with pytest.raises(SettingError, match="got delta = 0"):
        PrivacyBudget(1.0, 0)
