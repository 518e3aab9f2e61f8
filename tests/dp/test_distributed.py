"""Two processes train as one: one draw, one noise, one ledger."""

import re
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import PrivacyError
from quintain.dp import Features, PrivatePlan, fit
from quintain.dp.distributed import (
    SINGLE_PROCESS,
    DifferentiallyPrivateDistributedDataParallel,
    World,
    current_world,
    world_of,
)
from quintain.dp.randomness.stream import RandomStream
from tests.dp.support import together
from tests.dp.support.forks import Forks

Found = Mapping[str, np.ndarray]
ALIKE = ("plain", "in pieces", "with units", "adaptive", "told by its sampler", "out of memory", "natively")


@pytest.fixture(scope="module")
def team(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Found]:
    """What two processes found."""
    folder = tmp_path_factory.mktemp("team")
    ended = forks.run(*((together.__name__, "main", [rank, 2, str(folder)]) for rank in range(2)))
    assert ended == [(0, None), (0, None)]
    first, second = (dict(np.load(folder / f"{rank}.npz")) for rank in range(2))
    return first, second


@pytest.fixture(scope="module")
def alone() -> Found:
    """What one process finds."""
    return {
        f"{name}/{key}": np.array(value)
        for name, case in together.CASES.items()
        for key, value in case(False).items()
    }


@pytest.mark.parametrize("case", ALIKE)
def test_two_processes_train_as_one(team: tuple[Found, Found], alone: Found, case: str) -> None:
    first, second = team
    assert (first[f"{case}/weights"] == second[f"{case}/weights"]).all()
    np.testing.assert_allclose(first[f"{case}/weights"], alone[f"{case}/weights"], rtol=1e-4, atol=1e-6)
    assert (
        first[f"{case}/bound"] == second[f"{case}/bound"] == pytest.approx(alone[f"{case}/bound"], rel=1e-9)
    )
    for found in team:
        assert found[f"{case}/ledger"].tolist() == alone[f"{case}/ledger"].tolist()


def test_processes_that_share_a_kept_key_share_noise_that_follows_from_all_their_sums(
    team: tuple[Found, Found],
) -> None:
    first, second = team
    assert (first["keyed/weights"] == second["keyed/weights"]).all()
    assert first["keyed/bound"] == second["keyed/bound"] != 0.4


@pytest.mark.parametrize("case", ["plain", "in pieces", "told by its sampler"])
def test_each_takes_its_part_of_one_draw(team: tuple[Found, Found], alone: Found, case: str) -> None:
    parts = [{tuple(row) for row in found[f"{case}/rows"].tolist()} for found in team]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == {tuple(row) for row in alone[f"{case}/rows"].tolist()}
    sizes = np.stack([found[f"{case}/sizes"] for found in team])
    assert sizes.sum(0).tolist() == alone[f"{case}/sizes"].tolist()
    assert (np.abs(sizes[0] - sizes[1]) <= 1).all()
    assert case != "plain" or (sizes.min() == 0 and sizes.sum(0).max() > 1)


def test_a_unit_is_in_one_process_alone(team: tuple[Found, Found]) -> None:
    parts = [
        {(step, together.KEYS[row]) for step, row in found["with units/rows"].tolist()} for found in team
    ]
    assert parts[0]
    assert not parts[0] & parts[1]


def test_noise_is_added_once(team: tuple[Found, Found], alone: Found) -> None:
    for found in (*team, alone):
        z = found["noise/weights"]
        assert z.var() == pytest.approx(1, rel=6 * np.sqrt(2 / len(z)))
    np.testing.assert_allclose(team[0]["noise/weights"], alone["noise/weights"], rtol=1e-5, atol=1e-6)


def test_a_process_that_is_not_the_first_adds_no_noise(made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "all_reduce_sum", lambda self, x: None)
    monkeypatch.setattr(World, "check_same_on_all", lambda self, told=None, hint="": None)
    for rank, spread in ((0, 1.5), (1, 0.0)):
        net = nn.Linear(50, 40, bias=False)
        optimizer, loader = made(net, torch.zeros(8, 50), batch=8, sigma=1.5)
        loader.world = World(rank, 2)
        (x,) = next(iter(loader))
        assert len(x) == 4
        net(x).sum(1).mean().backward()
        optimizer.step()
        assert float(net.weight.grad.std()) * 8 == pytest.approx(spread, rel=0.1)


def test_secret_keys_and_first_weights_are_shared(team: tuple[Found, Found], alone: Found) -> None:
    for case in ("secret", "discrete"):
        first, second = (found[f"{case}/weights"] for found in team)
        assert (first == second).all()
    assert not np.allclose(first, alone["plain/weights"], atol=1e-3)


def test_samplers_of_known_names_partition_one_draw(team: tuple[Found, Found]) -> None:
    first, second = (found["known"] for found in team)
    for part in (lambda rows: rows[rows[:, 0] < 100], lambda rows: rows[rows[:, 0] >= 100]):
        mine, its = ({tuple(row) for row in part(rows).tolist()} for rows in (first, second))
        assert mine
        assert not mine & its


def test_what_would_not_be_one_run_is_refused(team: tuple[Found, Found]) -> None:
    for found in team:
        lone, parallel, uneven, sampler = found["refused"].tolist()
        assert "2 processes and a module of this one alone" in lone
        assert "waits for plain gradients" in parallel
        assert "differ in their records" in uneven
        assert "for 3 processes, and training by 2" in sampler


REFUSED = {
    "module": "PrivacyError: got 2 processes and a module of this one alone",
    "setting": "SettingError: got noise_multiplier = -1",
    "layer": "BatchNorm1d",
    "budget": "SettingError: got stop_at_epsilon = (0.001, 1e-05), which affords no step",
    "step": "PrivacyError: step() without captured gradients",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_one_process_refuses_all_refuse(team: tuple[Found, Found], case: str) -> None:
    """None is left waiting for another that has gone."""
    heard, refusing = (str(found[f"one/{case}"]) for found in team)
    assert REFUSED[case] in refusing
    assert heard.startswith("PeerRefusedError: process 1 of 2 has refused, and the others with it")


DIFFER = {
    "bound": "max_grad_norm",
    "way to clip": "way to clip",
    "noise": "noise_multiplier",
    "reduction": "loss_reduction",
    "budget": "stop_at_epsilon",
    "axis": "batch_first",
    "seed": "release",
    "keys": "units",
    "order": "data set",
    "tensors": "data set",
    "files": "records as read",
    "changed files": "records as read",
    "changed by itself": "records as read",
    "natively": "noise_multiplier",
}


@pytest.mark.parametrize("case", DIFFER)
def test_processes_that_are_told_other_settings_or_data_all_refuse_and_say_what_differs(
    team: tuple[Found, Found], case: str
) -> None:
    for rank, found in enumerate(team):
        message = str(found[f"differ/{case}"])
        assert message.startswith("the processes differ in their ")
        assert f"{DIFFER[case]} (" in message
        assert f"(process {rank}: " in message


@pytest.mark.parametrize(
    ("case", "name"),
    {"schedule": "max_grad_norm", "bound set": "max_grad_norm", "noise set": "noise_multiplier"}.items(),
)
def test_a_bound_or_a_noise_that_one_process_alone_changes_is_refused_before_the_step(
    team: tuple[Found, Found], case: str, name: str
) -> None:
    for found in team:
        message = str(found[f"differ/{case}"])
        assert message.startswith(f"after 2: the processes differ in their {name} (")
        assert "schedules step" in message


def test_processes_of_the_same_settings_and_data_train_though_records_are_changed_at_random(
    team: tuple[Found, Found],
) -> None:
    for found in team:
        heard = {case: str(found[f"alike/{case}"]) for case in (*together.SAME, *together.LATER)}
        assert not any(heard.values()), heard


COMPARED = {
    "tensors": r"length, subsets, units, and all tensors in memory$",
    "files": r"length, subsets, units, and 16 records as they are read$",
    "changed by torch": r"length, subsets, units, and 16 records as they are read$",
    "changed by itself": r"length, subsets and units; "
    r"of 16 records all but part 1 of a record; part 1 .* differed when read again",
    "labels alone": r"length, subsets and units; "
    r"the records are not compared: all but part 1 .* has few values.*differed when read again",
}


@pytest.mark.parametrize("case", COMPARED)
def test_parts_of_records_that_cannot_be_compared_are_warned_of_and_recorded(
    team: tuple[Found, Found], case: str
) -> None:
    """Where labels alone agree, each process may hold other pictures."""
    for found in team:
        assert re.match(COMPARED[case], str(found[f"compared/{case}"]))


def test_a_run_after_refusals_trains(team: tuple[Found, Found]) -> None:
    assert [str(found["one/nothing"]) for found in team] == ["", ""]


def test_one_process_needs_no_group() -> None:
    assert current_world() == world_of(nn.Linear(2, 2)) == SINGLE_PROCESS == World(0, 1)
    stream = RandomStream.from_seed(0)
    assert SINGLE_PROCESS.broadcast_stream(stream) is stream
    assert SINGLE_PROCESS.shard(np.arange(3)).tolist() == [0, 1, 2]
    sums = torch.ones(2)
    SINGLE_PROCESS.all_reduce_sum(sums)
    SINGLE_PROCESS.check_same_on_all({"steps": 1})
    assert sums.tolist() == [1, 1]
    with pytest.raises(PrivacyError, match="torchrun"):
        DifferentiallyPrivateDistributedDataParallel(nn.Linear(2, 2))


def test_a_plan_is_not_trained_by_one_of_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quintain.dp.distributed.current_world", lambda: World(0, 2))
    plan = PrivatePlan(1.0, 1.0, 4, 2, 0.1)
    with pytest.raises(PrivacyError, match=r"got 2 processes and a module of this one alone"):
        fit(nn.Linear(2, 2), Features(torch.rand(8, 2), torch.arange(8) % 2), plan)
