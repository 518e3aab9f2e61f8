"""The private optimizer."""

from quintain.dp.opacus.refused import refusing
from quintain.dp.step.dp_optimizer import DPOptimizer

__all__ = ["DPOptimizer"]
__getattr__ = refusing(__name__)
