"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.harden.gaussian_augmentation import GaussianAugmentation as GaussianAugmentation
    from quintain.harden.ibp import IBPTraining as IBPTraining
    from quintain.harden.pgd import PGDTraining as PGDTraining

EXPORTS: dict[str, str] = {
    "Defense": "quintain.harden.defense",
    "GaussianAugmentation": "quintain.harden.gaussian_augmentation",
    "IBPTraining": "quintain.harden.ibp",
    "PGDTraining": "quintain.harden.pgd",
    "fit": "quintain.harden.defense",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "defense",
        "gaussian",
        "quintain.harden.gaussian_augmentation:GaussianAugmentation",
        "training under Gaussian noise, for the base of a smoothed classifier",
        guarantee="none of itself; randomized smoothing certifies afterwards",
        facts=(
            ("supports", "l2"),
            ("example", "l2:0.5"),
            ("default_rank", "3"),
            ("certifier", "smoothing"),
        ),
        old_names=("smoothed",),
    ),
    Entry(
        "defense",
        "ibp",
        "quintain.harden.ibp:IBPTraining",
        "certified training on the worst case of interval bounds, with a ramp of eps and weight",
        guarantee="none of itself; interval bounds prove what holds afterwards",
        facts=(
            ("supports", "linf l2"),
            ("example", "linf:4/255"),
            ("default_rank", "1"),
            ("certifier", "interval"),
        ),
        old_names=("certified",),
    ),
    Entry(
        "defense",
        "pgd-at",
        "quintain.harden.pgd:PGDTraining",
        "adversarial training against projected gradient ascent",
        guarantee="none; attacks show what it resists",
        facts=(
            ("supports", "linf l2 l1 l0 mask"),
            ("example", "linf:4/255"),
            ("default_rank", "2"),
            ("certifier", "interval"),
        ),
        old_names=("adversarial",),
    ),
)
