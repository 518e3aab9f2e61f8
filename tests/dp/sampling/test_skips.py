"""Batches that are drawn are stepped on, one after another: what is left out could tell of a record in it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.dp import BatchMemoryManager, PrivacyEngine
from tests.dp.support.loops import refused, step


def flat(net: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def trained(private, *, look) -> torch.Tensor:
    """Weights after ten steps, where ``look`` may do something with the loader between them."""
    torch.manual_seed(0)
    net, optimizer, loader, engine = private(batch=8)
    look(net, loader)
    for _ in range(2):
        for x, y in loader:
            step(net, optimizer, x, y)
        look(net, loader)
    assert engine.ledger.steps == optimizer.steps == loader.last_stepped_batch == 10
    return flat(net)


@pytest.mark.parametrize("why", ["size", "loss"])
def test_a_step_after_batches_that_were_left_out_is_refused(private, why: str) -> None:
    """By size, the number of steps tells how many batches were small; by loss, that an outlier was drawn."""
    net, optimizer, loader, engine = private(batch=8)
    done = 0
    with refused("after 2 that were drawn and not stepped on; expected a step on every batch"):
        for turn, (x, y) in enumerate(loader):
            if turn in (1, 2):
                if why == "loss":
                    optimizer.zero_grad()
                    F.cross_entropy(net(x), y).backward()
                continue
            step(net, optimizer, x, y)
            done += 1
    assert done == engine.ledger.steps == 1


def test_what_was_left_out_comes_again(private) -> None:
    net, optimizer, loader, engine = private(batch=8)
    rows = []
    for turn, (x, y) in enumerate(loader):
        rows.append(loader.physical_batch.rows.tolist())
        if turn < 2:
            step(net, optimizer, x, y)
    again = []
    for x, y in loader:
        again.append(loader.physical_batch.rows.tolist())
        step(net, optimizer, x, y)
    assert again[:3] == rows[2:]
    assert engine.ledger.steps == 7


@pytest.mark.parametrize("look", ["first", "all", "break", "in evaluation"])
def test_looking_at_batches_changes_nothing(private, look: str) -> None:
    def looked(net: nn.Module, loader) -> None:
        if look == "first":
            x, _ = next(iter(loader))
            assert x.shape[1:] == (6,)
        elif look == "all":
            assert len([len(x) for x, _ in loader]) == 5
        elif look == "break":
            for turn, _ in enumerate(loader):
                if turn == 2:
                    break
        else:
            net.eval()
            for x, _ in loader:
                net(x)
            net.train()

    assert torch.equal(trained(private, look=looked), trained(private, look=lambda *_: None))


@pytest.mark.parametrize("poisson", [True, False])
@pytest.mark.filterwarnings("ignore:batches of shuffled data")
def test_batches_left_out_at_the_end_count_and_are_warned_of(private, poisson: bool) -> None:
    def spent(*, skip: int) -> float:
        net, optimizer, loader, engine = private(batch=8, noise_multiplier=2.0, poisson_sampling=poisson)
        for _ in range(2):
            for x, y in loader:
                if optimizer.steps < 10 - skip:
                    step(net, optimizer, x, y)
        assert optimizer.steps == 10 - skip
        if not skip:
            return engine.get_epsilon(1e-3)
        with pytest.warns(UserWarning, match=f"went past {skip} batches without a step"):
            return engine.get_epsilon(1e-3)

    whole = spent(skip=0)
    assert spent(skip=1) == spent(skip=3) == whole


def test_a_loop_that_ends_by_itself_counts_its_steps_alone(private) -> None:
    net, optimizer, loader, engine = private(batch=8, noise_multiplier=2.0)
    for x, y in loader:
        if optimizer.steps == 3:
            break
        step(net, optimizer, x, y)
    before = engine.get_epsilon(1e-3)
    net.eval()
    assert len(list(loader)) == 5
    assert engine.get_epsilon(1e-3) == before


def test_batches_looked_at_before_training_do_not_count(private) -> None:
    """The module is in training mode by default, also while a loop measures its batches."""
    net, optimizer, loader, engine = private(batch=8, noise_multiplier=2.0)
    assert len([len(x) for x, _ in loader]) == 5
    for x, y in loader:
        step(net, optimizer, x, y)
        if optimizer.steps == 2:
            break
    assert engine.get_epsilon(1e-3) == engine.ledger.epsilon(1e-3)


def test_a_half_that_was_dropped_is_not_taken_for_a_second_use(private) -> None:
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=30)
    x, y = next(iter(loader))
    halves = slice(len(x) // 2), slice(len(x) // 2, None)
    F.cross_entropy(net(x[halves[0]]), y[halves[0]]).backward()
    net(x[halves[1]])
    optimizer.zero_grad()
    for half in halves:
        F.cross_entropy(net(x[half]), y[half]).backward()
    optimizer.step()
    assert engine.ledger.steps == 1


def test_a_batch_left_in_its_middle_begins_again(private) -> None:
    net, optimizer, loader, engine = private(batch=20, max_grad_norm=0.3, noise_multiplier=0.0)
    other, plain, _, _ = private(copy.deepcopy(net), batch=20, max_grad_norm=0.3, noise_multiplier=0.0)
    with BatchMemoryManager(data_loader=loader, max_physical_batch_size=6, optimizer=optimizer) as pieces:
        for _ in range(2):
            step(net, optimizer, *next(iter(pieces)))
        for x, y in pieces:
            step(net, optimizer, x, y)
    for x, y in plain.loader:
        step(other, plain, x, y)
    assert engine.ledger.steps == 2
    torch.testing.assert_close(flat(net), flat(other))


@pytest.mark.parametrize("how", ["in one pass", "in two passes", "in pieces", "as a dict", "as doubles"])
def test_half_of_a_batch_twice_is_refused(private, how: str) -> None:
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=30, seed=None)
    if how == "in pieces":
        loader.max_physical_batch_size = 10
    for x, y in loader:
        half = len(x) // 2
        x, y = torch.cat([x[:half], x[: len(x) - half]]), torch.cat([y[:half], y[: len(y) - half]])
        optimizer.zero_grad()
        if how == "in two passes":
            for part in (slice(half), slice(half, None)):
                F.cross_entropy(net(x[part]), y[part]).backward()
        elif how == "as doubles":
            F.cross_entropy(net(x.double().float()), y).backward()
        else:
            F.cross_entropy(net(input=x) if how == "as a dict" else net(x), y).backward()
        with refused(r"rows of the batch twice or more, and \d+ others not at all"):
            optimizer.step()
        break
    assert engine.ledger.steps == 0


@pytest.mark.parametrize("how", ["shuffled", "cut", "augmented", "coarse", "on repeated data"])
def test_batches_that_are_used_whole_pass(private, blobs, how: str) -> None:
    if how in ("coarse", "on repeated data"):
        blobs[0].copy_(blobs[0].sign() if how == "coarse" else blobs[0][:1].expand(40, 6))
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=30)
    for x, y in loader:
        optimizer.zero_grad()
        parts = torch.randperm(len(x)).split(len(x) if how != "cut" else 7)
        for rows in parts:
            given = x[rows].roll(1, 1) if how == "augmented" else x[rows]
            F.cross_entropy(net(given), y[rows]).backward()
        optimizer.step()
    assert engine.ledger.steps == 2


@pytest.mark.parametrize("kept", ["zeros", "whole numbers"])
def test_inputs_that_look_like_a_column_of_row_numbers_are_not_taken_for_it(kept: str) -> None:
    """Row numbers in the batch, from 0: inputs that are all 0, or that are few small whole numbers, are among
    them and no rows twice.
    """
    x = torch.zeros(40, 1) if kept == "zeros" else torch.arange(40)[:, None] % 2.0
    net = nn.Linear(1, 2)
    net, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(x, torch.arange(40) % 2, torch.arange(40)), batch_size=30),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    for given, y, _ in loader:
        step(net, optimizer, given, y)
    assert optimizer.steps == 2


def test_a_state_written_with_a_batch_in_hand_does_not_leave_it_out(private) -> None:
    net, optimizer, loader, _ = private(batch=8)
    batches = iter(loader)
    step(net, optimizer, *next(batches))
    next(batches)
    rows, state, weights = loader.physical_batch.rows.tolist(), optimizer.state_dict(), net.state_dict()
    net, optimizer, loader, engine = private(batch=8)
    net.load_state_dict(weights)
    optimizer.load_state_dict(state)
    batch = next(iter(loader))
    assert loader.physical_batch.rows.tolist() == rows
    step(net, optimizer, *batch)
    assert engine.ledger.steps == 2


@pytest.mark.parametrize(
    ("settings", "when"),
    [
        pytest.param(settings, when, marks=() if (place + turn) % 2 == 0 else pytest.mark.exhaustive)
        for place, settings in enumerate(({}, {"max_physical_batch_size": 3}, {"poisson_sampling": False}))
        for turn, when in enumerate(("before the step", "after the step"))
    ],
)
@pytest.mark.filterwarnings("ignore:batches of shuffled data")
def test_an_evaluation_inside_the_loop_over_the_same_loader_changes_nothing(
    private, when: str, settings
) -> None:
    def trained(evaluate) -> torch.Tensor:
        torch.manual_seed(0)
        net, optimizer, loader, engine = private(batch=8, **settings)
        for _ in range(2):
            for x, y in loader:
                if when == "before the step":
                    evaluate(net, loader)
                step(net, optimizer, x, y)
                if when == "after the step":
                    evaluate(net, loader)
        assert engine.ledger.steps == optimizer.steps == loader.last_stepped_batch == 10
        return flat(net)

    def look(net: nn.Module, loader, *, until: int) -> None:
        net.eval()
        for turn, (x, _) in enumerate(loader):
            net(x)
            if turn == until:
                break
        net.train()

    plain = trained(lambda *_: None)
    for until in (1, 100):
        assert torch.equal(trained(lambda net, loader: look(net, loader, until=until)), plain)  # noqa: B023


def test_training_inside_a_loop_goes_on_from_the_latest_step(private) -> None:
    net, optimizer, loader, engine = private(batch=8)
    for x, y in loader:
        step(net, optimizer, x, y)
        for inner, labels in loader:
            step(net, optimizer, inner, labels)
            break
    assert engine.ledger.steps == optimizer.steps == loader.last_stepped_batch == 10


SHUFFLED = pytest.mark.filterwarnings("ignore:batches of shuffled data")


@pytest.mark.parametrize(
    "how", ["itself", "a part of it", "with the later labels", "a copy of each", "through doubles"]
)
@SHUFFLED
def test_an_earlier_batch_in_place_of_the_latest_is_refused(private, how: str) -> None:
    """Its records would be in more steps than are counted; batches of shuffled data are all of one size, so
    that no count of rows tells.
    """
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=10, poisson_sampling=False)
    given = {"a copy of each": torch.clone, "through doubles": torch.Tensor.double}.get(how, lambda x: x)
    batches = iter(loader)
    x, y = next(batches)
    step(net, optimizer, given(x).float(), y)
    later = next(batches)[1]
    optimizer.zero_grad()
    with refused("over rows of an earlier batch"):
        if how == "a part of it":
            for rows in (slice(4), slice(4, None)):
                F.cross_entropy(net(x[rows]), y[rows]).backward()
        else:
            F.cross_entropy(net(given(x).float()), later if how == "with the later labels" else y).backward()
        optimizer.step()
    assert engine.ledger.steps == 1


@pytest.mark.parametrize("case", ["inner kept open", "two at a time", "inner left"])
@SHUFFLED
def test_the_batch_of_an_outer_loop_does_not_count_as_one_of_an_inner(private, case: str) -> None:
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=10, poisson_sampling=False)
    outer = iter(loader)
    x, y = next(outer)
    inner = iter(loader)
    step(net, optimizer, *next(inner))
    next(inner)
    if case == "two at a time":
        step(net, optimizer, *loader.batch)
        next(inner)
    elif case == "inner left":
        inner.close()
    with refused("over rows of an earlier batch|already used"):
        step(net, optimizer, x, y)
    assert engine.ledger.steps == 1 + (case == "two at a time")


def test_of_two_small_batches_that_happen_to_be_as_large_the_earlier_is_refused(private) -> None:
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=2, seed=None)
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    with refused("over rows of an earlier batch"):
        while True:
            for x, y in loader:
                if len(x) in kept and not torch.equal(x, kept[len(x)][0]):
                    step(net, optimizer, *kept[len(x)])
                step(net, optimizer, x, y)
                kept[len(x)] = x, y
    assert engine.ledger.steps == loader.batches_drawn - 1


@pytest.mark.parametrize(
    "how", ["normalized", "written in place", "changed once", "every row in each", "looked at before"]
)
def test_changed_batches_pass_and_are_said_not_to_be_checked(private, how: str) -> None:
    """Full batches hold the same rows each time; one that was looked at has the rows of the one that comes
    again.
    """
    net, optimizer, loader, engine = private(nn.Linear(6, 2), batch=40 if how == "every row in each" else 20)
    kept = next(iter(loader))
    for turn in range(8):
        for x, y in loader:
            if how == "every row in each" or (how == "looked at before" and not optimizer.steps):
                x, y = kept
            elif how == "written in place":
                x.sub_(0.5)
            elif how == "normalized" or (how == "changed once" and turn == 6):
                x = (x - 0.5) * 2
            step(net, optimizer, x, y)
    assert engine.ledger.steps == 8 * len(loader)
    assert engine.report.runs[0].mixing_probe.rows.startswith("not checked") == (
        how not in ("every row in each", "looked at before")
    )
