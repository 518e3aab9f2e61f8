"""The optimizer of several processes, under its names for clipping layer by layer."""

from quintain.dp.opacus.optimizers.ddpoptimizer import DistributedDPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DistributedPerLayerOptimizer", "SimpleDistributedPerLayerOptimizer"]
__getattr__ = missing_name_getattr(__name__)


DistributedPerLayerOptimizer = SimpleDistributedPerLayerOptimizer = DistributedDPOptimizer
