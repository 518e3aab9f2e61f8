"""A batch in pieces is one step, whatever happens in between."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError, SettingError
from quintain.data import from_arrays
from quintain.dp import PrivatePlan, fit
from quintain.dp.opacus.utils.batch_memory_manager import BatchMemoryManager
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.epoch_loaders import ShuffledLoader
from quintain.dp.sampling.out_of_memory import retry_on_out_of_memory
from quintain.dp.sampling.poisson_loader import PoissonLoader
from quintain.models.memory import is_out_of_memory


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(40, 5, generator=torch.Generator().manual_seed(7))


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))


def flat(net: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def step(net: nn.Module, optimizer, rows: torch.Tensor) -> None:
    optimizer.zero_grad()
    net(rows).square().sum(1).mean().backward()
    optimizer.step()


def train(net: nn.Module, optimizer, batches) -> None:
    for (rows,) in batches:
        step(net, optimizer, rows)


@pytest.mark.parametrize(
    ("batch", "most"),
    [
        *((20, most) for most in (1, 3, 7, 40)),
        *(pytest.param(1, most, marks=() if most == 1 else pytest.mark.exhaustive) for most in (1, 3, 7, 40)),
    ],
)
def test_a_plain_loop_over_pieces_steps_once_a_batch(made, x: torch.Tensor, batch: int, most: int) -> None:
    ends = []
    for limit in (None, most):
        net = small()
        optimizer, loader = made(net, x, batch=batch, sigma=0.8, bound=0.3, most=limit, momentum=0.5)
        pieces = 0
        for (rows,) in loader:
            before = flat(net)
            step(net, optimizer, rows)
            assert torch.equal(before, flat(net)) != loader.physical_batch.is_last
            pieces += 1
        assert optimizer.ledger.steps == optimizer.steps == len(loader) == 40 // batch
        assert pieces >= len(loader)
        ends.append((flat(net), optimizer.examples_seen, optimizer.examples_clipped))
    torch.testing.assert_close(ends[0][0], ends[1][0], rtol=1e-4, atol=1e-6)
    assert ends[0][1:] == ends[1][1:]


def test_sums_survive_between_pieces_whenever_gradients_are_dropped(made, x: torch.Tensor) -> None:
    def ends(order: str) -> torch.Tensor:
        net = small()
        optimizer, loader = made(net, x, batch=20, bound=0.3, most=6)
        for (rows,) in loader:
            loss = net(rows).square().sum(1).mean()
            if order == "before backward":
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if order == "after step":
                optimizer.zero_grad()
        assert optimizer.ledger.steps == 2
        return flat(net)

    assert torch.equal(ends("before backward"), ends("after step"))
    assert torch.equal(ends("before backward"), ends("never"))


def test_steps_that_accumulate_may_be_left_out(made, x: torch.Tensor) -> None:
    ends = []
    for every in (True, False):
        net = small()
        optimizer, loader = made(net, x, batch=20, bound=0.3, most=6)
        for (rows,) in loader:
            net(rows).square().sum(1).mean().backward()
            if every or loader.physical_batch.is_last:
                optimizer.step()
        ends.append(flat(net))
    assert torch.equal(*ends)


def test_a_piece_that_is_dropped_or_used_twice_is_noticed(made, x: torch.Tensor) -> None:
    for how in ("dropped", "twice", "half"):
        net = small()
        optimizer, loader = made(net, x, batch=30, most=8)
        pieces = iter(loader)
        step(net, optimizer, next(pieces)[0])
        (rows,) = next(pieces)
        assert not loader.physical_batch.is_last
        if how == "dropped":
            net(rows).sum().backward()
            optimizer.zero_grad()
        elif how == "twice":
            step(net, optimizer, rows)
            step(net, optimizer, rows)
        else:
            net(rows[:4]).sum().backward()
            net(rows[4:]).sum().backward()
            net(rows[4:])
            optimizer.zero_grad()
            step(net, optimizer, rows)
        with pytest.raises(PrivacyError, match=r"each record once|without captured"):
            train(net, optimizer, pieces)
        assert optimizer.ledger.steps == 0


@pytest.mark.parametrize("drop", ["before", "after", "never"])
@pytest.mark.parametrize("stop", [1, 2])
def test_a_batch_that_is_left_half_way_leaves_no_trace(made, x: torch.Tensor, drop: str, stop: int) -> None:
    """In a manager with a queue of signals, the next real batch is swallowed into the one after it: a record
    then counts twice.
    """

    def end(*, leave: bool) -> tuple[torch.Tensor, int]:
        net = small()
        optimizer, loader = made(net, x, batch=20, bound=0.3, steps=4)
        with BatchMemoryManager(data_loader=loader, max_physical_batch_size=6, optimizer=optimizer) as pieces:
            for at, (rows,) in enumerate(pieces, 1):
                assert len(rows) <= 6
                if leave:
                    step(net, optimizer, rows)
                if drop == "after":
                    optimizer.zero_grad()
                if at == stop:
                    break
        assert loader.max_physical_batch_size is None
        assert optimizer.ledger.steps == 0
        for at, (rows,) in enumerate(loader):
            if drop == "before":
                optimizer.zero_grad()
            net(rows).square().sum(1).mean().backward()
            optimizer.step()
            if drop == "after":
                optimizer.zero_grad()
            if at == 1:
                break
        assert optimizer.ledger.steps == 2
        return flat(net), optimizer.examples_seen

    left, never = end(leave=True), end(leave=False)
    assert torch.equal(left[0], never[0])


def test_noise_for_each_piece_is_refused(made, x: torch.Tensor) -> None:
    net = small()
    optimizer, loader = made(net, x, batch=20, most=6)
    for _ in range(100):
        optimizer.signal_skip_step(False)
    with pytest.raises(PrivacyError, match="each record once"):
        train(net, optimizer, loader)
    assert optimizer.ledger.steps == 0


def test_two_whole_batches_are_still_two(made, x: torch.Tensor) -> None:
    net = small()
    optimizer, loader = made(net, x, batch=10)
    batches = iter(loader)
    optimizer.signal_skip_step(True)
    step(net, optimizer, next(batches)[0])
    net(next(batches)[0]).sum().backward()
    with pytest.raises(PrivacyError, match="on several"):
        optimizer.step()


def test_a_manager_takes_what_belongs_together(made, x: torch.Tensor) -> None:
    optimizer, loader = made(small(), x)
    _, other = made(small(), x)
    for strange in (other, DataLoader(TensorDataset(x), batch_size=4)):
        with pytest.raises(SettingError, match="do not belong together"):
            BatchMemoryManager(data_loader=strange, max_physical_batch_size=2, optimizer=optimizer)
        with pytest.raises(SettingError, match="do not belong together"):
            retry_on_out_of_memory(print, loader=strange, optimizer=optimizer)
    with (
        pytest.raises(SettingError, match="max_physical_batch_size = 0; expected at least 1"),
        BatchMemoryManager(data_loader=loader, max_physical_batch_size=0, optimizer=optimizer),
    ):
        pass


class Hungry(nn.Module):
    """Runs out of memory above so many rows, on the way forward or back."""

    def __init__(self, most: int, error: Exception, *, back: bool = False) -> None:
        super().__init__()
        self.most, self.error, self.back, self.largest = most, error, back, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, len(x))
        if len(x) > self.most and not self.back:
            raise self.error
        if len(x) > self.most and x.requires_grad:
            x.register_hook(self._fail)
        return x

    def _fail(self, _gradient: torch.Tensor) -> None:
        raise self.error


OUT = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize(
    ("error", "back", "workers"),
    [
        (OUT, False, 0),
        (OUT, True, 0),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: out of memory"), False, 1),
    ],
)
def test_pieces_get_smaller_when_memory_runs_out(
    made, x: torch.Tensor, error: Exception, back: bool, workers: int
) -> None:
    def end(most: int, *, fixed: int | None) -> tuple[torch.Tensor, int, int]:
        net = small()
        net.append(Hungry(most, error, back=back))
        optimizer, loader = made(net, x, batch=20, sigma=0.8, bound=0.3, most=fixed, steps=3, workers=workers)
        failures = 0

        def work(batch: list[torch.Tensor]) -> bool:
            step(net, optimizer, batch[0])
            return True

        attempt = retry_on_out_of_memory(work, loader=loader, optimizer=optimizer)
        for batch in loader:
            failures += attempt(batch) is None
        assert optimizer.ledger.steps == optimizer.steps == loader.batches_drawn == 3
        assert loader.max_physical_batch_size is None or loader.max_physical_batch_size <= most
        return flat(net), failures, net[-1].largest

    halved, failures, _ = end(6, fixed=None)
    plain, none, _ = end(40, fixed=None)
    torch.testing.assert_close(halved, plain, rtol=1e-4, atol=1e-6)
    assert failures == 2
    assert none == 0


def test_memory_that_runs_out_in_the_middle_of_a_batch_redoes_all_of_it(made, x: torch.Tensor) -> None:
    net = small()
    optimizer, loader = made(net, x, batch=30, sigma=0.5, bound=0.3, most=8, steps=2)
    seen: list[tuple[int, int]] = []

    def work(batch: list[torch.Tensor]) -> None:
        seen.append((loader.batches_drawn, len(batch[0])))
        if len(seen) == 3:
            raise OUT
        step(net, optimizer, batch[0])

    attempt = retry_on_out_of_memory(work, loader=loader, optimizer=optimizer)
    for batch in loader:
        attempt(batch)
    assert [size for draw, size in seen[:3]] == [8, 8, 8]
    assert all(size <= 4 for _, size in seen[3:])
    assert (
        sum(size for draw, size in seen[3:] if draw == 1)
        == sum(size for draw, size in seen if draw == 1) - 24
    )
    assert optimizer.ledger.steps == 2
    again = small()
    optimizer, loader = made(again, x, batch=30, sigma=0.5, bound=0.3, steps=2)
    for (rows,) in loader:
        step(again, optimizer, rows)
    torch.testing.assert_close(flat(net), flat(again), rtol=1e-4, atol=1e-6)


def test_a_fit_goes_on_in_pieces_when_memory_runs_out(x: torch.Tensor) -> None:
    data, plan = (
        from_arrays(x.sigmoid().numpy(), (torch.arange(40) % 2).numpy()),
        PrivatePlan(0.8, 0.5, 20, 4, learning_rate=0.2),
    )
    ends, steps = [], []
    for most in (40, 6):
        net = small()
        net.append(Hungry(most, OUT))
        made = fit(net, data, plan, seed=3, on_step=lambda step, _released: steps.append(step))
        assert made.steps == 4
        ends.append(flat(net))
    assert steps == [0, 1, 2, 3] * 2
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-6)


def test_what_does_not_get_smaller_is_not_tried_for_ever(made, x: torch.Tensor) -> None:
    net = small()
    net.append(Hungry(0, OUT))
    optimizer, loader = made(net, x, batch=20)
    work = retry_on_out_of_memory(
        lambda batch: step(net, optimizer, batch[0]), loader=loader, optimizer=optimizer
    )
    with pytest.raises(torch.OutOfMemoryError):
        list(map(work, loader))
    assert loader.max_physical_batch_size == 1
    assert optimizer.ledger.steps == 0


def test_other_errors_and_steps_already_counted_are_not_tried_again(made, x: torch.Tensor) -> None:
    net = small()
    optimizer, loader = made(net, x, batch=20)

    def fails(batch: list[torch.Tensor]) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="multiplied"):
        retry_on_out_of_memory(fails, loader=loader, optimizer=optimizer)(next(iter(loader)))

    def late(batch: list[torch.Tensor]) -> None:
        step(net, optimizer, batch[0])
        raise OUT

    with pytest.raises(torch.OutOfMemoryError):
        retry_on_out_of_memory(late, loader=loader, optimizer=optimizer)(next(iter(loader)))
    assert optimizer.ledger.steps == 1
    assert not is_out_of_memory(ValueError("out of memory"))


def test_pieces_are_cut_before_they_are_fetched() -> None:
    fetched: list[int] = []

    def fetch(rows) -> torch.Tensor:
        fetched.append(len(rows))
        return torch.zeros(len(rows))

    loader = PoissonLoader(
        fetch,
        num_units=1000,
        expected_batch_size=500,
        steps_per_epoch=2,
        stream=RandomStream.from_seed(0),
        max_physical_batch_size=64,
    )
    for batch in loader:
        assert fetched[-1] == len(batch) <= 64
    assert sum(fetched) == pytest.approx(1000, abs=150)


def test_the_count_of_adaptive_clipping_is_over_the_whole_batch(made, x: torch.Tensor) -> None:
    from quintain.dp.step.adaptive import AdaptiveClipping

    bounds = []
    for most in (None, 6):
        net = small()
        optimizer, loader = made(
            net, x, batch=20, sigma=0.8, bound=AdaptiveClipping(0.3, unclipped_count_std=2.0), most=most
        )
        for (rows,) in loader:
            step(net, optimizer, rows)
        bounds.append(optimizer.max_grad_norm)
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)
    assert bounds[0] != 0.3
    assert F.relu(torch.tensor(bounds[0])) > 0


@pytest.mark.parametrize(("batch", "most"), [(20, 3), (1, 2), (5, 40)])
def test_a_managers_length_is_the_number_of_pieces_it_yields(
    made, x: torch.Tensor, batch: int, most: int
) -> None:
    """As a progress bar asks for it: before the iteration, which then yields as many, batch after batch,
    empty ones too.
    """
    net = small()
    optimizer, loader = made(net, x, batch=batch)
    manager = BatchMemoryManager(data_loader=loader, max_physical_batch_size=most, optimizer=optimizer)
    for _ in range(3):
        told = len(manager)
        with manager as pieces:
            assert len(pieces) == len(manager) == told
            seen = 0
            for (rows,) in pieces:
                step(net, optimizer, rows)
                seen += 1
            assert seen == told >= len(loader)
            assert pieces.expected_batch_size == batch
            assert pieces.physical_batch is loader.physical_batch
        assert loader.max_physical_batch_size is None
    assert optimizer.steps == 3 * len(loader)


def test_pieces_of_units_and_shuffled_passes_are_counted_as_well(x: torch.Tensor) -> None:
    plain = DataLoader(TensorDataset(x), batch_size=10)
    with pytest.warns(UserWarning, match="shuffled"):
        shuffled = ShuffledLoader.from_loader(plain, RandomStream.from_seed(0), max_physical_batch_size=4)
    of_units = PoissonLoader.from_loader(
        plain, RandomStream.from_seed(0), units=np.arange(40) // 3, max_physical_batch_size=4
    )
    for loader, pieces in ((shuffled, 12), (of_units, None)):
        for _ in range(2):
            told = loader.num_physical_batches()
            assert told == len(list(loader)) == (pieces or told)


def test_memory_of_the_computer_that_runs_out_is_recognized() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**15)
    assert is_out_of_memory(raised.value)
