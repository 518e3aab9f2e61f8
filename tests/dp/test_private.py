"""The native call ``make_private`` trains as the engine does, and has every guard of the engine's path."""

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import BudgetExceededError, PrivacyError, SettingError
from quintain.dp import (
    AdaptiveClipping,
    AutomaticClipping,
    BallsInBinsLoader,
    FlatClipping,
    Ledger,
    PerLayerClipping,
    PoissonLoader,
    PrivacyBudget,
    PrivacyEngine,
    PrivacySettings,
    PrivacyUnits,
    Private,
    RandomSource,
    epsilon,
    make_private,
    private,
)
from quintain.dp.distributed import World
from quintain.dp.randomness.stream import RandomStream
from tests.dp.support.loops import refused, step

Blobs = tuple[Tensor, Tensor]
SETTINGS = PrivacySettings(noise_multiplier=1.0)


def net_of() -> nn.Sequential:
    """A net with fixed first weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))


def made(
    blobs: Blobs,
    settings: PrivacySettings = SETTINGS,
    *,
    net: nn.Module | None = None,
    inner: Callable[..., torch.optim.Optimizer] = torch.optim.SGD,
    batch: int = 8,
    **words: Any,
) -> Private[nn.Module, torch.optim.Optimizer, tuple[Tensor, ...]]:
    """A net that is trained privately on ``blobs``."""
    net = net_of() if net is None else net
    loader = words.pop("loader", None) or DataLoader(TensorDataset(*blobs), batch_size=batch)
    return make_private(net, inner(net.parameters(), lr=0.1), loader, settings, **words)


def trained(run: Private[nn.Module, Any, Any], epochs: int = 2) -> Tensor:
    """The weights after some epochs."""
    for _ in range(epochs):
        for x, y in run.loader:
            step(run.module, run.optimizer, x, y)
    return torch.cat([p.detach().flatten() for p in run.module.parameters()])


WAYS = {
    "flat": (SETTINGS, {}),
    "another bound": (replace(SETTINGS, clipping=FlatClipping(0.3)), {"max_grad_norm": 0.3}),
    "per layer": (
        replace(SETTINGS, clipping=PerLayerClipping((0.1, 0.2, 0.3, 0.4))),
        {"clipping": "per_layer", "max_grad_norm": (0.1, 0.2, 0.3, 0.4)},
    ),
    "automatic": (replace(SETTINGS, clipping=AutomaticClipping(1.0)), {"clipping": "automatic"}),
    "adaptive": (
        replace(SETTINGS, clipping=AdaptiveClipping(1.0, unclipped_count_std=2.0)),
        {"clipping": "adaptive", "unclipped_num_std": 2.0},
    ),
    "shuffled": (replace(SETTINGS, sampling="shuffle"), {"poisson_sampling": False}),
    "in pieces": (replace(SETTINGS, max_physical_batch_size=3), {"max_physical_batch_size": 3}),
    "budget": (replace(SETTINGS, budget=PrivacyBudget(2.0, 1e-3)), {"stop_at_epsilon": (2.0, 1e-3)}),
    "units": (SETTINGS, {"units": [row // 2 for row in range(40)]}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:batches of shuffled data")
def test_it_trains_bit_by_bit_as_the_engine_does(blobs: Blobs, way: str) -> None:
    settings, words = WAYS[way]
    units = {"privacy_units": PrivacyUnits(words["units"])} if "units" in words else {}
    here = made(blobs, settings, random=RandomSource.from_seed(3), **units)
    net, engine = net_of(), PrivacyEngine(seed=3)
    model, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=8),
        wrap_model=False,
        **({"noise_multiplier": 1.0} | words),
    )
    assert torch.equal(
        trained(here), trained(replace(here, module=model, optimizer=optimizer, loader=loader))
    )
    assert here.ledger.releases == engine.ledger.releases
    assert here.epsilon(1e-3) == engine.get_epsilon(1e-3)
    assert here.guarantee(1e-3) == engine.ledger.guarantee(1e-3)
    assert here.report == engine.report


def test_it_leaves_the_callers_objects_as_they_are(blobs: Blobs) -> None:
    net = net_of()
    inner = torch.optim.Adam(net.parameters(), lr=0.1)
    plain = copy.deepcopy(net)
    run = make_private(net, inner, DataLoader(TensorDataset(*blobs), batch_size=8), SETTINGS)
    assert run.module is net
    assert run.optimizer.inner is inner
    x, y = next(iter(run.loader))
    step(net, run.optimizer, x, y)
    assert run.ledger.steps == 1
    assert run.detach() is net
    net.zero_grad()
    other = torch.optim.SGD(net.parameters(), lr=0.1)
    net.load_state_dict(plain.state_dict())
    for one in (net, plain):
        F.cross_entropy(one(blobs[0]), blobs[1]).backward()
    other.step()
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), plain.parameters(), strict=True))


def test_a_target_epsilon_is_spent_and_never_exceeded(blobs: Blobs) -> None:
    settings = PrivacySettings.for_epsilon(2.0, 1e-3, num_units=40, expected_batch_size=10, epochs=2)
    run = made(blobs, replace(settings, clipping=FlatClipping(0.5)), batch=10)
    trained(run, epochs=4)
    assert run.ledger.steps == 8
    assert 1.98 < run.epsilon(1e-3) <= 2.0
    run.loader.should_stop = lambda: False
    x, y = next(iter(run.loader))
    with pytest.raises(BudgetExceededError, match="one more step would cost more than epsilon = 2"):
        step(run.module, run.optimizer, x, y)


@pytest.mark.parametrize("name", ["num_units", "expected_batch_size", "epochs"])
def test_a_target_needs_positive_numbers(name: str) -> None:
    numbers = {"num_units": 40, "expected_batch_size": 10, "epochs": 2, name: 0}
    with pytest.raises(SettingError, match=f"{name} = 0; expected at least 1"):
        PrivacySettings.for_epsilon(2.0, 1e-3, **numbers)


@pytest.mark.parametrize("mechanism", ["gaussian", "discrete gaussian"])
def test_noise_for_a_target_is_the_engines(blobs: Blobs, mechanism: str) -> None:
    net = net_of()
    _, optimizer, _ = PrivacyEngine(secure_mode=mechanism != "gaussian").make_private_with_epsilon(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(*blobs), batch_size=10),
        target_epsilon=2.0,
        target_delta=1e-3,
        epochs=2,
    )
    settings = PrivacySettings.for_epsilon(
        2.0, 1e-3, num_units=40, expected_batch_size=10, epochs=2, mechanism=mechanism
    )
    assert settings.noise_multiplier == optimizer.noise_multiplier
    assert settings.mechanism == mechanism


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_multiplier": 0}, "no privacy at all"),
        ({"noise_multiplier": -1.0}, "a finite number, 0 .* or more"),
        ({"noise_multiplier": float("nan")}, "a finite number"),
        ({"noise_multiplier": "1"}, "expected a number"),
        ({"noise_multiplier": 1.0, "clipping": FlatClipping(float("inf"))}, "expected a finite bound"),
        ({"noise_multiplier": 1e20, "clipping": FlatClipping(1e20)}, "noise times bound"),
        ({"noise_multiplier": 1.0, "loss_reduction": "none"}, '"mean" or "sum"'),
        ({"noise_multiplier": 1.0, "max_physical_batch_size": 0}, "at least 1"),
        ({"noise_multiplier": 1.0, "clipping": AdaptiveClipping(1.0, unclipped_count_std=0.1)}, "less than"),
    ],
)
def test_settings_out_of_their_range_are_refused_when_they_are_made(settings: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        PrivacySettings(**settings)
    assert PrivacySettings(noise_multiplier=0, allow_no_privacy=True).noise_multiplier == 0


@pytest.mark.parametrize("what", ["noise", "batches"])
def test_two_runs_of_a_ledger_do_not_draw_from_one_seed(blobs: Blobs, what: str) -> None:
    ledger, data = Ledger(), DataLoader(TensorDataset(*blobs), batch_size=8)

    def run(seed: int) -> object:
        if what == "noise":
            return made(blobs, random=RandomSource.from_seed(seed), ledger=ledger)
        loader = PoissonLoader.from_loader(data, RandomStream.from_seed(seed, "batches"))
        return made(blobs, loader=loader, ledger=ledger)

    first, second = run(1), run(2)
    with refused("a seed for the batches that those of another run of this ledger", SettingError):
        run(1)
    del first, second
    with refused("those of another run of this ledger", SettingError):
        run(2)
    source = RandomSource.from_seed(1)
    assert [made(blobs, random=source, ledger=Ledger()).ledger.steps for _ in range(2)] == [0, 0]


def test_runs_that_share_a_source_draw_other_batches_and_noise(blobs: Blobs) -> None:
    source, ledger = RandomSource.from_seed(1), Ledger()
    one, other = (trained(made(blobs, random=source, ledger=ledger)) for _ in range(2))
    assert not torch.equal(one, other)
    assert ledger.steps == 20


def test_training_of_the_module_that_the_ledger_does_not_hold_is_warned_of(blobs: Blobs) -> None:
    first = made(blobs)
    trained(first, epochs=1)
    first.detach()
    with pytest.warns(UserWarning, match="this module was trained for 5 steps that another ledger holds"):
        made(blobs, net=first.module).detach()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = made(blobs, net=first.module, ledger=first.ledger)
        again.detach()
        further = Ledger()
        further.load_state_dict(first.ledger.state_dict())
        made(blobs, net=first.module, ledger=further)
    assert again.ledger is first.ledger


def test_several_processes_are_refused_a_module_or_a_loader_of_one(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quintain.dp.distributed.current_world", lambda: World(0, 2))
    with refused("got 2 processes and a module of this one alone"):
        made(blobs)
    monkeypatch.setattr(private, "world_of", lambda _module: World(0, 2))
    loader = PoissonLoader.from_loader(
        DataLoader(TensorDataset(*blobs), batch_size=8), RandomStream.from_seed(0, "sampling")
    )
    with refused("got 2 processes and a loader that draws for 1"):
        made(blobs, loader=loader)


def test_all_settings_and_the_data_are_compared_between_processes(
    blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, object]] = []
    monkeypatch.setattr(
        World, "check_same_on_all", lambda _world, settings=None, _hint="": told.append(settings)
    )
    monkeypatch.setattr(private, "check_same_data", lambda loader: f"{len(loader.dataset)} records")
    run = made(blobs, replace(SETTINGS, budget=PrivacyBudget(9.0, 1e-3)))
    settings = next(told for told in told if told and "way to clip" in told)
    assert settings["noise_multiplier"] == 1.0
    assert settings["way to clip"] == FlatClipping(1.0)
    assert settings["stop_at_epsilon"] == PrivacyBudget(9.0, 1e-3)
    assert {"loss_reduction", "secure_mode", "batch_first", "copies and draws", "release"} <= settings.keys()
    assert run.report.runs[0].compared == "40 records"


def test_a_budget_affords_one_step_and_ends_the_loader(blobs: Blobs) -> None:
    with refused("affords no step: one comes to epsilon", SettingError):
        made(blobs, replace(SETTINGS, budget=PrivacyBudget(0.01, 1e-5)))
    run = made(blobs, replace(SETTINGS, budget=PrivacyBudget(3.0, 1e-3)))
    trained(run, epochs=20)
    assert 2.5 < run.epsilon(1e-3) <= 3.0
    assert run.ledger.steps < 100
    with pytest.warns(UserWarning, match="affords no step after the .* the loader yields nothing"):
        later = made(blobs, ledger=run.ledger)
    assert list(later.loader) == []
    assert later.report.runs[0].stop_at_epsilon == (3.0, 1e-3)


def test_a_budget_that_a_fresh_ledger_brings_must_afford_one_step(blobs: Blobs) -> None:
    ledger = Ledger()
    ledger.budget = PrivacyBudget(0.01, 1e-5)
    with refused("affords no step: one comes to epsilon", SettingError):
        made(blobs, ledger=ledger)


def test_what_is_refused_leaves_the_module_plain(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    net = net_of()
    with refused("affords no step", SettingError):
        made(blobs, replace(SETTINGS, budget=PrivacyBudget(0.01, 1e-5)), net=net)
    F.cross_entropy(net(blobs[0]), blobs[1]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    ledger = Ledger()
    monkeypatch.setattr(private, "check_same_data", lambda _loader: pytest.fail("differs"))
    with pytest.raises(pytest.fail.Exception, match="differs"):
        made(blobs, replace(SETTINGS, budget=PrivacyBudget(9.0, 1e-3)), ledger=ledger)
    assert ledger.budget is None


class Scale(nn.Module):
    """A layer of the test's own."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(6))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.by


def test_modules_and_optimizers_that_do_not_fit_are_refused(blobs: Blobs) -> None:
    data, net = DataLoader(TensorDataset(*blobs), batch_size=8), net_of()

    def sgd(module: nn.Module) -> torch.optim.SGD:
        return torch.optim.SGD(module.parameters(), lr=0.1)

    with refused("BatchNorm1d"):
        made(blobs, net=nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)))
    with refused("does not hold trainable parameter"):
        make_private(net, sgd(net[0]), data, SETTINGS)
    with refused("that the module does not"):
        make_private(net[0], sgd(net), data, SETTINGS)
    with refused("LBFGS"):
        make_private(net, torch.optim.LBFGS(net.parameters()), data, SETTINGS)
    run = make_private(net, sgd(net), data, SETTINGS)
    with refused("private already"):
        make_private(net, run.optimizer, data, SETTINGS)
    x, y = next(iter(run.loader))
    F.cross_entropy(net(x), y).backward()
    with refused("about to step on parameters that are trained privately"):
        sgd(net).step()


def test_rules_make_further_layers_trainable(blobs: Blobs) -> None:
    calls = []

    def rule(layer: nn.Module, a: Tensor, g: Tensor, _names: object) -> dict[str, Tensor]:
        calls.append(type(layer))
        return {"by": a * g}

    run = made(blobs, net=nn.Sequential(Scale(), nn.Linear(6, 2)), rules={Scale: rule})
    step(run.module, run.optimizer, *next(iter(run.loader)))
    assert set(calls) == {Scale}


def test_a_loader_that_samples_already_is_used_as_it_is_or_refused(blobs: Blobs) -> None:
    data = DataLoader(TensorDataset(*blobs), batch_size=8)
    with pytest.warns(UserWarning, match="accounting of its own"):
        bins = BallsInBinsLoader.from_loader(data, RandomStream.from_seed(0, "sampling"))
    with refused("its way to draw", SettingError):
        made(blobs, loader=bins)
    run = made(blobs, replace(SETTINGS, sampling="balls-in-bins"), loader=bins)
    assert run.loader is bins
    trained(run, epochs=1)
    assert {release.sampling for release in run.ledger.releases} == {"balls-in-bins"}
    with refused("another private optimizer steps on"):
        made(blobs, replace(SETTINGS, sampling="balls-in-bins"), loader=bins)
    with refused("its way to draw", SettingError):
        poisson = PoissonLoader.from_loader(data, RandomStream.from_seed(0, "sampling"))
        made(blobs, loader=poisson, privacy_units=PrivacyUnits(np.arange(40) // 2))


def test_batches_that_were_skipped_count_and_a_large_delta_is_warned_of(blobs: Blobs) -> None:
    run = made(blobs, random=RandomSource.from_seed(0))
    batches = iter(run.loader)
    for _ in range(3):
        step(run.module, run.optimizer, *next(batches))
    assert len(list(batches)) == 2
    with pytest.warns(UserWarning, match="went past 2 batches without a step"):
        spent = run.epsilon(1e-3)
    assert spent == pytest.approx(epsilon(1.0, 0.2, 5, 1e-3))
    with pytest.warns(UserWarning, match="went past 2 batches"):
        assert run.guarantee(1e-3).steps == 5
    beside = made(blobs, random=RandomSource.from_seed(1), ledger=run.ledger)
    with pytest.warns(UserWarning, match="went past 2 batches"):
        assert beside.epsilon(1e-3) == spent
    with pytest.warns(UserWarning, match=r"delta = 0.1 is not below 1/40"):
        beside.epsilon(0.1)


def test_weights_that_do_not_belong_to_a_loaded_state_are_refused(blobs: Blobs) -> None:
    first = made(blobs)
    trained(first, epochs=1)
    later = made(blobs)
    later.optimizer.load_state_dict(first.optimizer.state_dict())
    with refused("weights"):
        later.epsilon(1e-3)
    later.module.load_state_dict(first.module.state_dict())
    assert later.epsilon(1e-3) == first.epsilon(1e-3)


@pytest.mark.parametrize(
    ("source", "reproducible", "noise"),
    [
        (RandomSource.from_seed(0), True, "AES-256-CTR keyed by a seed"),
        (RandomSource.from_os_entropy(), False, "AES-256-CTR keyed by the operating system's entropy"),
        (None, False, "AES-256-CTR keyed by the operating system's entropy"),
        (RandomSource.from_secret_key(bytes(32)), False, "AES-256-CTR keyed by a secret key that is kept"),
    ],
)
def test_where_randomness_comes_from_is_recorded(
    blobs: Blobs, source: RandomSource | None, reproducible: bool, noise: str
) -> None:
    run = made(blobs, random=source)
    trained(run, epochs=1)
    assert run.report.reproducible == run.guarantee(1e-3).reproducible == reproducible
    assert run.report.runs[0].noise == noise
    with pytest.raises(SettingError, match="got a key of 3 bytes"):
        RandomSource.from_secret_key(b"abc")


@pytest.mark.parametrize("is_seeded", [True, False])
def test_a_loader_whose_batches_follow_from_a_seed_is_reproducible(blobs: Blobs, is_seeded: bool) -> None:
    """Also where the noise does not: who knows the batches knows more than sampling hides."""
    stream = RandomStream.from_seed(0) if is_seeded else RandomStream.from_os_entropy()
    loader = PoissonLoader.from_loader(DataLoader(TensorDataset(*blobs), batch_size=8), stream)
    run = made(blobs, loader=loader)
    trained(run, epochs=1)
    assert run.report.reproducible == run.guarantee(1e-3).reproducible == is_seeded


def test_noise_on_a_grid_takes_no_seed(blobs: Blobs) -> None:
    settings = replace(SETTINGS, mechanism="discrete gaussian")
    with refused("got a seed for noise on a grid; expected secret randomness", SettingError):
        made(blobs, settings, random=RandomSource.from_seed(0))
    run = made(blobs, settings)
    trained(run, epochs=1)
    assert run.report.secure_mode
    assert {release.mechanism for release in run.ledger.releases} == {"discrete gaussian"}
    assert run.guarantee(1e-3).noise == "discrete gaussian"


def test_a_kept_key_repeats_a_step_and_gives_other_sums_other_noise(blobs: Blobs) -> None:
    def noise_of_first_step(x: Tensor) -> Tensor:
        plan = replace(SETTINGS, clipping=FlatClipping(1e-3), noise_multiplier=1e3)
        run = made((x, blobs[1]), plan, batch=40, random=RandomSource.from_secret_key(bytes(range(32))))
        step(run.module, run.optimizer, *next(iter(run.loader)))
        return torch.cat([p.grad.flatten() for p in run.module.parameters()])

    once, again, other = (noise_of_first_step(x) for x in (blobs[0], blobs[0], -blobs[0]))
    assert torch.equal(once, again)
    assert (once - other).norm() > 0.5 * once.norm()


def test_errors_of_one_process_are_told_to_the_others(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[int, ...]] = []
    monkeypatch.setattr(private, "current_world", lambda: World(1, 2))
    monkeypatch.setattr(
        World, "_all_gather_padded", lambda _world, numbers: heard.append(tuple(numbers)) or []
    )
    with pytest.raises(PrivacyError, match="BatchNorm1d"):
        made(blobs, net=nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)))
    assert heard == [(-1,)]
