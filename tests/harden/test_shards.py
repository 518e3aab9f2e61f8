"""Two processes train as one: the same weights for both, which are those of one process up to rounding."""

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch

from quintain.training.objective import StepContext
from quintain.training.shard import Shard
from tests.dp.support.forks import Forks
from tests.harden import shards

Found = Mapping[str, np.ndarray]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    process = Forks()
    yield process
    process.close()


@pytest.fixture(scope="module")
def team(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """What two processes found."""
    folder = tmp_path_factory.mktemp("team")
    ended = forks.run(*((shards.__name__, "main", [rank, 2, str(folder)]) for rank in range(2)))
    assert ended == [(0, None), (0, None)]
    first, second = (dict(np.load(folder / f"{rank}.npz")) for rank in range(2))
    return first, second


@pytest.mark.parametrize("name", [name for name in shards.CASES if name != "awp"])
def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_shards(name: str) -> None:
    """AWP averages inside its loss, so that its shards need each other; they are in the exhaustive run."""
    net, objective, ids = shards.net(), shards.CASES[name].objective(), torch.arange(3, 12)
    x, y = shards.data().batch(ids)

    def gradient(rows: torch.Tensor, shard: Shard) -> torch.Tensor:
        net.zero_grad()
        place = StepContext(7, 10, 0, 1, seed=5, ids=ids[rows], batch_size=len(ids), shard=shard)
        objective(net.train(), x[rows], y[rows], place).backward()
        return torch.cat([parameter.grad.flatten() for parameter in net.parameters()])

    whole = gradient(torch.arange(9), Shard())
    parts = [len(shard.rows(9)) / 9 * gradient(shard.rows(9), shard) for shard in (Shard(0, 2), Shard(1, 2))]
    torch.testing.assert_close(parts[0] + parts[1], whole)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", shards.CASES)
def test_two_processes_train_as_one(team: tuple[Found, Found], name: str) -> None:
    first, second = team
    weights, losses = shards.trained(name)
    assert (first[f"{name}/weights"] == second[f"{name}/weights"]).all()
    np.testing.assert_allclose(first[f"{name}/weights"], weights, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(first[f"{name}/losses"], losses, rtol=1e-4)
    np.testing.assert_allclose(second[f"{name}/losses"], losses, rtol=1e-4)


@pytest.mark.exhaustive
def test_the_first_writes_the_checkpoint_and_both_read_it(team: tuple[Found, Found]) -> None:
    for found in team:
        assert (found["again/weights"] == found["trades/weights"]).all()
        assert (found["again/losses"] == found["trades/losses"]).all()


@pytest.mark.exhaustive
def test_batch_norms_are_refused(team: tuple[Found, Found]) -> None:
    for found in team:
        assert "'1' is a batch norm, whose statistics would be those of each" in str(found["refusal"])


def test_shards_are_a_partition_and_what_is_made_for_the_batch_is_cut_alike() -> None:
    parts = [Shard(rank, 3).rows(10) for rank in range(3)]
    assert sorted(torch.cat(parts).tolist()) == list(range(10))
    # of fewer examples than processes each has all
    assert [Shard(rank, 3).rows(2).tolist() for rank in range(3)] == [[0, 1]] * 3
    noise = torch.arange(10.0)
    for rank, rows in enumerate(parts):
        context = StepContext(0, 1, 0, 1, seed=0, ids=rows, batch_size=10, shard=Shard(rank, 3))
        assert torch.equal(context.rows_of_batch(noise), noise[rows])
    assert torch.equal(StepContext(0, 1, 0, 1, seed=0, ids=torch.arange(4)).rows_of_batch(noise), noise)
