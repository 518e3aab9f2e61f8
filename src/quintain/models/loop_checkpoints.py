"""The state of long loops of numbers, kept in a folder about every ten seconds, so that a killed run resumes.

They are passed in as progress is: a loop names its state, begins at the step that is kept, and offers its
state after each step.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor

from quintain.core.errors import RunFolderError
from quintain.core.files import write_atomically
from quintain.core.progress import CheckpointTimer
from quintain.core.settings_difference import settings_difference
from quintain.models.sealed_tensors import read_checkpoint, seal_checkpoint

State = Mapping[str, Tensor]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The states of the loops of one run.

    Args:
        folder: Where; made with the first state. Nothing is kept if not given.
        settings: All that the loops depend on; a state of other settings is refused.
        prefix: What the names of the states begin with.
    """

    folder: Path | None = None
    settings: Mapping[str, object] = field(default_factory=dict)
    prefix: str = ""
    _timer: CheckpointTimer = field(default_factory=CheckpointTimer)
    _steps: dict[str, int] = field(default_factory=dict)

    def within(self, name: str) -> "Checkpoints":
        """Return the checkpoints of a part of the run, whose names cannot clash with those of others."""
        return replace(self, prefix=f"{self.prefix}{name}-")

    def loop(self, name: str) -> "LoopCheckpoint":
        """Return the state of a loop.

        Raises:
            RunFolderError: If it is damaged, or of a run of other settings.
        """
        return LoopCheckpoint(self, f"{self.prefix}{name}")

    @property
    def kept_steps(self) -> Mapping[str, int]:
        """The steps that are kept of each loop that was begun or gone on with, by its whole name."""
        return self._steps

    def save(self, name: str, step: int, state: State) -> None:
        """Write the state of a loop under its whole name, whole or not at all."""
        if self.folder is None:
            return
        words = {"step": str(step), "settings": json.dumps(self.settings)}
        with self._timer.writing():
            write_atomically(self.folder / f"{name}.safetensors", seal_checkpoint(state, words), mode=0o600)
        self._steps[name] = step

    def load(self, name: str) -> tuple[int, State]:
        """Read the finished steps of a loop, and its state after them."""
        path = self.folder / f"{name}.safetensors" if self.folder else None
        if path is None or not path.exists():
            return 0, {}
        words, state = read_checkpoint(path, "delete it, and the same command does that part again")
        different = settings_difference(json.loads(words.get("settings", "{}")), self.settings)
        if different or "step" not in words:
            raise RunFolderError(
                f"{path} belongs to an unfinished run of other settings ({different}); use the same, or "
                "another --out"
            )
        self._steps[name] = int(words["step"])
        return self._steps[name], state

    def is_due(self) -> bool:
        """Return whether there is a folder, and it is time for the next state."""
        return self.folder is not None and self._timer.is_due()


class LoopCheckpoint:
    """The state of one loop.

    Args:
        checkpoints: Those of the run.
        name: The whole name.

    Attributes:
        step: Finished steps; 0 where nothing is kept.
        state: Tensors by name after these steps, on the CPU; none where nothing is kept.
    """

    def __init__(self, checkpoints: Checkpoints, name: str) -> None:
        self._checkpoints, self._name = checkpoints, name
        self.step, self.state = checkpoints.load(name)

    def save(self, step: int, state: State) -> None:
        """Keep the state after so many steps."""
        self._checkpoints.save(self._name, step, state)

    def offer(self, step: int, steps: int, state: Callable[[], State]) -> None:
        """Keep the state after so many of all ``steps`` if that is due, and after the last one."""
        if step == steps or self._checkpoints.is_due():
            self.save(step, state())


no_checkpoints = Checkpoints()
"""Keeps nothing."""


def with_checkpoints(function: Function, checkpoints: Checkpoints) -> Function:
    """Return a function with its argument ``checkpoints`` given, where it has one."""
    if "checkpoints" not in inspect.signature(function).parameters:
        return function
    return cast(Function, partial(function, checkpoints=checkpoints))
