"""The state of a private optimizer: whole, of the run that is asked for, and never of fewer steps than were
spent.
"""

import copy
import json
import pickle
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import BudgetExceededError
from quintain.dp import PrivacyEngine
from quintain.dp.opacus.schedulers import ExponentialNoise
from tests.dp.support.loops import refused, step


def run(private, steps: int = 4, **settings):
    net, optimizer, loader, engine = private(**settings)
    batches = iter(loader)
    for _ in range(steps):
        step(net, optimizer, *next(batches))
    return net, optimizer, loader, engine


def test_a_state_that_was_edited_is_refused(private) -> None:
    _, optimizer, _, _ = run(private, noise_multiplier=2.0)
    changes = {
        "ledger cut": lambda privacy: privacy["ledger"]["releases"][0].update(steps=1),
        "ledger left out": lambda privacy: privacy.pop("ledger"),
        "sigma": lambda privacy: privacy.update(noise_multiplier=20.0),
        "steps": lambda privacy: privacy.update(steps=0),
        "seal": lambda privacy: privacy.pop("seal"),
    }
    for name, change in changes.items():
        state = copy.deepcopy(optimizer.state_dict())
        change(state["privacy"])
        _, fresh, _, engine = private(noise_multiplier=2.0)
        with refused("its hash is another|without its checksum"):
            fresh.load_state_dict(state)
        assert (engine.ledger.steps, fresh.steps, fresh.noise_multiplier) == (0, 0, 2.0), name


def test_a_state_that_is_damaged_is_refused_by_name(private) -> None:
    _, optimizer, _, _ = run(private)
    changes = {
        "digits of a generator": lambda state: state["privacy"].update(
            generators={"cpu": torch.zeros(3, dtype=torch.uint8)}
        ),
        "generators": lambda state: state["privacy"].update(generators=5),
        "privacy": lambda state: state.update(privacy=[]),
        "no state": lambda state: state.pop("state"),
        "state": lambda state: state.update(state=5),
        "groups": lambda state: state["param_groups"].append({"params": [7]}),
    }
    for change in changes.values():
        state = copy.deepcopy(optimizer.state_dict())
        change(state)
        _, fresh, _, _ = private()
        with refused("expected"):
            fresh.load_state_dict(state)


def test_a_checkpoint_that_is_damaged_is_refused_by_name(private, tmp_path: Path) -> None:
    net, optimizer, _, engine = run(private)
    schedule = ExponentialNoise(optimizer, gamma=1.0)
    engine.save_checkpoint(path=tmp_path / "c.pt", module=net, optimizer=optimizer, noise_scheduler=schedule)
    for key, value in (
        ("module_state_dict", None),
        ("noise_scheduler_state_dict", 5),
        ("optimizer_state_dict", {"privacy": 5}),
    ):
        content = torch.load(tmp_path / "c.pt")
        content[key] = value
        torch.save(content, tmp_path / "d.pt")
        net, optimizer, _, engine = private()
        schedule = ExponentialNoise(optimizer, gamma=1.0)
        with refused("expected"):
            engine.load_checkpoint(
                path=tmp_path / "d.pt", module=net, optimizer=optimizer, noise_scheduler=schedule
            )


def test_a_whole_state_is_taken_even_through_json(private) -> None:
    _, optimizer, _, engine = run(private, noise_multiplier=2.0)
    state = optimizer.state_dict()
    state["privacy"] = json.loads(json.dumps(state["privacy"]))
    _, fresh, loader, other = private(noise_multiplier=2.0)
    fresh.load_state_dict(state)
    assert other.ledger.releases == engine.ledger.releases
    assert (fresh.steps, loader.batches_drawn) == (4, 4)


@pytest.mark.parametrize("name", ["noise_multiplier", "max_grad_norm"])
def test_a_state_does_not_override_what_was_just_asked_for(private, name: str) -> None:
    _, optimizer, _, _ = run(private, **{name: 2.0})
    state = optimizer.state_dict()
    _, fresh, _, engine = private(**{name: 3.0})
    with refused(rf"{name} = 2\.0, for one with 3\.0.*set optimizer\.{name} after"):
        fresh.load_state_dict(state)
    assert (engine.ledger.steps, getattr(fresh, name)) == (0, 3.0)
    _, fresh, _, engine = private(**{name: 2.0})
    fresh.load_state_dict(state)
    setattr(fresh, name, 3.0)
    assert (engine.ledger.steps, getattr(fresh, name)) == (4, 3.0)


def test_a_scheduled_number_goes_on_where_it_was(private) -> None:
    _, optimizer, _, _ = private(noise_multiplier=2.0)
    schedule = ExponentialNoise(optimizer, gamma=0.5)
    schedule.step()
    assert optimizer.noise_multiplier == 1.0
    _, fresh, _, _ = private(noise_multiplier=2.0)
    fresh.load_state_dict(optimizer.state_dict())
    assert fresh.noise_multiplier == 1.0


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_is_refused_and_breaks_no_private_optimizer(private, copied) -> None:
    net, optimizer, loader, engine = private()
    with refused("copy or pickle a private optimizer"):
        copied(optimizer)
    other = private()
    for made in ((net, optimizer, loader), other[:3]):
        step(made[0], made[1], *next(iter(made[2])))
    assert engine.ledger.steps == other[3].ledger.steps == 1


def test_a_checkpoint_with_the_ledger_of_another_is_refused(private, tmp_path: Path) -> None:
    net, optimizer, _, engine = run(private)
    engine.save_checkpoint(path=tmp_path / "run.pt", module=net, optimizer=optimizer)
    content = torch.load(tmp_path / "run.pt", weights_only=True)
    _, _, _, short = run(private, 1)
    content["privacy_accountant_state_dict"] = short.ledger.state_dict()
    torch.save(content, tmp_path / "run.pt")
    fresh_net, fresh, _, fresh_engine = private()
    with refused("not saved together"):
        fresh_engine.load_checkpoint(path=tmp_path / "run.pt", module=fresh_net, optimizer=fresh)


def test_weights_whose_cost_is_refused_do_not_get_in(private, tmp_path: Path) -> None:
    net, optimizer, _, engine = run(private)
    engine.save_checkpoint(path=tmp_path / "run.pt", module=net, optimizer=optimizer)
    other, fresh, _, other_engine = run(private, 1)
    before = copy.deepcopy(other.state_dict())
    with refused("another run"):
        other_engine.load_checkpoint(path=tmp_path / "run.pt", module=other, optimizer=fresh)
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("first", ["module", "optimizer"])
@pytest.mark.parametrize("later", [0, 2])
def test_weights_of_later_steps_are_refused_with_the_state_of_earlier_ones(
    private, first: str, later: int
) -> None:
    net, optimizer, loader, _ = run(private)
    state = copy.deepcopy(optimizer.state_dict())
    for _ in range(later):
        step(net, optimizer, *next(iter(loader)))
    fresh_net, fresh, loader, engine = private()
    loads = {
        "module": lambda: fresh_net.load_state_dict(net.state_dict()),
        "optimizer": lambda: fresh.load_state_dict(state),
    }
    for name in sorted(loads, key=lambda name: name != first):
        loads[name]()
    if not later:
        for _ in range(2):
            step(fresh_net, fresh, *next(iter(loader)))
        assert engine.ledger.steps == 6
        return
    before = copy.deepcopy(fresh_net.state_dict())
    for _ in range(2):
        with refused(r"'0.weight' \(4 of 5\).*weights of later steps.*load the ledger alone"):
            step(fresh_net, fresh, *next(iter(loader)))
    assert engine.ledger.steps == 4
    assert all(torch.equal(value, before[name]) for name, value in fresh_net.state_dict().items())


def test_a_state_that_was_loaded_and_saved_again_still_knows_its_weights(private) -> None:
    """Nor does one step's refusal let the next one through."""
    net, optimizer, loader, _ = run(private)
    state = copy.deepcopy(optimizer.state_dict())
    step(net, optimizer, *next(iter(loader)))
    for _ in range(2):
        fresh_net, fresh, loader, _ = private()
        fresh.load_state_dict(state)
        fresh_net.load_state_dict(net.state_dict())
        state = copy.deepcopy(fresh.state_dict())
    with refused("weights of later steps"):
        step(fresh_net, fresh, *next(iter(loader)))


def test_other_weights_go_on_over_the_ledger_alone(private) -> None:
    _, optimizer, _, _ = run(private)
    net, fresh, loader, engine = private()
    engine.ledger.load_state_dict(optimizer.state_dict()["privacy"]["ledger"])
    step(net, fresh, *next(iter(loader)))
    assert (engine.ledger.steps, engine.report.fixed_beforehand) == (5, False)


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_with_the_weights_of_another_file_is_refused(private, whole: bool, tmp_path: Path) -> None:
    net, optimizer, loader, engine = private()
    files = []
    for name in ("early.pt", "late.pt"):
        step(net, optimizer, *next(iter(loader)))
        engine.save_checkpoint(path=tmp_path / name, module=net, optimizer=optimizer if whole else None)
        files.append(torch.load(tmp_path / name, weights_only=True))
    torch.save({**files[0], "module_state_dict": files[1]["module_state_dict"]}, tmp_path / "mixed.pt")
    torch.save(
        {**files[0], **{name: files[1][name] for name in ("module_state_dict", "privacy_weights")}},
        tmp_path / "both.pt",
    )
    for name in ("mixed.pt", "both.pt"):
        other, fresh, _, fresh_engine = private()
        before = copy.deepcopy(other.state_dict())
        with refused("weights and a ledger that were not saved together"):
            fresh_engine.load_checkpoint(
                path=tmp_path / name, module=other, optimizer=fresh if whole else None
            )
        assert fresh_engine.ledger.steps == 0
        assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())
    _, fresh, _, fresh_engine = private()
    fresh_engine.load_checkpoint(path=tmp_path / "late.pt", module=other, optimizer=fresh if whole else None)
    assert fresh_engine.ledger.steps == 2


def test_what_a_record_says_of_noise_is_true_of_the_steps_before_it_went_on(private) -> None:
    _, optimizer, _, _ = run(private, noise_multiplier=2.0, seed=0)
    engine = PrivacyEngine(secure_mode=True)
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    data = DataLoader(TensorDataset(torch.randn(40, 6), torch.arange(40) % 2), batch_size=8)
    plain = torch.optim.SGD(net.parameters(), lr=0.1)
    _, fresh, _ = engine.make_private(module=net, optimizer=plain, data_loader=data, noise_multiplier=2.0)
    assert (engine.report.reproducible, engine.report.secure_mode) == (False, True)
    fresh.load_state_dict(optimizer.state_dict())
    assert (engine.report.reproducible, engine.report.secure_mode) == (True, False)


def test_numbers_of_numpy_and_torch_are_numbers(private) -> None:
    _, optimizer, _, _ = run(private, 1, noise_multiplier=np.float32(2.0), max_grad_norm=torch.tensor(0.5))
    optimizer.noise_multiplier = np.float32(4.0)
    optimizer.max_grad_norm = torch.tensor(0.25)
    privacy = json.loads(json.dumps(optimizer.state_dict()["privacy"]))
    assert (privacy["noise_multiplier"], privacy["max_grad_norm"], privacy["asked"]) == (
        4.0,
        0.25,
        [4.0, 0.25],
    )


def private_with_epsilon(engine: PrivacyEngine, *, epochs: int = 2):
    net = nn.Linear(6, 2)
    return engine.make_private_with_epsilon(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(torch.randn(40, 6), torch.arange(40) % 2), batch_size=10),
        target_epsilon=2.0,
        target_delta=1e-3,
        epochs=epochs,
        wrap_model=False,
    )


def train(net, optimizer, loader, epochs: int) -> None:
    for _ in range(epochs):
        for x, y in loader:
            step(net, optimizer, x, y)


@pytest.mark.parametrize("accountant", ["pld", "prv"])
def test_a_target_holds_for_all_runs_and_epochs_of_its_engine(accountant: str) -> None:
    engine = PrivacyEngine(accountant=accountant)
    made = [private_with_epsilon(engine) for _ in range(2)]
    train(*made[0], epochs=6)
    assert engine.ledger.steps == 8
    train(*made[1], epochs=2)
    assert 1.9 < engine.get_epsilon(1e-3) <= 2.0
    made[0][2].should_stop = lambda: False
    with pytest.raises(BudgetExceededError, match="would cost more than epsilon = 2"):
        train(*made[0], epochs=1)


def test_a_run_without_a_budget_keeps_to_that_of_its_engine() -> None:
    """One made before, and one made after: else a target would be broken by the run beside it."""
    engine = PrivacyEngine()

    def unbudgeted(**settings):
        net = nn.Linear(6, 2)
        data = DataLoader(TensorDataset(torch.randn(40, 6), torch.arange(40) % 2), batch_size=10)
        return engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=data,
            noise_multiplier=1.0,
            **settings,
        )

    runs = [unbudgeted(), private_with_epsilon(engine), unbudgeted()]
    for run in runs[::-1]:
        train(*run, epochs=2)
    assert 0 < engine.get_epsilon(1e-3) <= 2.0
    assert [run.stop_at_epsilon for run in engine.report.runs] == [(2.0, 1e-3)] * 3
    train(*unbudgeted(stop_at_epsilon=(9.0, 1e-3)), epochs=2)
    assert 2.0 < engine.get_epsilon(1e-3) <= 9.0


MOMENTUM = {"SGD": {"momentum": 0.9}, "Adam": {}}


@pytest.mark.parametrize("kind", MOMENTUM)
@pytest.mark.parametrize("through", ["state", "file"])
def test_momentum_of_later_steps_is_refused_with_the_ledger_of_earlier_ones(
    blobs, kind: str, through: str, tmp_path: Path
) -> None:
    """Momentum carries what the later steps released into the weights, and the ledger would not count it."""

    def fresh():
        net, engine = nn.Linear(6, 2), PrivacyEngine(seed=0)
        loader = DataLoader(TensorDataset(*blobs), batch_size=8)
        inner = getattr(torch.optim, kind)(net.parameters(), lr=0.1, **MOMENTUM[kind])
        return *engine.make_private(module=net, optimizer=inner, data_loader=loader, wrap_model=False), engine

    net, optimizer, loader, engine = fresh()
    states, weights = [], copy.deepcopy(net.state_dict())
    for _ in range(2):
        step(net, optimizer, *next(iter(loader)))
        states.append(copy.deepcopy(optimizer.state_dict()))
        weights = weights if len(states) > 1 else copy.deepcopy(net.state_dict())
        engine.save_checkpoint(path=tmp_path / f"{len(states)}.pt", module=net, optimizer=optimizer)
    for later in (0, 1):
        net, optimizer, loader, engine = fresh()
        mixed = {**states[later], "privacy": states[0]["privacy"]}
        content = {**torch.load(tmp_path / "1.pt", weights_only=True), "optimizer_state_dict": mixed}
        torch.save(content, tmp_path / "mixed.pt")
        with refused("at another moment") if later else nullcontext():
            if through == "state":
                net.load_state_dict(weights)
                optimizer.load_state_dict(mixed)
            else:
                engine.load_checkpoint(path=tmp_path / "mixed.pt", module=net, optimizer=optimizer)
            step(net, optimizer, *next(iter(loader)))
        assert (engine.ledger.steps == 2) != later


@pytest.mark.parametrize("whole", [True, False])
def test_weights_of_later_steps_are_neither_saved_nor_accounted_over_an_earlier_ledger(
    private, whole: bool, tmp_path: Path
) -> None:
    net, optimizer, loader, _ = run(private)
    early, state = copy.deepcopy(net.state_dict()), copy.deepcopy(optimizer.state_dict())
    step(net, optimizer, *next(iter(loader)))
    other, fresh, _, engine = private()
    other.load_state_dict(net.state_dict())
    fresh.load_state_dict(state)
    for ask in (
        lambda: engine.get_epsilon(1e-5),
        lambda: engine.save_checkpoint(
            path=tmp_path / "c.pt", module=other, optimizer=fresh if whole else None
        ),
    ):
        with refused("weights of later steps cost more"):
            ask()
    assert not (tmp_path / "c.pt").exists()
    other.load_state_dict(early)
    assert engine.get_epsilon(1e-5) > 0
    other.load_state_dict(net.state_dict())
    with refused("weights of later steps cost more"):
        step(other, fresh, *next(iter(fresh.loader)))


@pytest.mark.parametrize("part", ["frozen", "buffer"])
def test_what_is_not_trained_belongs_to_a_state_as_well(private, part: str) -> None:
    """A frozen layer of other values may have been trained on the same records."""

    def net() -> nn.Module:
        torch.manual_seed(0)
        made = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2))
        made[0].requires_grad_(False)
        made.register_buffer("scale", torch.ones(3, dtype=torch.complex64))
        return made

    first, optimizer, _, _ = run(private, net=net())
    for same in (True, False):
        again = net()
        again.load_state_dict(first.state_dict())
        again, fresh, loader, _ = private(again)
        fresh.load_state_dict(optimizer.state_dict())
        if not same:
            (again[0].weight if part == "frozen" else again.scale).data.mul_(2)
        with nullcontext() if same else refused("what is not trained"):
            step(again, fresh, *next(iter(loader)))
