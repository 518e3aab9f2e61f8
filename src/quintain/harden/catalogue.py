"""The registered training defenses."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "defense",
        "pgd-at",
        "quintain.harden.pgd:PGDTraining",
        "adversarial training against projected gradient ascent",
        guarantee="none; attacks show what it resists",
    ),
    Entry(
        "defense",
        "ibp",
        "quintain.harden.ibp:IBPTraining",
        "certified training on the worst case of interval bounds, with a ramp of eps and weight",
        guarantee="none of itself; interval bounds prove what holds afterwards",
    ),
    Entry(
        "defense",
        "gaussian",
        "quintain.harden.gaussian_augmentation:GaussianAugmentation",
        "training under Gaussian noise, for the base of a smoothed classifier",
        guarantee="none of itself; randomized smoothing certifies afterwards",
    ),
)

OLD_NAMES = {"adversarial": "pgd-at", "certified": "ibp", "smoothed": "gaussian"}
"""Names of earlier versions, which the command line still takes."""
