"""Which nets may be trained on shards of a batch."""

import pytest
from torch import nn

from quintain.core.errors import ModelError
from quintain.training.shard import Shard, require_shardable

TWO = Shard(rank=0, size=2)


def test_a_batch_norm_behind_a_synchronized_one_is_refused_by_its_name() -> None:
    net = nn.Sequential(nn.SyncBatchNorm(4), nn.ReLU(), nn.BatchNorm2d(4))
    with pytest.raises(ModelError, match=r"layer '2' is a batch norm"):
        require_shardable(net, TWO)


def test_synchronized_batch_norms_may_be_trained_by_several_processes_and_any_by_one() -> None:
    require_shardable(nn.Sequential(nn.SyncBatchNorm(4), nn.GroupNorm(2, 4)), TWO)
    require_shardable(nn.BatchNorm2d(4), Shard())
    assert Shard().rows(3).tolist() == [0, 1, 2]
    assert Shard(1, 2).rows(5).tolist() == [1, 3]
