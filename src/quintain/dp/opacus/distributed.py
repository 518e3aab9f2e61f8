"""Training by several processes."""

from quintain.dp.distributed import DifferentiallyPrivateDistributedDataParallel
from quintain.dp.opacus.refused import refusing

__all__ = ["DifferentiallyPrivateDistributedDataParallel"]
__getattr__ = refusing(__name__)
