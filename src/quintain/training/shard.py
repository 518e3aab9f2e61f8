"""The share of each batch that one of several processes trains on, and the sums over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quintain.core.errors import ModelError, SettingError


@dataclass(frozen=True, slots=True)
class Shard:
    """Every ``size``-th example of a batch, from ``rank`` on; by default the whole batch, of one process.

    Args:
        rank: The number of this process.
        size: How many processes train together.
        group: How they reach each other; None for one alone.
    """

    rank: int = 0
    size: int = 1
    group: distributed.ProcessGroup | None = None

    @staticmethod
    def of(group: distributed.ProcessGroup | None) -> "Shard":
        """Return the shard of this process in a group; the whole batch where there is none.

        Raises:
            SettingError: If this process is not in the group.
        """
        if group is None:
            return Shard()
        rank = distributed.get_rank(group)
        if rank < 0:
            raise SettingError(
                "this process is not in the group; expected a group of all that train together"
            )
        return Shard(rank, distributed.get_world_size(group), group)

    def rows(self, count: int) -> Tensor:
        """Return the rows of a batch of so many examples that are this process' own."""
        return torch.arange(self.rank, count, self.size)

    def average(self, tensors: Sequence[Tensor], mine: int, all_examples: int) -> None:
        """Replace tensors, means over ``mine`` examples, in place by the means over the whole batch.

        All processes get the same bits. One without an example passes anything finite.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        flat = flat * (mine / all_examples) if mine else torch.zeros_like(flat)
        distributed.all_reduce(flat, group=self.group)
        for tensor, part in zip(tensors, flat.split([one.numel() for one in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier(group=self.group)


def require_shardable(net: nn.Module, shard: Shard) -> None:
    """Refuse a net whose training depends on how a batch is cut.

    Raises:
        ModelError: If it has batch norms: their statistics would be those of each shard.
    """
    norm = next((name for name, layer in net.named_modules() if isinstance(layer, _BatchNorm)), None)
    if shard.size > 1 and norm is not None and not isinstance(net.get_submodule(norm), nn.SyncBatchNorm):
        raise ModelError(
            f"layer {norm!r} is a batch norm, whose statistics would be those of each process' shard; "
            "expected none under several processes: use GroupNorm, or on GPUs "
            "nn.SyncBatchNorm.convert_sync_batchnorm(net)"
        )


WHOLE_BATCH = Shard()
"""The shard of a process that trains alone."""
