"""Batches are drawn as the accountant is told, keep their form when empty, and come from the user's own
workers.
"""

import copy
import warnings
from collections import namedtuple
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from quintain.core.errors import DataError, PrivacyError, SettingError
from quintain.dp import PrivacySettings, RandomSource, epsilon, make_private
from quintain.dp.distributed import World
from quintain.dp.opacus.data_loader import DPDataLoader
from quintain.dp.opacus.utils.uniform_sampler import (
    DistributedUniformWithReplacementSampler,
    UniformWithReplacementSampler,
)
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.batch_source import empty_batch_like
from quintain.dp.sampling.epoch_loaders import BallsInBinsLoader, ShuffledLoader
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.poisson_loader import PoissonLoader

LEVEL = 1e-6


class Numbers(Dataset):
    """Record i is i; as a data set of one's own, it is fetched one by one."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(index)


def rows_of(
    kind: type[SamplingLoader] = PoissonLoader,
    *,
    records: int,
    batch: int,
    steps: int,
    seed: int = 0,
    **named,
) -> SamplingLoader:
    stream = RandomStream.from_seed(seed, "sampling")
    return kind(
        lambda rows: rows,
        num_units=records,
        expected_batch_size=batch,
        steps_per_epoch=steps,
        stream=stream,
        **named,
    )


def drawn(loader: SamplingLoader, records: int) -> np.ndarray:
    """Which record is in which batch, (T, n)."""
    table = np.zeros((len(loader), records), dtype=bool)
    for step, rows in enumerate(loader):
        assert len(np.unique(rows)) == len(rows) == loader.logical_batch_size
        table[step, rows] = True
    return table


def two_sided(z: float) -> float:
    return 2 * float(stats.norm.sf(abs(z)))


def test_inclusion_is_that_of_independent_coins() -> None:
    n, b, steps = 60, 15, 4000
    q = b / n
    table = drawn(rows_of(records=n, batch=b, steps=steps), n)
    counts, sizes = table.sum(0), table.sum(1)
    squares = float(((counts - steps * q) ** 2).sum() / (steps * q * (1 - q)))
    assert min(stats.chi2.sf(squares, n), stats.chi2.cdf(squares, n)) > LEVEL
    assert two_sided((sizes.mean() - b) / np.sqrt(b * (1 - q) / steps)) > LEVEL
    assert sizes.var() / sizes.mean() == pytest.approx(1 - q, rel=6 * np.sqrt(2 / steps))

    pairs = table.T.astype(float) @ table.astype(float)
    together = pairs[np.triu_indices(n, 1)]
    z = (together - steps * q**2) / np.sqrt(steps * q**2 * (1 - q**2))
    assert abs(z.mean()) < 6 * np.sqrt(2 * q / (1 + q) / n)
    assert z.var() == pytest.approx(1, abs=6 * np.sqrt(2 / len(z)))

    centred = table - q
    lag = float((centred[1:] * centred[:-1]).sum())
    assert two_sided(lag / (q * (1 - q) * np.sqrt((steps - 1) * n))) > LEVEL


def test_a_shuffled_loader_fails_what_poisson_passes() -> None:
    n, b, steps = 60, 15, 400
    with pytest.warns(UserWarning, match="many times the epsilon of Poisson"):
        loader = rows_of(ShuffledLoader, records=n, batch=b, steps=n // b)
    table = np.concatenate([drawn(loader, n) for _ in range(steps // 4)])
    q = b / n
    assert (table.sum(1) == b).all()
    centred = table - q
    lag = float((centred[1:] * centred[:-1]).sum())
    assert two_sided(lag / (q * (1 - q) * np.sqrt((steps - 1) * n))) < LEVEL


@pytest.mark.parametrize(
    ("kind", "steps"), [(ShuffledLoader, 7), (BallsInBinsLoader, 7), (ShuffledLoader, 1)]
)
def test_each_pass_holds_each_record_once(kind: type[SamplingLoader], steps: int) -> None:
    with pytest.warns(UserWarning, match="PoissonLoader"):
        loader = rows_of(kind, records=50, batch=7, steps=steps)
    first, second = drawn(loader, 50), drawn(loader, 50)
    assert (first.sum(0) == 1).all()
    assert (second.sum(0) == 1).all()
    assert steps == 1 or (first != second).any()
    sizes = first.sum(1)
    assert (sizes.max() - sizes.min() <= 1) == (kind is ShuffledLoader)
    loader.batches_drawn = steps
    assert (drawn(loader, 50) == second).all()


@pytest.mark.parametrize(
    ("kind", "name"),
    [(ShuffledLoader, "shuffle"), (BallsInBinsLoader, "balls-in-bins"), (PoissonLoader, "poisson")],
)
@pytest.mark.filterwarnings("ignore:.*PoissonLoader")
def test_what_is_not_poisson_is_recorded_as_what_it_is(kind: type[SamplingLoader], name: str) -> None:
    net = torch.nn.Linear(3, 2)
    loader = kind.from_loader(
        DataLoader(TensorDataset(torch.randn(24, 3)), batch_size=6), RandomStream.from_seed(0, "sampling")
    )
    private = make_private(
        net,
        torch.optim.SGD(net.parameters(), lr=0.1),
        loader,
        PrivacySettings(noise_multiplier=1.0, sampling=name),
        random=RandomSource.from_seed(0),
    )
    for _ in range(2):
        for (x,) in private.loader:
            private.optimizer.zero_grad()
            net(x).square().sum(1).mean().backward()
            private.optimizer.step()
    passes = [(release.epoch, release.steps) for release in private.ledger.releases]
    assert passes == ([(0, 8)] if kind is PoissonLoader else [(0, 4), (1, 4)])
    assert {release.sampling for release in private.ledger.releases} == {name}
    assert private.guarantee(1e-3).sampling == name
    if kind is ShuffledLoader:
        assert private.epsilon(1e-3) > 1.3 * epsilon(1.0, 0.25, 8, 1e-3)


def test_balls_in_bins_chooses_bins_evenly() -> None:
    with pytest.warns(UserWarning, match="accounting of its own"):
        loader = rows_of(BallsInBinsLoader, records=3000, batch=300, steps=10)
    sizes = drawn(loader, 3000).sum(1)
    assert stats.chisquare(sizes).pvalue > LEVEL


def test_an_expected_batch_of_all_is_all() -> None:
    loader = rows_of(records=5, batch=5, steps=3)
    assert loader.sample_rate == 1
    assert [rows.tolist() for rows in loader] == [[0, 1, 2, 3, 4]] * 3


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 3), st.integers(1, 9) | st.none())
def test_ranks_partition_one_draw_and_pieces_a_batch(
    records: int, size: int, seed: int, most: int | None
) -> None:
    batch = max(1, records // 3)
    whole = list(rows_of(records=records, batch=batch, steps=4, seed=seed))
    parts = [[] for _ in whole]
    for rank in range(size):
        loader = rows_of(records=records, batch=batch, steps=4, seed=seed, max_physical_batch_size=most)
        loader.world = World(rank, size)
        mine: dict[int, list[int]] = {}
        for rows in loader:
            assert most is None or len(rows) <= most
            mine.setdefault(loader.batches_drawn, []).extend(rows)
            assert loader.physical_batch.is_last == (
                len(mine[loader.batches_drawn]) == loader.logical_batch_size
            )
        assert list(mine) == [1, 2, 3, 4]
        for part, rows in zip(parts, mine.values(), strict=True):
            part.extend(rows)
    assert [sorted(part) for part in parts] == [rows.tolist() for rows in whole]


def test_draws_go_on_where_they_are_told_to() -> None:
    whole = [rows.tolist() for rows in rows_of(records=40, batch=9, steps=6)]
    loader = rows_of(records=40, batch=9, steps=6)
    loader.batches_drawn = 2
    assert [rows.tolist() for rows in loader][:4] == whole[2:]
    one, other = rows_of(records=40, batch=9, steps=3), rows_of(records=40, batch=9, steps=6)
    taken = [rows.tolist() for pair in zip(one, one, strict=False) for rows in pair]
    assert taken == [rows.tolist() for rows in other][: len(taken)]
    assert len(taken) == 6


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    "workers", [{"num_workers": 0}, {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 3}]
)
def test_workers_are_kept_and_what_they_fetch_ahead_is_not_counted(workers: dict) -> None:
    plain = DataLoader(Numbers(50), batch_size=10, **workers)
    loader = PoissonLoader.from_loader(plain, RandomStream.from_seed(0, "sampling"))
    expected = list(rows_of(records=50, batch=10, steps=10))
    for step, batch in zip(range(2), loader, strict=False):
        assert (loader.batches_drawn, loader.logical_batch_size) == (step + 1, len(batch))
        assert batch.tolist() == expected[step].tolist()
    found = []
    for batch in loader:
        found.append(batch.tolist())
        if len(found) == 2:
            break
    assert found == [rows.tolist() for rows in expected[2:4]]
    loader.max_physical_batch_size = 4
    pieces: dict[int, list[int]] = {}
    for batch in loader:
        pieces.setdefault(loader.batches_drawn, []).extend(batch.tolist())
    assert list(pieces.values()) == [rows.tolist() for rows in expected[4:9]]


def test_a_batch_is_yielded_again_when_asked_for() -> None:
    for workers in (0, 1):
        loader = PoissonLoader.from_loader(
            DataLoader(Numbers(50), batch_size=20, num_workers=workers), RandomStream.from_seed(0, "sampling")
        )
        seen: list[tuple[int, list[int]]] = []
        again = True
        for batch in loader:
            seen.append((loader.batches_drawn, batch.tolist()))
            if again and loader.batches_drawn == 2:
                again, loader.max_physical_batch_size = False, 15
                loader.rewind_batch()
        draws = [draw for draw, _ in seen]
        assert draws == sorted(draws)
        assert set(draws) == {1, 2, 3}
        second = [rows for draw, rows in seen if draw == 2]
        assert second[0] == [row for rows in second[1:] for row in rows]
        assert max(map(len, second[1:])) <= 15


def test_two_iterations_over_workers_at_a_time_are_refused() -> None:
    class Strings(Numbers):
        def __getitem__(self, index: int) -> str:
            return str(index)

    loader = PoissonLoader.from_loader(
        DataLoader(Strings(20), batch_size=10), RandomStream.from_seed(0, "sampling")
    )
    first = iter(loader)
    next(first)
    next(iter(loader))
    with pytest.raises(SettingError, match="second iteration"):
        next(first)


Pair = namedtuple("Pair", ["image", "label"])


def whole_dict(index: int) -> dict:
    return {"x": torch.ones(3) * index, "more": {"y": np.float32(index), "name": f"patient {index}"}}


def stacked(records: list[torch.Tensor]) -> torch.Tensor:
    return torch.stack(records)


FORMS = {
    "dict": (
        whole_dict,
        None,
        lambda batch: batch["x"].shape == (0, 3) and batch["more"] == {"y": batch["more"]["y"], "name": []},
    ),
    "tuple": (
        lambda index: (torch.ones(2), f"{index}"),
        None,
        lambda batch: batch[0].shape == (0, 2) and list(batch[1]) == [],
    ),
    "namedtuple": (
        lambda index: Pair(torch.ones(2, 2), index),
        None,
        lambda batch: batch.image.shape == (0, 2, 2) and len(batch.label) == 0,
    ),
    "nested": (
        lambda _: [(torch.ones(1), (torch.ones(2), 1))],
        None,
        lambda batch: batch[0][1][0].shape == (0, 2),
    ),
    "strings": (str, None, lambda batch: list(batch) == []),
    "a collator that fails on none": (lambda _: torch.ones(4), stacked, lambda batch: batch.shape == (0, 4)),
    "arrays": (
        lambda index: np.ones(2),
        np.stack,
        lambda batch: isinstance(batch, np.ndarray) and batch.shape == (0, 2),
    ),
    "a collator of lists": (lambda index: index, list, lambda batch: batch == []),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [0, 1])
def test_empty_batches_keep_their_form(form: str, workers: int) -> None:
    if workers and form not in ("dict", "a collator that fails on none"):
        form = "tuple"
    record, collate, holds = FORMS[form]
    plain = DataLoader(
        [record(index) for index in range(20)], batch_size=1, collate_fn=collate, num_workers=workers
    )
    loader = PoissonLoader.from_loader(plain, RandomStream.from_seed(0, "sampling"))
    sizes = []
    for batch in loader:
        sizes.append(loader.logical_batch_size)
        assert loader.logical_batch_size or holds(batch)
    assert min(sizes) == 0 < max(sizes)


def test_forms_without_an_empty_one_are_refused() -> None:
    assert empty_batch_like([]) == []
    with pytest.raises(DataError, match=r"batch of set.*expected tensors"):
        empty_batch_like({1, 2})


def test_no_random_state_is_touched() -> None:
    before = torch.get_rng_state()
    for _ in PoissonLoader.from_loader(
        DataLoader(Numbers(9), batch_size=3, num_workers=1), RandomStream.from_seed(0, "sampling")
    ):
        pass
    assert torch.equal(before, torch.get_rng_state())


class Lengthless(Dataset):
    def __getitem__(self, index: int) -> int:
        return index


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[int]:
        yield 1


def test_loaders_that_cannot_be_sampled_are_refused() -> None:
    def like(loader: object) -> SamplingLoader:
        return PoissonLoader.from_loader(loader, RandomStream.from_seed(0))

    with pytest.raises(SettingError, match="ordinary DataLoader"):
        like([1, 2])
    for loader in (
        DataLoader(Endless(), batch_size=1),
        DataLoader(Lengthless(), batch_size=1, sampler=range(3)),
    ):
        with pytest.raises(SettingError, match="expected one with a length"):
            like(loader)
    with pytest.raises(SettingError, match="without a batch size"):
        like(DataLoader(Numbers(4), batch_size=None))
    with pytest.raises(SettingError, match=r"WeightedRandomSampler.*Subset"):
        like(DataLoader(Numbers(4), batch_size=2, sampler=WeightedRandomSampler([1.0] * 4, 4)))
    shared = DistributedSampler(Numbers(12), num_replicas=2, rank=0)
    with pytest.raises(SettingError, match="for 2 processes, and training by 1"):
        like(DataLoader(Numbers(12), batch_size=2, sampler=shared))
    with pytest.raises(SettingError, match="max_physical_batch_size = 0; expected at least 1"):
        rows_of(records=4, batch=2, steps=1, max_physical_batch_size=0)
    with pytest.raises(SettingError, match=r"max_physical_batch_size = 2\.5; expected a whole number"):
        rows_of(records=4, batch=2, steps=1, max_physical_batch_size=2.5)


@pytest.mark.parametrize("n", [93, 99, 105])
def test_steps_are_whole_numbers(n: int) -> None:
    assert int(1 / (1 / n)) != n
    assert len(UniformWithReplacementSampler(num_samples=n, sample_rate=1 / n)) == n
    loader = DPDataLoader(Numbers(n), sample_rate=1 / n)
    assert (len(loader), loader.expected_batch_size) == (n, 1)
    assert (
        len(PoissonLoader.from_loader(DataLoader(Numbers(n), batch_size=1), RandomStream.from_seed(0))) == n
    )
    assert len(UniformWithReplacementSampler(num_samples=60000, sample_rate=256 / 60000)) == 234


def test_samplers_of_known_names_are_poisson() -> None:
    def lists(seed: int | None) -> list[list[int]]:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return list(
            UniformWithReplacementSampler(num_samples=200, sample_rate=0.1, generator=generator, steps=400)
        )

    sizes = np.array([len(rows) for rows in lists(1)])
    assert two_sided((sizes.mean() - 20) / np.sqrt(18 / 400)) > LEVEL
    assert sizes.var() / sizes.mean() == pytest.approx(0.9, rel=6 * np.sqrt(2 / 400))
    assert lists(1) == lists(1) != lists(2)
    assert lists(None) != lists(None)
    sampler = UniformWithReplacementSampler(num_samples=6, sample_rate=1.0)
    assert list(sampler) == [[0, 1, 2, 3, 4, 5]]
    assert list(UniformWithReplacementSampler(num_samples=200, sample_rate=0.1)) != list(sampler)
    batches = DataLoader(
        Numbers(200), batch_sampler=UniformWithReplacementSampler(num_samples=200, sample_rate=0.25)
    )
    assert len(list(batches)) == 4
    alone = DistributedUniformWithReplacementSampler(
        total_size=200, sample_rate=0.1, generator=torch.Generator().manual_seed(1)
    )
    alone.set_epoch(3)
    assert list(alone) == lists(1)[:10]
    with pytest.raises(SettingError, match=r"sample rate of 1\.5"):
        UniformWithReplacementSampler(num_samples=9, sample_rate=1.5)


def test_a_loader_of_the_known_name_is_poissons() -> None:
    made = DPDataLoader(
        Numbers(60),
        sample_rate=0.2,
        collate_fn=stacked,
        generator=torch.Generator().manual_seed(0),
        num_workers=0,
    )
    same = DPDataLoader(Numbers(60), sample_rate=0.2, generator=torch.Generator().manual_seed(0))
    assert isinstance(made, PoissonLoader)
    assert made.reproducible
    assert (made.sample_rate, len(made), len(made.dataset)) == (0.2, 5, 60)
    assert all(torch.equal(one, other) for one, other in zip(made, same, strict=True))
    assert not DPDataLoader(Numbers(60), sample_rate=0.2).reproducible
    twin = DPDataLoader.from_data_loader(DataLoader(Numbers(60), batch_size=7, shuffle=True))
    assert (twin.expected_batch_size, len(twin)) == (7, 9)
    for settings_ in ({"batch_first": False}, {"rand_on_empty": True}):
        with pytest.raises(SettingError, match="made up"):
            DPDataLoader(Numbers(60), sample_rate=0.2, **settings_)
    with pytest.raises(SettingError, match="streams"):
        DPDataLoader(Endless(), sample_rate=0.2)
    with pytest.raises(SettingError, match="one record a batch"):
        DPDataLoader(Numbers(60), sample_rate=0.001)


def test_a_secret_loader_is_not_copied() -> None:
    from quintain.core.errors import PrivacyError

    loader = PoissonLoader.from_loader(
        DataLoader(TensorDataset(torch.zeros(4)), batch_size=2), RandomStream.from_os_entropy()
    )
    with pytest.raises(PrivacyError, match="copy or pickle"):
        copy.deepcopy(loader)


REPEATS = {
    "subset": lambda data: Subset(data, [0] * 50 + [1, 2]),
    "nested": lambda data: Subset(Subset(data, [3, 4, 4, 5]), [0, 1, 2, 3]),
    "joined": lambda data: ConcatDataset([data, data]),
    "joined subsets": lambda data: ConcatDataset([Subset(data, range(6)), Subset(data, torch.arange(5, 9))]),
    "subset of joined": lambda data: Subset(ConcatDataset([data, Subset(data, [1, 2])]), [1, 5, 10]),
}
ONCE = {
    "plain": lambda data: data,
    "subset": lambda data: Subset(data, [3, 1, 2]),
    "joined": lambda data: ConcatDataset(
        [Subset(data, range(5)), Subset(data, range(5, 10)), TensorDataset(torch.arange(10))]
    ),
}


@pytest.mark.parametrize("kind", REPEATS)
def test_records_that_are_in_the_data_more_than_once_are_warned_of(kind: str) -> None:
    data = REPEATS[kind](TensorDataset(torch.arange(10)))
    for make in (
        lambda: PoissonLoader.from_loader(DataLoader(data, batch_size=2), RandomStream.from_seed(0)),
        lambda: DPDataLoader(data, sample_rate=0.5),
    ):
        with pytest.warns(UserWarning, match=r"records more than once, one of them \d+ times"):
            make()
    origin = [int(data[row][0]) for row in range(len(data))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PoissonLoader.from_loader(DataLoader(data, batch_size=1), RandomStream.from_seed(0), units=origin)
    with pytest.warns(UserWarning, match="more than once"):
        PoissonLoader.from_loader(
            DataLoader(data, batch_size=1), RandomStream.from_seed(0), units=list(range(len(data)))
        )


@pytest.mark.parametrize("kind", ONCE)
def test_records_that_are_there_once_are_not_warned_of(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PoissonLoader.from_loader(
            DataLoader(ONCE[kind](TensorDataset(torch.arange(10))), batch_size=2), RandomStream.from_seed(0)
        )


FAULTS = {"twice": lambda rows: np.repeat(rows, 2), "out of order": lambda rows: rows[::-1]}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", [PoissonLoader, BallsInBinsLoader])
def test_a_batch_with_a_record_twice_or_out_of_order_is_refused(
    kind: type[SamplingLoader], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = kind._sample_units
    monkeypatch.setattr(kind, "_sample_units", lambda loader, batch: FAULTS[fault](real(loader, batch)))
    with pytest.raises(PrivacyError, match="strictly increasing"):
        list(rows_of(kind, records=100, batch=50, steps=2))
