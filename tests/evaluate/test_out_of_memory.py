"""A net that runs out of memory above some examples is attacked and certified all the same, and says so."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from quintain.attacks import PGD, Square
from quintain.data import from_arrays
from quintain.evaluate.model import named_model
from quintain.evaluate.step import StepOutput, record_step
from quintain.evaluate.steps.attack import run_attack
from quintain.evaluate.steps.certify import run_certify
from quintain.models import Classifier
from quintain.results.robustness_records import AttackResult
from quintain.testing import random_inputs
from quintain.threats import L2, Linf

X = random_inputs(20, 3, 4, seed=1).float()


class Small(nn.Module):
    """A net whose logits do not depend on the rest of the batch, which has room for so many examples.

    Args:
        room: How many.
        backward: Whether it is the backward pass that needs the room.
    """

    def __init__(self, room: int, *, backward: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(3, 12, generator=generator))
        self.room, self.backward = room, backward

    def forward(self, x: Tensor) -> Tensor:
        if self.backward and x.requires_grad:
            x.register_hook(self._need_room)
        elif not self.backward:
            self._need_room(x)
        return ((x.flatten(1) - 0.5)[:, None] * self.weight).sum(-1)

    def _need_room(self, x: Tensor) -> None:
        if len(x) > self.room:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {len(x)} examples")


DATA = from_arrays(X.numpy(), Small(99)(X).argmax(1).numpy(), num_classes=3)


def recorded(net: nn.Module, run: Callable[..., StepOutput]) -> tuple[str, tuple[str, ...]]:
    """What a step finds without what the clock says, and its notes."""
    subject = named_model(Classifier(net.eval(), num_classes=3), "model", "model")
    record = record_step(lambda: run(subject), command="test", seed=0, data=("x", ""))
    result = record.result
    if isinstance(result, AttackResult):  # the diagnostics look at fewer examples, and say so
        result = AttackResult(tuple(replace(one, diagnostics=None) for one in result.models))
    return re.sub(r"(seconds|sha256|hash)=[^,)]*", "", repr((result, record.claims))), record.notes


@pytest.fixture
def steps(tmp_path: Path) -> dict[str, Callable[..., StepOutput]]:
    folders = iter(range(100))

    def attack(chosen: object, threat: object) -> Callable[..., StepOutput]:
        return lambda subject: run_attack(
            subject, DATA, [threat], {"it": chosen}, folder=tmp_path / str(next(folders))
        )

    return {
        "gradients": attack(PGD(steps=5), Linf(0.2)),
        "scores": attack(Square(queries=400), L2(1.0)),
        "smoothing": lambda subject: run_certify(
            subject, DATA.subset([0, 1]), [L2(0.1)], "smoothing", sigma=0.25, noise_samples=64, seed=0
        ),
    }


@pytest.mark.parametrize(
    ("step", "room", "backward"),
    [("gradients", 7, False), ("gradients", 7, True), ("scores", 3, False), ("smoothing", 40, False)],
)
def test_the_results_are_those_of_enough_memory_and_the_note_says_so(
    steps: dict[str, Callable[..., StepOutput]], step: str, room: int, backward: bool
) -> None:
    wanted, silent = recorded(Small(10**6), steps[step])
    net = Small(room, backward=backward)
    found, notes = recorded(net, steps[step])
    assert found == wanted
    assert not any("memory" in note for note in silent)
    taken = [found for note in notes for found in re.findall(r"; (\d+) at a time were taken", note)]
    assert taken
    assert all(int(count) <= room for count in taken)
