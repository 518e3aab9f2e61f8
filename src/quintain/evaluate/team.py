"""Several processes on one evaluation, as ``torchrun`` starts them: each takes its batches, the first one gathers."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor

PATIENCE = timedelta(days=7)
"""How long the first process waits for the others; ``torchrun`` ends all of them when one dies."""


@dataclass(frozen=True, slots=True)
class Team:
    """This process among those of the run.

    Args:
        rank: Its number; 0 gathers and writes.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    def takes(self, batch: int) -> bool:
        """Whether a batch is this process' own: they go round."""
        return batch % self.size == self.rank

    def gathered(self, data: bytes) -> list[bytes]:
        """What every process has, in their order."""
        if self.size == 1:
            return [data]
        from torch import distributed

        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(self.size)]
        distributed.all_gather(lengths, torch.tensor([len(data)]))
        room = max(int(length) for length in lengths)
        parts = [torch.zeros(room, dtype=torch.uint8) for _ in range(self.size)]
        distributed.all_gather(parts, _padded(data, room))
        return [part[: int(length)].numpy().tobytes() for part, length in zip(parts, lengths, strict=True)]

    def heard(self, text: str) -> str:
        """What the first process says."""
        return self.gathered(text.encode())[0].decode()


ALONE = Team()


def joined() -> Team:
    """The team that ``torchrun`` made (gloo), or this process alone."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE
    from torch import distributed

    if not distributed.is_initialized():
        distributed.init_process_group("gloo", timeout=PATIENCE)
    return Team(distributed.get_rank(), distributed.get_world_size())


def _padded(data: bytes, room: int) -> Tensor:
    whole = torch.zeros(room, dtype=torch.uint8)
    if data:
        whole[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return whole
