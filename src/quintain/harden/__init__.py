"""Training defenses: frozen settings for the one training loop."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.harden.defense import Defense as Defense
    from quintain.harden.defense import fit as fit
    from quintain.harden.gaussian_augmentation import GaussianAugmentation as GaussianAugmentation
    from quintain.harden.ibp import IBPTraining as IBPTraining
    from quintain.harden.pgd import PGDTraining as PGDTraining

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Defense": "quintain.harden.defense",
        "GaussianAugmentation": "quintain.harden.gaussian_augmentation",
        "IBPTraining": "quintain.harden.ibp",
        "PGDTraining": "quintain.harden.pgd",
        "fit": "quintain.harden.defense",
    },
)
