"""The optimizer of several processes, under its name for ghost clipping."""

from quintain.dp.opacus.optimizers.ddpoptimizer import DistributedDPOptimizer
from quintain.dp.opacus.refused import refusing

__all__ = ["DistributedDPOptimizerFastGradientClipping"]
__getattr__ = refusing(__name__)


DistributedDPOptimizerFastGradientClipping = DistributedDPOptimizer
