"""The optimizer of several processes, under its names for clipping layer by layer."""

from quintain.dp.opacus.optimizers.ddpoptimizer import DistributedDPOptimizer
from quintain.dp.opacus.refused import refusing

__all__ = ["DistributedPerLayerOptimizer", "SimpleDistributedPerLayerOptimizer"]
__getattr__ = refusing(__name__)


DistributedPerLayerOptimizer = SimpleDistributedPerLayerOptimizer = DistributedDPOptimizer
