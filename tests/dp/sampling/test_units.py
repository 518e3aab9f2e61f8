"""All records of a unit, or all copies of a record, are clipped as one."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import DataError, PrivacyError, SettingError
from quintain.dp.capture.unit_sums import sum_by_unit
from quintain.dp.distributed import World
from quintain.dp.per_example.grads import (
    BlockGrads,
    DenseGrads,
    OuterProductGrads,
    PerExampleGrads,
    SummedGrads,
    TableRowGrads,
)
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.augmentation import augment
from quintain.dp.sampling.privacy_units import PrivacyUnits

SEED = 3


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def forms(batch: int) -> dict[str, PerExampleGrads]:
    ids = torch.randint(0, 7, (batch, 3))
    return {
        "dense": DenseGrads(normal(batch, 4, 2)),
        "outer": OuterProductGrads(normal(batch, 1, 6), normal(batch, 1, 5)),
        "positions": OuterProductGrads(normal(batch, 2, 3), normal(batch, 2, 2)),
        "rows": TableRowGrads.from_ids(ids, normal(batch, 3, 4), torch.Size((7, 4))),
        "blocks": BlockGrads(
            [OuterProductGrads(normal(batch, 2, 3), normal(batch, 2, 4)), DenseGrads(normal(batch, 2, 3))]
        ),
        "tied": SummedGrads(
            [
                TableRowGrads.from_ids(ids, normal(batch, 3, 4), torch.Size((7, 4))),
                OuterProductGrads(normal(batch, 2, 4), normal(batch, 2, 7)),
            ]
        ),
    }


@pytest.mark.parametrize("name", list(forms(1)))
@settings(max_examples=15, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), max_size=5) | st.integers(0, 4).map(lambda n: [2] * n),
    seed=st.integers(0, 99),
)
def test_any_form_gathered_is_the_sum_of_its_parts(name: str, counts: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    form = forms(sum(counts))[name]
    weights = torch.rand(sum(counts), dtype=torch.float64) + 0.1
    found = sum_by_unit(form, torch.tensor(counts, dtype=torch.long), weights)
    weighted = form.to_dense() * weights.view(-1, *(1 for _ in form.shape))
    expected = torch.stack([part.sum(0) for part in weighted.split(counts)]) if counts else weighted
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-9, atol=1e-9)
    exact = expected.flatten(1).square().sum(1)
    torch.testing.assert_close(found.squared_norms(), exact, rtol=1e-9, atol=1e-9)
    into = torch.zeros(form.shape, dtype=torch.float64)
    found.add_weighted_sum_to(into, torch.ones(len(counts), dtype=torch.float64))
    torch.testing.assert_close(into, expected.sum(0), rtol=1e-9, atol=1e-9)


def test_long_and_short_units_are_built_where_that_is_smaller() -> None:
    torch.manual_seed(0)
    small, large = (
        OuterProductGrads(normal(9, 1, 3), normal(9, 1, 2)),
        OuterProductGrads(normal(9, 1, 60), normal(9, 1, 50)),
    )
    counts, weights = torch.tensor([8, 1]), torch.ones(9, dtype=torch.float64)
    assert isinstance(sum_by_unit(small, counts, weights), DenseGrads)
    assert isinstance(sum_by_unit(large, counts, weights), OuterProductGrads)
    assert isinstance(sum_by_unit(large, torch.tensor([3, 3, 3]), weights), OuterProductGrads)


def test_units_are_drawn_with_all_their_records() -> None:
    keys = ["b", "a", "c", "a", "b", "a"]
    units = PrivacyUnits(keys)
    assert (units.num_units, units.num_records) == (3, 6)
    rows, counts, shares = units.sample_rows(np.array([0, 1]), RandomStream.from_seed(0), World())
    assert ([keys[row] for row in rows], counts.tolist(), shares.tolist()) == (
        ["b", "b", "a", "a", "a"],
        [2, 3],
        [1, 1],
    )
    parts = [
        units.sample_rows(np.array([0, 1, 2]), RandomStream.from_seed(0), World(rank, 2))[0].tolist()
        for rank in range(2)
    ]
    assert parts == [[0, 4, 2], [1, 3, 5]]
    for same in (np.array([1, 0, 1]), torch.tensor([1, 0, 1]), [(1, "x"), (0, "x"), (1, "x")]):
        assert PrivacyUnits(same).num_units == 2


class Patient:
    pass


@dataclass(frozen=True)
class Holder:
    of: torch.Tensor


@dataclass(frozen=True)
class Number:
    of: object
    note: float = field(default=float("nan"), compare=False)


class Pair:
    """Equal to those that hold the same."""

    __slots__ = ("of",)

    def __init__(self, of: float) -> None:
        self.of = of

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and (self.of,) == (other.of,)

    def __hash__(self) -> int:
        return hash((self.of,))


def test_keys_that_hold_others_count_as_what_they_hold() -> None:
    for kind in (Number, Pair, lambda key: Number((key, Pair(key))), lambda key: frozenset({key, 7.0})):
        assert PrivacyUnits([kind(key) for key in (3.0, 1.0, 3.0, 1.0, 1.0)]).counts.tolist() == [2, 3]


def test_keys_of_no_dimension_count_as_their_numbers() -> None:
    patient = torch.tensor([3, 1, 3, 1, 1])
    for keys in (
        list(patient),
        list(patient.numpy()),
        [np.array(key) for key in patient.tolist()],
        [(int(key), "x") for key in patient],
    ):
        assert PrivacyUnits(keys).counts.tolist() == [2, 3]


@pytest.mark.parametrize(
    "keys",
    [
        [Patient(), Patient()],
        [torch.tensor([1]), torch.tensor([1])],
        [(torch.tensor(1), "x"), (torch.tensor(1), "x")],
        [Holder(torch.tensor(1)), Holder(torch.tensor(1))],
        [(float("nan"), 1), (float("nan"), 1)],
        [Number(float("nan")), Number(float("nan"))],
        [Number((1, Number(float("nan")))), Number(2)],
        [frozenset({float("nan")}), frozenset({float("nan")})],
        [Pair(float("nan")), Pair(float("nan"))],
        [[1], [2]],
        np.array([[1], [2]]),
        torch.tensor([[1], [2]]),
        np.array(1),
        torch.tensor(1),
        [np.array([1, 2]), np.array([1, 2])],
        5,
        "ab",
        {0: "a", 1: "a"},
        {1, 2},
    ],
)
def test_keys_that_would_make_a_unit_of_each_record_or_are_no_list_are_refused(keys: object) -> None:
    with pytest.raises(
        DataError, match=r"one key for each record|give each record a number|whom it belongs to"
    ):
        PrivacyUnits(keys)  # type: ignore[arg-type]


def test_of_a_large_unit_at_most_k_records_are_drawn_evenly() -> None:
    units = PrivacyUnits([0] * 6 + [1] * 2, max_records_per_unit=3, average_records=True)
    stream, seen = RandomStream.from_seed(0), np.zeros(8)
    for turn in range(600):
        stream.seek(turn)
        rows, counts, shares = units.sample_rows(np.array([0, 1]), stream, World())
        assert len(set(rows)) == 5
        assert (counts.tolist(), shares.tolist()) == ([3, 2], [1 / 3, 1 / 2])
        assert (np.sort(rows) == rows).all()
        seen[rows] += 1
    assert (seen[6:] == 600).all()
    assert np.abs(seen[:6] - 300).max() < 6 * np.sqrt(150)


def test_keys_that_name_nobody_are_refused(made) -> None:
    for keys in ([1, None], [1.0, float("nan")]):
        with pytest.raises(DataError, match="record 1 has the key"):
            PrivacyUnits(keys)
    with pytest.raises(SettingError, match="at most 0 records"):
        PrivacyUnits([1], max_records_per_unit=0)
    with pytest.raises(SettingError, match="2 keys of units for 12 records"):
        made(nn.Linear(3, 2), torch.zeros(12, 3), units=PrivacyUnits([1, 2]))


class Net(nn.Module):
    """A layer of each form: a table tied to the last layer, positions, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.mix, self.norm = nn.Embedding(9, 4), nn.Linear(4, 4), nn.LayerNorm(4)
        self.head = nn.Linear(4, 9, bias=False)
        self.head.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(torch.tanh(self.mix(self.table(ids))))).mean(1)


def loop(
    net: nn.Module, x: torch.Tensor, groups: list[list[int]], shares: list[float], bound: float
) -> list[torch.Tensor]:
    """The sum of clipped gradients, unit by unit, example by example."""
    total = [torch.zeros_like(p) for p in net.parameters()]
    for group, share in zip(groups, shares, strict=True):
        net.zero_grad()
        for row in group:
            (share * net(x[row : row + 1]).square().sum()).backward()
        gradient = [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]
        norm = torch.cat([part.flatten() for part in gradient]).norm()
        for into, part in zip(total, gradient, strict=True):
            into.add_(part * min(1.0, bound / float(norm)))
    net.zero_grad()
    return total


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("most", [None, 5])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_sum_of_units_is_that_of_a_loop(made, average: bool, most: int | None, reduction: str) -> None:
    torch.manual_seed(SEED)
    x = torch.randint(0, 9, (14, 3))
    keys = [0, 1, 2, 3, 0, 1, 0, 4, 4, 0, 5, 0, 2, 2]
    groups = [[at for at, key in enumerate(keys) if key == unit] for unit in range(6)]
    shares = [1 / len(group) if average else 1.0 for group in groups]
    net = Net().double()
    expected = loop(net, x, groups, shares, 2.0)
    units = PrivacyUnits(keys, name="patient", average_records=average)
    optimizer, loader = made(
        net, x, batch=14, sigma=0.0, bound=2.0, units=units, most=most, reduction=reduction
    )
    assert loader.num_units == loader.expected_batch_size == 6
    for (rows,) in loader:
        optimizer.zero_grad()
        loss = net(rows).square().sum()
        (loss / len(rows) if reduction == "mean" else loss).backward()
        optimizer.step()
    for parameter, total in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, total / 6, rtol=1e-9, atol=1e-9)
    assert optimizer.ledger.releases[0].unit == "patient"
    assert optimizer.ledger.releases[0].num_units == 6
    assert optimizer.examples_seen == 6


HOSTILE = {
    "huge": lambda x: x * 1e6,
    "equal": torch.ones_like,
    "not a number": lambda x: torch.where(torch.arange(len(x)) == 1, torch.nan, x.T).T,
    "infinite": lambda x: torch.where(torch.arange(len(x)) == 1, torch.inf, x.T).T,
    "cancelling": lambda x: x * torch.tensor([1.0, -1.0]).repeat(len(x))[: len(x), None],
}


def moved(made, kind: str) -> float:
    """By how much the sum of gradients, clipped to 0.5, differs with and without the unit that five records
    are of.
    """
    torch.manual_seed(SEED)
    x = torch.randn(12, 5)
    keys = [0] * 5 + [1] * 3 + [2] * 4
    x[:5] = HOSTILE[kind](x[:5])

    def total(rows: torch.Tensor, keys: list[int]) -> torch.Tensor:
        torch.manual_seed(SEED)
        net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
        optimizer, loader = made(net, rows, batch=len(rows), sigma=0.0, bound=0.5, units=PrivacyUnits(keys))
        for (batch,) in loader:
            net(batch).square().mean(1).mul(1e3).mean().backward()
            optimizer.step()
        return torch.cat([p.grad.flatten() for p in net.parameters()]).double() * loader.expected_batch_size

    difference = total(x, keys) - total(x[5:], keys[5:])
    assert difference.isfinite().all()
    return float(difference.norm())


@pytest.mark.parametrize("kind", HOSTILE)
def test_one_unit_moves_the_sum_by_at_most_the_bound(made, kind: str) -> None:
    found = moved(made, kind)
    assert found <= 0.5 * (1 + 1e-5)
    assert found > 0.4 or kind in ("not a number", "infinite", "cancelling")


@pytest.mark.parametrize("kind", ["huge", "equal"])
def test_records_clipped_by_themselves_would_break_the_bound(
    made, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "quintain.dp.step.private_step.group_pass_by_unit", lambda turn, counts, shares, *, mean: turn
    )
    assert moved(made, kind) > 0.6


def test_a_unit_is_never_cut(made) -> None:
    net = nn.Linear(3, 2)
    x = torch.randn(12, 3)
    optimizer, loader = made(net, x, batch=12, units=PrivacyUnits([0] * 5 + [1] * 3 + [2] * 4), most=7)
    sizes = []
    for (rows,) in loader:
        sizes.append((len(rows), loader.unit_ids.tolist()))
        net(rows).square().mean().backward()
        optimizer.step()
    assert sizes == [(5, [0] * 5), (7, [0] * 3 + [1] * 4)]
    loader.max_physical_batch_size = 4
    with pytest.raises(PrivacyError, match="unit of 5 rows does not fit into a physical batch of 4"):
        next(iter(loader))
    loader.max_physical_batch_size = None
    (rows,) = next(iter(loader))
    net(rows[:6]).square().mean().backward()
    with pytest.raises(PrivacyError, match="units would be torn"):
        net(rows[6:])


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_augmented_copies_are_averaged_before_the_clip(made, grouped: bool, reduction: str) -> None:
    torch.manual_seed(SEED)
    x = torch.randn(8, 5, dtype=torch.float64)
    keys = [0, 0, 1, 1, 1, 2, 3, 3] if grouped else list(range(8))
    net = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    shifts: list[torch.Tensor] = []

    def shifted(batch: list[torch.Tensor]) -> list[torch.Tensor]:
        shifts.append(torch.randn_like(batch[0]))
        return [batch[0] + shifts[-1]]

    optimizer, loader = made(
        net,
        x,
        batch=8,
        sigma=0.0,
        bound=0.5,
        units=PrivacyUnits(keys) if grouped else None,
        most=12,
        reduction=reduction,
        lr=0.0,
    )
    assert augment(loader, 3, shifted) is loader
    for (rows,) in loader:
        loss = net(rows).square().sum()
        (loss / len(rows) if reduction == "mean" else loss).backward()
        optimizer.step()
    assert len(shifts) == 2 if not grouped else len(shifts) >= 2
    copies = x.repeat_interleave(3, 0) + torch.cat(shifts)
    owners = np.repeat(keys, 3)
    groups = [np.flatnonzero(owners == unit).tolist() for unit in dict.fromkeys(keys)]
    given = [p.grad.clone() for p in net.parameters()]
    optimizer.capture.remove()
    for found, total in zip(given, loop(net, copies, groups, [1 / 3] * len(groups), 0.5), strict=True):
        torch.testing.assert_close(found, total / len(groups), rtol=1e-9, atol=1e-9)
    assert optimizer.ledger.releases[0].num_units == len(groups)
    with pytest.raises(SettingError, match="augmented already"):
        augment(loader, 3)
    with pytest.raises(SettingError, match="augmentations_per_record = 0; expected at least 1"):
        augment(loader, 0)


def test_a_loader_with_a_transform_is_augmented_once(made) -> None:
    _, loader = made(nn.Linear(3, 2), torch.zeros(4, 3), batch=4)
    augment(loader, 1, lambda batch: batch)
    with pytest.raises(SettingError, match="augmented already"):
        augment(loader, 4, lambda batch: batch)


def test_a_data_set_may_change_its_records_itself(made) -> None:
    class Noisy(TensorDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            (x,) = super().__getitem__(index)
            return (x + torch.rand(3),)

    net = nn.Linear(3, 2)
    optimizer, loader = made(net, torch.zeros(4, 3), batch=4, data=Noisy(torch.zeros(4, 3)))
    augment(loader, 2)
    (rows,) = next(iter(loader))
    assert len(rows.unique(dim=0)) == len(rows) == 8
    assert loader.unit_ids.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    F.mse_loss(net(rows), torch.zeros(8, 2)).backward()
    optimizer.step()
    assert optimizer.ledger.steps == 1


def test_the_share_of_units_is_that_of_records() -> None:
    from quintain.dp.sampling.poisson_loader import PoissonLoader

    keys = np.repeat(np.arange(30), 4)
    plain = DataLoader(TensorDataset(torch.zeros(120, 2)), batch_size=16)
    loader = PoissonLoader.from_loader(plain, RandomStream.from_seed(0), units=PrivacyUnits(keys))
    assert (loader.num_units, loader.expected_batch_size, len(loader)) == (30, 4, 8)
    assert [len(rows) % 4 for (rows,) in loader] == [0] * 8
    with pytest.raises(SettingError, match="records = units"):
        PoissonLoader(
            list,
            num_units=5,
            expected_batch_size=1,
            steps_per_epoch=1,
            stream=RandomStream.from_seed(0),
            units=PrivacyUnits(keys),
        )
