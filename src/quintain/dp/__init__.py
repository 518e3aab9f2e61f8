"""Private training: clip, noise, sampling, accounting, plan, engine, ledger, and the tests of what they claim."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.dp.accounting import delta_curve as delta_curve
    from quintain.dp.accounting import epsilon as epsilon
    from quintain.dp.accounting import noise_for as noise_for
    from quintain.dp.engine import PrivacyEngine as PrivacyEngine
    from quintain.dp.fitting import PrivateFit as PrivateFit
    from quintain.dp.fitting import fit as fit
    from quintain.dp.ledger import Ledger as Ledger
    from quintain.dp.ledger import Release as Release
    from quintain.dp.optimizer import PrivateOptimizer as PrivateOptimizer
    from quintain.dp.plan import PrivatePlan as PrivatePlan
    from quintain.dp.sampling import PoissonLoader as PoissonLoader
    from quintain.dp.specification import Measured as Measured
    from quintain.dp.specification import measure as measure

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Ledger": "quintain.dp.ledger",
        "Measured": "quintain.dp.specification",
        "PoissonLoader": "quintain.dp.sampling",
        "PrivacyEngine": "quintain.dp.engine",
        "PrivateFit": "quintain.dp.fitting",
        "PrivateOptimizer": "quintain.dp.optimizer",
        "PrivatePlan": "quintain.dp.plan",
        "Release": "quintain.dp.ledger",
        "delta_curve": "quintain.dp.accounting",
        "epsilon": "quintain.dp.accounting",
        "fit": "quintain.dp.fitting",
        "measure": "quintain.dp.specification",
        "noise_for": "quintain.dp.accounting",
    },
)
