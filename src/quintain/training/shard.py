"""The part of each batch that one of several processes trains on, and averages over all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from quintain.core.errors import ModelError, SettingError


@dataclass(frozen=True, slots=True)
class Shard:
    """Every ``size``-th example of a batch, from ``rank`` on; by default the whole batch, of one process.

    Of a batch of fewer examples than processes each has all.

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
        """Return the rows (n,) that this process trains on, of a batch of ``count`` examples."""
        return torch.arange(count) if count < self.size else torch.arange(self.rank, count, self.size)

    def average(self, tensors: Sequence[Tensor], mine: int, all_examples: int) -> None:
        """Replace each tensor in place by its mean over the whole batch; all processes get the same bits.

        Args:
            tensors: Means over the examples of this process, such as gradients, of the same shapes on all.
            mine: Number of examples of this process.
            all_examples: Number of examples in the whole batch.
        """
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        # where each has the whole batch, all count alike
        flat = flat * (mine / (all_examples if all_examples >= self.size else all_examples * self.size))
        distributed.all_reduce(flat, group=self.group)
        for tensor, part in zip(tensors, flat.split([one.numel() for one in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            distributed.barrier(group=self.group)


def require_shardable(net: nn.Module, shard: Shard) -> None:
    """Refuse a net whose training would depend on how a batch is divided over several processes.

    Raises:
        ModelError: If it has a batch norm other than ``SyncBatchNorm``: its statistics would be each shard's.
    """
    if shard.size == 1:
        return
    unsynced = [
        name
        for name, layer in net.named_modules()
        if isinstance(layer, _BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
    ]
    if unsynced:
        raise ModelError(
            f"layer {unsynced[0]!r} is a batch norm, whose statistics would be those of each process' shard; "
            "expected none under several processes: use GroupNorm, or on GPUs "
            "nn.SyncBatchNorm.convert_sync_batchnorm(net)"
        )


WHOLE_BATCH = Shard()
"""The shard of a process that trains alone."""
