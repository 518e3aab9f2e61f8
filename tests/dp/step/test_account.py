"""Ways to break the noise or the count through the public interface: each is refused, or does no harm."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError, QuintainError, SettingError
from quintain.dp import BatchMemoryManager, DPDataLoader, Ledger, PrivacyEngine, Release
from tests.dp.support.loops import refused, step


def test_a_batch_that_was_stepped_on_is_not_drawn_again(private) -> None:
    net, optimizer, loader, engine = private()
    for x, y in loader:
        step(net, optimizer, x, y)
    loader.batches_drawn = 0
    batch = next(iter(loader))
    assert loader.batches_drawn == 6
    loader.batches_drawn = 3
    with refused("another batch|already used"):
        step(net, optimizer, *batch)
    with refused("earlier"):
        loader.mark_consumed(0)
    with pytest.raises(AttributeError):
        loader.last_stepped_batch = 0
    assert engine.ledger.steps == 5


def test_the_state_of_another_optimizer_does_not_rewind_the_noise(blobs) -> None:
    engine, made = PrivacyEngine(), []
    for steps in (3, 1):
        net = nn.Linear(6, 2)
        net, optimizer, loader = engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(*blobs), batch_size=8),
        )
        for (x, y), _ in zip(loader, range(steps), strict=False):
            step(net, optimizer, x, y)
        made.append(optimizer)
    with refused("drawn already"):
        made[0].load_state_dict(made[1].state_dict())
    assert made[0].steps == 3


def test_an_old_state_forgets_nothing(private) -> None:
    net, optimizer, loader, engine = private()
    step(net, optimizer, *next(iter(loader)))
    old = copy.deepcopy(optimizer.state_dict())
    step(net, optimizer, *next(iter(loader)))
    with refused("lacks 1 of those"):
        optimizer.load_state_dict(old)
    assert (engine.ledger.steps, optimizer.steps, loader.batches_drawn) == (2, 2, 2)


@pytest.mark.parametrize(
    "name", ["loader", "ledger", "stream", "capture", "inner", "secure_mode", "budget", "steps"]
)
def test_what_the_account_rests_on_is_not_exchanged(private, name: str) -> None:
    net, optimizer, loader, _ = private()
    step(net, optimizer, *next(iter(loader)))
    with pytest.raises((PrivacyError, AttributeError), match=f"another '{name}'|has no setter"):
        setattr(optimizer, name, getattr(optimizer.private_step, name))
    step(net, optimizer, *next(iter(loader)))


@pytest.mark.parametrize("name", ["ledger", "accountant", "secure_mode"])
def test_what_an_engine_counts_with_is_not_exchanged(private, name: str) -> None:
    _, _, _, engine = private()
    with refused(f"another '{name}' for a PrivacyEngine"):
        setattr(engine, name, getattr(PrivacyEngine(secure_mode=True), name))


@pytest.mark.parametrize("what", ["batches", "noise"])
def test_two_runs_of_an_engine_do_not_draw_from_one_seed(blobs, what: str) -> None:
    """Equal noise cancels out, and equal batches add up, whether or not anybody knows the seed."""
    engine = PrivacyEngine()

    def made(seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        data = TensorDataset(*blobs)
        loader = (
            DPDataLoader(data, sample_rate=0.2, generator=generator)
            if what == "batches"
            else DataLoader(data, batch_size=8)
        )
        net = nn.Linear(6, 2)
        noise = {"noise_generator": generator} if what == "noise" else {}
        engine.make_private(
            module=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), data_loader=loader, **noise
        )

    made(1)
    made(2)
    with refused(f"a seed for the {what} that those of another run", SettingError):
        made(1)


def test_a_module_that_another_engine_has_trained_is_warned_of(private, blobs) -> None:
    net, optimizer, loader, engine = private()
    step(net, optimizer, *next(iter(loader)))

    def again(here: PrivacyEngine) -> None:
        data = DataLoader(TensorDataset(*blobs), batch_size=8)
        made = here.make_private(
            module=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), data_loader=data
        )
        made[1].capture.remove()

    optimizer.capture.remove()
    with pytest.warns(UserWarning, match="this module was trained for 1 steps that another ledger"):
        again(PrivacyEngine())
    for here in (engine, PrivacyEngine()):
        here.ledger.load_state_dict(engine.ledger.state_dict())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            again(here)


def test_a_module_that_has_gone_on_since_the_state_was_saved_is_warned_of(private, blobs) -> None:
    net, optimizer, loader, engine = private()
    states = []
    for _ in range(4):
        step(net, optimizer, *next(iter(loader)))
        states.append(engine.accountant.state_dict())
    optimizer.capture.remove()
    for counted, missing in ((1, 3), (3, 1), (4, 0)):
        here = PrivacyEngine()
        here.accountant.load_state_dict(states[counted - 1])
        assert here.ledger.count_missing(engine.ledger) == missing
    here = PrivacyEngine()
    here.accountant.load_state_dict(states[0])
    with pytest.warns(UserWarning, match="this module was trained for 3 steps that another ledger"):
        here.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
            data_loader=DataLoader(TensorDataset(*blobs), batch_size=8),
        )


def test_what_a_ledger_lacks_of_another_is_all_after_they_parted() -> None:
    one = Ledger([Release(1.0, 1, 2, 3)])
    early, both = Ledger(), Ledger()
    early.load_state_dict(one.state_dict())
    both.load_state_dict(one.state_dict())
    one.record(Release(1.0, 1, 2, 2))
    both.record(Release(1.0, 1, 2, 4))
    assert [
        early.count_missing(one),
        one.count_missing(early),
        both.count_missing(one),
        one.count_missing(both),
        one.count_missing(one),
    ] == [2, 0, 2, 4, 0]
    assert [
        Ledger().count_missing(one),
        one.count_missing(Ledger()),
        Ledger([Release(1.0, 1, 2)]).count_missing(one),
    ] == [5, 0, 5]


@pytest.mark.parametrize(
    ("name", "value"), [("num_units", 10**6), ("expected_batch_size", 1), ("stream", None), ("units", None)]
)
def test_how_batches_are_drawn_is_not_changed(private, name: str, value: object) -> None:
    _, _, loader, _ = private()
    with refused(name):
        setattr(loader, name, value)


@pytest.mark.filterwarnings("ignore:batches of shuffled data")
def test_passes_over_shuffled_data_do_not_get_longer(private) -> None:
    _, optimizer, loader, _ = private(poisson_sampling=False)
    with refused("steps_per_epoch"):
        loader.steps_per_epoch = 10**6
    assert optimizer.private_step.account.next_release.steps_per_epoch == 5


@pytest.mark.parametrize(
    "change", [{"steps": -3}, {"noise_multiplier": -1.0}, {"num_units": 0}, {"expected_batch_size": 41}]
)
def test_a_release_that_cannot_be_is_not_recorded(change: dict[str, float]) -> None:
    with pytest.raises(QuintainError, match="got"):
        Release(**{"noise_multiplier": 1.0, "expected_batch_size": 8, "num_units": 40, **change})


def test_an_error_within_a_step_leaves_it_counted_and_the_batch_used(
    private, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, optimizer, loader, engine = private()
    x, y = next(iter(loader))
    F.cross_entropy(net(x), y).backward()
    with monkeypatch.context() as patch:
        patch.setattr(
            type(optimizer.private_step.stream), "add_gaussian", lambda *_: (_ for _ in ()).throw(MemoryError)
        )
        with pytest.raises(MemoryError) as caught:
            optimizer.step()
    assert "its batch is used up" in caught.value.__notes__[0]
    assert engine.ledger.steps == 1
    assert all(p.grad is None for p in net.parameters())
    for again in (
        optimizer.step,
        optimizer.scale_grad,
        optimizer.add_noise,
        optimizer.original_optimizer.step,
    ):
        with refused("expected"):
            again()
    step(net, optimizer, *next(iter(loader)))
    assert engine.ledger.steps == 2


def test_a_gradient_scaler_cannot_skip_a_step_in_silence(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    scaler = torch.amp.GradScaler("cpu")
    x, y = next(iter(loader))
    scaler.scale(F.cross_entropy(net(x), y)).backward()
    with refused("got a GradScaler that is about to step"):
        scaler.step(optimizer)
    assert engine.ledger.steps == 0


def test_every_batch_holds_all_at_a_rate_of_one_and_costs_as_much(private) -> None:
    net, optimizer, loader, engine = private(batch=40, noise_multiplier=2.0)
    x, y = next(iter(loader))
    assert len(x) == 40
    step(net, optimizer, x, y)
    assert engine.get_epsilon(1e-5) == pytest.approx(1.9931, rel=2e-3)


def test_empty_batches_in_pieces_are_steps_of_noise(private) -> None:
    net, optimizer, loader, engine = private(batch=1, noise_multiplier=1.0)
    sizes = []
    with BatchMemoryManager(data_loader=loader, max_physical_batch_size=1, optimizer=optimizer) as pieces:
        for x, y in pieces:
            sizes.append(loader.logical_batch_size)
            step(net, optimizer, x, y)
            if not len(x):
                assert all((p.grad != 0).all() for p in net.parameters())
    assert 0 in sizes
    assert engine.ledger.steps == loader.batches_drawn == 40


def test_a_list_of_batches_gives_one_step(private) -> None:
    net, optimizer, loader, engine = private(batch=40)
    batches = list(loader) + list(loader)
    step(net, optimizer, *batches[0])
    with refused("already used"):
        step(net, optimizer, *batches[1])
    assert engine.ledger.steps == 1


def test_two_iterations_at_a_time_share_their_draws(private) -> None:
    net, optimizer, loader, engine = private(batch=20)
    for (x, y), _ in zip(loader, loader, strict=False):
        if len(x) == loader.logical_batch_size:
            step(net, optimizer, x, y)
        with refused("expected"):
            step(net, optimizer, x, y)
        optimizer.zero_grad()
    assert engine.ledger.steps <= loader.batches_drawn


def test_two_optimizers_do_not_step_on_one_draw(blobs) -> None:
    engine, data = PrivacyEngine(), DataLoader(TensorDataset(*blobs), batch_size=8)

    def made(loader):
        net = nn.Linear(6, 2)
        return engine.make_private(
            module=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1), data_loader=loader
        )

    _, first, loader = made(data)
    with refused("another private optimizer steps on"):
        made(loader)
    first.capture.remove()
    net, second, same = made(loader)
    assert same is loader
    step(net, second, *next(iter(loader)))
    assert engine.ledger.steps == 1
