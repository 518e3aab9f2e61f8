"""Training that defends: frozen plans over the one training loop."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.harden.adversarial import PGDTraining as PGDTraining
    from quintain.harden.interval import IntervalTraining as IntervalTraining
    from quintain.harden.noise import NoiseTraining as NoiseTraining
    from quintain.harden.plan import Plan as Plan
    from quintain.harden.run import fit as fit

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "IntervalTraining": "quintain.harden.interval",
        "NoiseTraining": "quintain.harden.noise",
        "PGDTraining": "quintain.harden.adversarial",
        "Plan": "quintain.harden.plan",
        "fit": "quintain.harden.run",
    },
)
