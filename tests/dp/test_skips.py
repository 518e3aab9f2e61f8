"""Batches that are drawn are stepped on, one after another: what is left out could tell of a record in it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quintain.dp import BatchMemoryManager
from tests.dp.loops import refused, step


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
    assert engine.ledger.steps == optimizer.steps == loader.spent == 10
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
        rows.append(loader.piece.rows.tolist())
        if turn < 2:
            step(net, optimizer, x, y)
    again = []
    for x, y in loader:
        again.append(loader.piece.rows.tolist())
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


def test_a_state_written_with_a_batch_in_hand_does_not_leave_it_out(private) -> None:
    net, optimizer, loader, _ = private(batch=8)
    batches = iter(loader)
    step(net, optimizer, *next(batches))
    next(batches)
    rows, state = loader.piece.rows.tolist(), optimizer.state_dict()
    net, optimizer, loader, engine = private(batch=8)
    optimizer.load_state_dict(state)
    batch = next(iter(loader))
    assert loader.piece.rows.tolist() == rows
    step(net, optimizer, *batch)
    assert engine.ledger.steps == 2
