"""A private run that was killed goes on bit for bit: no step is counted twice or not at all, and its key goes
when it ends.
"""

import signal
import stat
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from quintain.core.errors import RunFolderError
from quintain.data import from_arrays
from quintain.dp import Ledger, PrivatePlan, fit
from quintain.dp.training.resume import KEY_FILE, STATE_FILE, ResumableRun, delete_unfinished
from tests.dp.support import killed
from tests.dp.support.forks import Forks

PLAN = PrivatePlan(1.5, 1.0, 12, 6, learning_rate=0.3, momentum=0.5)
WRITES = 5
"""Files that the killed run writes: its key, its beginning, and after steps 2, 4 and 5."""
TIMES = {
    "recorded": killed.STEPS,
    "noised": killed.STEPS,
    "stepped": killed.STEPS,
    "opened": WRITES,
    "half written": WRITES,
    "written": WRITES,
    "renamed": WRITES,
    "key overwritten": WRITES + 1,
    "key removed": WRITES + 1,
}
"""How often a run can be killed at each point."""
EACH = [(kill, number) for kill, times in TIMES.items() for number in range(1, times + 1)]
KILLS = [
    pytest.param(
        kill, number, marks=() if place % 4 == 0 or (kill, number) == EACH[-1] else pytest.mark.exhaustive
    )
    for place, (kill, number) in enumerate(EACH)
]
"""Every fourth meets each point and each number, and the last one the end of the key."""
MODULE = killed.__name__


@pytest.fixture(scope="module")
def unbroken(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> dict:
    ((code, found),) = forks.run((MODULE, "unbroken", [str(tmp_path_factory.mktemp("unbroken") / "u")]))
    assert code == 0
    return found


@pytest.mark.parametrize(("kill", "number"), KILLS)
def test_a_run_killed_at_any_step_and_any_write_ends_as_if_it_had_not_been(
    forks: Forks, unbroken: dict, tmp_path: Path, kill: str, number: int
) -> None:
    folder = str(tmp_path / "u")
    assert forks.run((MODULE, "broken", [folder, kill, number])) == [(-signal.SIGKILL, None)]
    ((code, found),) = forks.run((MODULE, "gone_on", [folder]))
    assert code == 0
    kept = ("weights", "steps", "clipped", "ledger")
    assert [found[name] for name in kept] == [unbroken[name] for name in kept]
    assert found["drawn"] == unbroken["drawn"][found["from"] :]
    assert KEY_FILE not in found["left"]


def test_the_unbroken_run_is_the_one_that_keeps_nothing_and_passes_no_other_point(unbroken: dict) -> None:
    assert unbroken["steps"] == killed.STEPS == sum(release["steps"] for release in unbroken["ledger"])
    assert unbroken["told"] == [2, 4, 5]
    assert unbroken["left"] == [STATE_FILE]
    assert unbroken["calls"] == TIMES


def net() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 2))


def data(shift: float = 0.0):
    y = np.arange(40) % 2
    x = (
        np.random.default_rng(1).uniform(0, 0.5, (40, 3, 3)).astype(np.float32)
        + np.float32(0.5 - shift) * y[:, None, None]
    )
    return from_arrays(x.astype(np.float32), y)


class Stop(Exception):
    """What ends a run in these tests."""


def broken_off(folder: Path, at: int = 3, plan: PrivatePlan = PLAN, seed: int | None = None) -> None:
    def stop(step: int, _update: torch.Tensor) -> None:
        if step == at:
            raise Stop

    with pytest.raises(Stop):
        fit(net(), data(), plan, resume=ResumableRun(folder, every=2), on_step=stop, seed=seed)


def test_key_and_state_are_for_the_owner_alone(tmp_path: Path) -> None:
    broken_off(tmp_path / "u")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "u").iterdir()}
    assert modes == {KEY_FILE: 0o600, STATE_FILE: 0o600}
    assert stat.S_IMODE((tmp_path / "u").stat().st_mode) == 0o700
    assert len((tmp_path / "u" / KEY_FILE).read_bytes()) == 32


def test_what_is_kept_says_what_was_spent(tmp_path: Path) -> None:
    broken_off(tmp_path / "u")
    kept = ResumableRun(tmp_path / "u")
    ledger = Ledger()
    ledger.load_state_dict(kept.ledger)
    assert kept.steps == ledger.steps == 2
    model = net()
    model.load_state_dict(kept.weights)
    assert not torch.equal(model[1].weight, net()[1].weight)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"plan": PrivatePlan(1.4, 1.0, 12, 6, learning_rate=0.3, momentum=0.5)},
            r"plan = .*noise_multiplier=1.5.*, now .*1.4",
        ),
        ({"plan": PrivatePlan(1.5, 1.0, 12, 7, learning_rate=0.3, momentum=0.5)}, "plan = "),
        ({"data": data(0.1)}, "data = "),
        ({"net": nn.Sequential(nn.Flatten(), nn.Linear(9, 2))}, "first weights = "),
        ({"seed": 1}, "seed = None, now 1"),
    ],
    ids=["noise", "steps", "data", "model", "seed"],
)
def test_another_run_than_the_stored_one_is_refused(tmp_path: Path, change: dict, told: str) -> None:
    broken_off(tmp_path / "u")
    before = {path.name: path.read_bytes() for path in (tmp_path / "u").iterdir()}
    asked = {"net": net(), "data": data(), "plan": PLAN, "seed": None, **change}
    with pytest.raises(RunFolderError, match=f"{told}.*new run, which costs its own epsilon"):
        fit(
            asked["net"],
            asked["data"],
            asked["plan"],
            seed=asked["seed"],
            resume=ResumableRun(tmp_path / "u", every=2),
        )
    assert {path.name: path.read_bytes() for path in (tmp_path / "u").iterdir()} == before


def test_a_key_without_its_state_draws_other_noise_for_another_plan(tmp_path: Path) -> None:
    drawn = []
    for number, plan in enumerate(
        (PLAN, PLAN, PrivatePlan(1.5, 1.0, 12, 6, learning_rate=0.2, momentum=0.5))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / KEY_FILE).write_bytes(bytes(range(32)))
        updates: list[torch.Tensor] = []
        fit(
            net(),
            data(),
            plan,
            resume=ResumableRun(folder),
            on_step=lambda _step, update, to=updates: to.append(update.clone()),
        )
        drawn.append(updates[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_run_whose_key_is_gone_or_cut_cannot_go_on(tmp_path: Path) -> None:
    broken_off(tmp_path / "u")
    (tmp_path / "u" / KEY_FILE).write_bytes(b"short")
    with pytest.raises(RunFolderError, match=r"holds 5 bytes, a key has 32.*2 steps stay spent"):
        fit(net(), data(), PLAN, resume=ResumableRun(tmp_path / "u", every=2))
    (tmp_path / "u" / KEY_FILE).unlink()
    with pytest.raises(RunFolderError, match="2 steps stay spent"):
        fit(net(), data(), PLAN, resume=ResumableRun(tmp_path / "u", every=2))


def test_a_damaged_state_is_told(tmp_path: Path) -> None:
    (tmp_path / STATE_FILE).write_bytes(b"x")
    with pytest.raises(RunFolderError, match="cannot be read"):
        ResumableRun(tmp_path)


@pytest.mark.parametrize("damage", ["words", "no words", "a weight", "no weight"])
def test_a_state_with_other_contents_is_told_with_what_stays_spent(tmp_path: Path, damage: str) -> None:
    broken_off(tmp_path / "u")
    path = tmp_path / "u" / STATE_FILE
    with safe_open(path, framework="pt") as file:
        words, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if damage == "words":
        words["run"] = "{"
    elif damage == "no words":
        words = {"run": words["run"]}
    elif damage == "a weight":
        tensors["weights.1.weight"] += 1
    else:
        del tensors["weights.1.weight"]
    save_file(tensors, path, words)
    with pytest.raises(
        RunFolderError, match=r"is not what was written.*the steps that were taken stay spent"
    ):
        ResumableRun(tmp_path / "u", every=2)


def test_a_finished_run_is_not_done_again_and_needs_no_key(tmp_path: Path) -> None:
    first, second = net(), net()
    once = fit(first, data(), PLAN, resume=ResumableRun(tmp_path / "u"))
    assert [path.name for path in (tmp_path / "u").iterdir()] == [STATE_FILE]
    again = fit(
        second,
        data(),
        PLAN,
        resume=ResumableRun(tmp_path / "u"),
        on_step=lambda *_: pytest.fail("another step"),
    )
    assert torch.equal(first[1].weight, second[1].weight)
    assert (once.epsilon, once.steps, once.clipped_fraction) == (
        again.epsilon,
        again.steps,
        again.clipped_fraction,
    )


@pytest.mark.parametrize("settings", [{"ema_decay": 0.9}, {"momentum": 0.9}], ids=["average", "momentum"])
def test_a_seeded_run_that_broke_off_ends_as_the_unbroken_one(tmp_path: Path, settings: dict) -> None:
    plan = PrivatePlan(
        **{
            "noise_multiplier": 1.5,
            "max_grad_norm": 1.0,
            "expected_batch_size": 12,
            "steps": 6,
            "learning_rate": 0.3,
            **settings,
        }
    )
    whole, parts = net(), net()
    fit(whole, data(), plan, seed=5)
    broken_off(tmp_path / "u", plan=plan, seed=5)
    fit(parts, data(), plan, seed=5, resume=ResumableRun(tmp_path / "u", every=2))
    assert torch.equal(whole[1].weight, parts[1].weight)


def test_forgetting_leaves_nothing(tmp_path: Path) -> None:
    broken_off(tmp_path / "u" / "main")
    delete_unfinished(tmp_path / "u")
    assert list(tmp_path.iterdir()) == []
    delete_unfinished(tmp_path / "u")


def test_going_on_in_the_same_process_warns_of_no_other_training(tmp_path: Path) -> None:
    def stop(step: int, _update: torch.Tensor) -> None:
        if step == 3:
            raise Stop

    trained = net()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        with pytest.raises(Stop):
            fit(trained, data(), PLAN, resume=ResumableRun(tmp_path / "u", every=2), on_step=stop)
        trained.load_state_dict(net().state_dict())
        found = fit(trained, data(), PLAN, resume=ResumableRun(tmp_path / "u", every=2))
    assert found.steps == PLAN.steps
    assert found.epsilon == fit(net(), data(), PLAN, seed=1).epsilon
