"""Training by several processes."""

from quintain.dp.distributed import DifferentiallyPrivateDistributedDataParallel
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DifferentiallyPrivateDistributedDataParallel"]
__getattr__ = missing_name_getattr(__name__)
