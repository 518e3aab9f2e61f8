"""The optimizer of several processes, under its name for ghost clipping."""

from quintain.dp.opacus.optimizers.ddpoptimizer import DistributedDPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["DistributedDPOptimizerFastGradientClipping"]
__getattr__ = missing_name_getattr(__name__)


DistributedDPOptimizerFastGradientClipping = DistributedDPOptimizer
