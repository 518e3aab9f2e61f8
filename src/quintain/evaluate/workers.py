"""Processes that share one evaluation, as ``torchrun`` starts them.

Each has its batches, the first one gathers.
"""

from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

from quintain.core.processes import world_size

PATIENCE = timedelta(days=7)
"""How long the first process waits for the others; ``torchrun`` ends all of them when one dies."""


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """The processes of a run, seen from one of them.

    Args:
        rank: Number of this process; 0 gathers and writes.
        world_size: How many processes there are.
    """

    rank: int = 0
    world_size: int = 1

    def owns(self, batch: int) -> bool:
        """Return whether a batch belongs to this process; batches are dealt in turn."""
        return batch % self.world_size == self.rank

    def all_gather(self, data: bytes) -> list[bytes]:
        """Return the data of every process, in the order of their ranks."""
        if self.world_size == 1:
            return [data]
        from torch import distributed

        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.world_size)]
        distributed.all_gather(lengths, torch.tensor([len(data)]))
        room = max(int(length) for length in lengths)
        parts = [torch.zeros(room, dtype=torch.uint8) for _ in range(self.world_size)]
        distributed.all_gather(parts, _pad(data, room))
        return [part[: int(length)].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]

    def broadcast(self, text: str) -> str:
        """Return the text of the first process."""
        return self.all_gather(text.encode())[0].decode()


SINGLE_PROCESS = WorkerGroup()


def init_workers() -> WorkerGroup:
    """Join the processes that ``torchrun`` started (gloo), or return this process alone."""
    size = world_size()
    if size == 1:
        return SINGLE_PROCESS
    from torch import distributed

    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=PATIENCE)
    return WorkerGroup(distributed.get_rank(), distributed.get_world_size())


def _pad(data: bytes, room: int) -> Tensor:
    whole = torch.zeros(room, dtype=torch.uint8)
    if data:
        whole[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return whole
