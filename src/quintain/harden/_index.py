"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.harden.ablation import AblationTraining as AblationTraining
    from quintain.harden.awp import AWP as AWP
    from quintain.harden.consistency import ConsistencyTraining as ConsistencyTraining
    from quintain.harden.fast import FastTraining as FastTraining
    from quintain.harden.gaussian_augmentation import GaussianAugmentation as GaussianAugmentation
    from quintain.harden.ibp import IBPTraining as IBPTraining
    from quintain.harden.lipschitz import LipschitzTraining as LipschitzTraining
    from quintain.harden.mtl_ibp import MTLIBP as MTLIBP
    from quintain.harden.pgd import PGDTraining as PGDTraining
    from quintain.harden.trades import TRADES as TRADES
    from quintain.harden.union import UnionTraining as UnionTraining

EXPORTS: dict[str, str] = {
    "AWP": "quintain.harden.awp",
    "AblationTraining": "quintain.harden.ablation",
    "ConsistencyTraining": "quintain.harden.consistency",
    "Defense": "quintain.harden.defense",
    "FastTraining": "quintain.harden.fast",
    "GaussianAugmentation": "quintain.harden.gaussian_augmentation",
    "IBPTraining": "quintain.harden.ibp",
    "LipschitzTraining": "quintain.harden.lipschitz",
    "MTLIBP": "quintain.harden.mtl_ibp",
    "PGDTraining": "quintain.harden.pgd",
    "TRADES": "quintain.harden.trades",
    "UnionTraining": "quintain.harden.union",
    "fit": "quintain.harden.defense",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "defense",
        "ablation",
        "quintain.harden.ablation:AblationTraining",
        "training on random bands of the images, for the base of an ablated classifier",
        guarantee="none of itself; votes of bands certify stickers afterwards",
        facts=(
            ("supports", "patch mask"),
            ("example", "patch:area=3%"),
            ("default_rank", "4"),
            ("certifier", "ablation"),
        ),
    ),
    Entry(
        "defense",
        "awp",
        "quintain.harden.awp:AWP",
        "adversarial training at adversarially perturbed weights, against overfitting",
        guarantee="none; attacks show what it resists",
        facts=(
            ("supports", "linf l2 l1 l0 mask"),
            ("example", "linf:4/255"),
            ("certifier", "interval"),
        ),
    ),
    Entry(
        "defense",
        "consistency",
        "quintain.harden.consistency:ConsistencyTraining",
        "training under noise with predictions that agree, for the base of a smoothed classifier",
        guarantee="none of itself; randomized smoothing certifies afterwards",
        facts=(
            ("supports", "l2"),
            ("example", "l2:0.5"),
            ("certifier", "smoothing"),
        ),
    ),
    Entry(
        "defense",
        "fast-at",
        "quintain.harden.fast:FastTraining",
        "adversarial training with one gradient step from a noisy point (N-FGSM)",
        guarantee="none; attacks show what it resists",
        facts=(
            ("supports", "linf"),
            ("example", "linf:4/255"),
            ("certifier", "interval"),
        ),
    ),
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
        "lipschitz",
        "quintain.harden.lipschitz:LipschitzTraining",
        "certified training for L2 on margins beyond a global Lipschitz constant",
        guarantee="none of itself; Lipschitz constants prove what holds afterwards",
        facts=(
            ("supports", "l2"),
            ("example", "l2:0.5"),
            ("certifier", "lipschitz"),
        ),
    ),
    Entry(
        "defense",
        "mtl-ibp",
        "quintain.harden.mtl_ibp:MTLIBP",
        (
            "certified training by interval bounds and an attack, with an initialization and regularizers "
            "for it"
        ),
        guarantee="none of itself; interval bounds prove what holds afterwards",
        facts=(
            ("supports", "linf l2"),
            ("example", "linf:4/255"),
            ("certifier", "interval"),
        ),
    ),
    Entry(
        "defense",
        "pgd-at",
        "quintain.harden.pgd:PGDTraining",
        "adversarial training against projected gradient ascent",
        guarantee="none; attacks show what it resists",
        facts=(
            ("supports", "linf l2 l1 l0 mask patch light spatial color"),
            ("example", "linf:4/255"),
            ("default_rank", "2"),
            ("certifier", "interval"),
        ),
        old_names=("adversarial",),
    ),
    Entry(
        "defense",
        "trades",
        "quintain.harden.trades:TRADES",
        "accuracy on clean examples against predictions that stay the same inside the ball",
        guarantee="none; attacks show what it resists",
        facts=(
            ("supports", "linf l2 l1 l0 mask"),
            ("example", "linf:4/255"),
            ("certifier", "interval"),
        ),
    ),
    Entry(
        "defense",
        "union-at",
        "quintain.harden.union:UnionTraining",
        "adversarial training against several threats at once, each example at its worst",
        guarantee="none; attacks on each threat show what it resists",
        facts=(
            ("supports", "linf l2 l1 l0 mask patch light spatial color"),
            ("example", "linf:2/255"),
            ("certifier", "interval"),
        ),
    ),
)
