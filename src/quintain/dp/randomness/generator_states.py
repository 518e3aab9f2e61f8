"""The states of the common random generators, to repeat what draws from them or to leave no trace."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorStates:
    """The states of the generators of torch, of CUDA where it is in use, of NumPy and of Python."""

    torch: Tensor
    devices: tuple[tuple[int, Tensor], ...]
    numpy: Any
    python: Any

    @classmethod
    def now(cls) -> "GeneratorStates":
        """Return the states as they are."""
        devices = (
            range(torch.cuda.device_count())
            if torch.cuda.is_available() and torch.cuda.is_initialized()
            else ()
        )
        cuda = tuple((device, torch.cuda.get_rng_state(device)) for device in devices)
        return cls(torch.get_rng_state(), cuda, np.random.get_state(), random.getstate())

    def restore(self) -> None:
        """Set the generators to these states."""
        torch.set_rng_state(self.torch)
        for device, state in self.devices:
            torch.cuda.set_rng_state(state, device)
        np.random.set_state(self.numpy)
        random.setstate(self.python)

    def is_like(self, other: "GeneratorStates") -> bool:
        """Whether torch's generators have the same states."""
        pairs = zip(
            (self.torch, *(x for _, x in self.devices)),
            (other.torch, *(x for _, x in other.devices)),
            strict=False,
        )
        return len(self.devices) == len(other.devices) and all(torch.equal(one, x) for one, x in pairs)


@contextmanager
def fixed_generators(seed: int = 0) -> Iterator[None]:
    """Set all generators of the CPU to the states of a seed, and restore all of them afterwards."""
    before = GeneratorStates.now()
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        before.restore()
