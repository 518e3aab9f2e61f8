"""A batch that does not fit into memory is taken in halves, and that is told."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch

from quintain.attacks import NES, SPSA, HopSkipJump, OnePixel
from quintain.attacks.base import Attack
from quintain.core.errors import ExecutionError
from quintain.models import BlackBox, Classifier
from quintain.models.memory import in_fitting_parts, is_out_of_memory, largest_fitting_part, memory_log
from quintain.threats import L0, Linf

OUT = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
    RuntimeError("std::bad_alloc"),
)


class Small:
    """Squares numbers, at most ``room`` of them at a time."""

    def __init__(self, room: int, error: Exception = OUT[0]) -> None:
        self.room, self.error = room, error
        self.tried: list[int] = []

    def __call__(self, part: slice) -> list[int]:
        numbers = range(100)[part]
        self.tried.append(len(numbers))
        if len(numbers) > self.room:
            raise self.error
        return [number**2 for number in numbers]


def squares(run: Small, count: int) -> list[int]:
    return [square for part in in_fitting_parts(run, count, work="squares") for square in part]


@pytest.mark.parametrize("error", OUT, ids=["cuda", "mps", "cpu", "python", "c++"])
@pytest.mark.parametrize("room", [1, 2, 3, 7, 13, 20, 50])
def test_every_example_is_taken_once_and_in_order(room: int, error: Exception) -> None:
    assert squares(Small(room, error), 20) == [number**2 for number in range(20)]


def test_halves_are_halved_where_that_suffices() -> None:
    run = Small(5)
    squares(run, 16)
    assert run.tried == [16, 8, 4, 4, 4, 4]


def test_what_did_not_fit_is_not_tried_again_and_is_told() -> None:
    with memory_log() as log:
        squares(Small(5), 16)
        again, larger = Small(5), Small(50)
        squares(again, 16)
        list(in_fitting_parts(larger, 16, work="other"))
    assert again.tried == [4, 4, 4, 4]
    assert larger.tried == [16]
    assert log.notes == (
        "squares: memory did not suffice for 16 examples at a time; 4 at a time were taken, "
        "which changes nothing but rounding",
    )


def test_what_rests_on_several_together_rests_on_fewer_and_that_is_told() -> None:
    with memory_log() as log:
        assert largest_fitting_part(Small(20), 16, work="all") == [number**2 for number in range(16)]
        assert largest_fitting_part(Small(5), 16, work="sum") == [0, 1, 4, 9]
    assert log.notes == ("sum: memory did not suffice for 16 examples together; they rest on 4 of them",)
    with pytest.raises(ExecutionError, match="single example"):
        largest_fitting_part(Small(0), 16, work="sum")


def test_where_all_fits_nothing_is_told() -> None:
    with memory_log() as log:
        squares(Small(20), 20)
        assert squares(Small(20), 0) == []
    assert log.notes == ()


def test_one_example_that_does_not_fit_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ExecutionError, match=r"^squares: memory .* a single example; .*--device cpu"):
        squares(Small(0), 8)


@pytest.mark.parametrize("error", OUT)
def test_what_failed_on_one_example_is_said_and_kept_as_the_cause(error: Exception) -> None:
    with pytest.raises(ExecutionError) as raised:
        squares(Small(0, error), 1)
    assert raised.value.__cause__ is error
    assert str(raised.value).endswith(
        f"What failed: {type(error).__name__}" + (f": {error}" if str(error) else "")
    )


def test_other_errors_are_passed_on() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        squares(Small(3, RuntimeError("shapes cannot be multiplied")), 8)


def test_a_classifier_passes_on_that_memory_ran_out() -> None:
    class Large(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise OUT[0]

    with pytest.raises(torch.OutOfMemoryError):
        Classifier(Large().eval())(torch.zeros(2, 3))


@pytest.mark.parametrize("error", OUT)
def test_a_black_box_passes_on_that_memory_ran_out(error: Exception) -> None:
    def predict(x: np.ndarray) -> np.ndarray:
        if len(x) > 3:
            raise error
        return x[:, :2]

    model, x = BlackBox(predict), torch.rand(10, 3)
    with pytest.raises(type(error)):
        model(x)
    parts = in_fitting_parts(lambda part: model(x[part]), len(x), work="queries")
    assert torch.equal(torch.cat(list(parts)), x[:, :2])


def test_onnxruntime_is_understood_where_memory_runs_out() -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    said = "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for a buffer of size 9"
    assert is_out_of_memory(state.RuntimeException(said))
    assert is_out_of_memory(state.Fail("[ONNXRuntimeError] : 1 : FAIL : bad_alloc"))
    assert not is_out_of_memory(state.Fail("[ONNXRuntimeError] : 1 : FAIL : no such node"))


class Narrow(torch.nn.Module):
    """Compares two pixels, on at most ``room`` images at a time."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.room:
            raise OUT[0]
        return x.flatten(1)[:, :2]


@pytest.mark.parametrize(
    "attack",
    [HopSkipJump(400), NES(queries=400), SPSA(queries=400), OnePixel()],
    ids=lambda one: one.name,
)
def test_the_probes_of_one_example_are_halved_too_and_counted_once(attack: Attack) -> None:
    x, y = (
        torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)),
        torch.zeros(2, dtype=torch.long),
    )
    x[:, 0, 0, 0] = x[:, 0, 0, 1] + 0.1
    threat = L0(1) if attack.name == "one-pixel" else Linf(0.2)
    whole, halved = (
        attack(Classifier(Narrow(room).eval()), x, y, threat, max_queries=400) for room in (10**6, 2)
    )
    assert torch.equal(whole.adversarial, halved.adversarial)
    assert torch.equal(whole.forwards, halved.forwards)


def test_what_the_computer_says_is_known() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**15)
    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(ValueError("out of memory"))


FAULTS = """
import resource
import torch
from quintain.models.memory import keep_freed_memory

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        first, second = torch.zeros(700_000), torch.zeros(700_000)
        del first, second
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages()
fetched = pages()
keep_freed_memory()
pages()
print(fetched, pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory by other rules")
def test_freed_memory_is_kept_for_the_next_batch() -> None:
    output = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    before, after = map(int, output.split())
    # 1,300 pages of 4 KiB in each of 20 rounds, unless the system has larger pages
    assert before > 20
    assert after < before / 10
