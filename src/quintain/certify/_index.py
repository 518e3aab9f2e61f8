"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.certify.ablation import Ablation as Ablation
    from quintain.certify.branch_and_bound import BranchAndBound as BranchAndBound
    from quintain.certify.crown import CROWN as CROWN
    from quintain.certify.crown import CROWNIBP as CROWNIBP
    from quintain.certify.interval.certifier import IntervalBounds as IntervalBounds
    from quintain.certify.laplace_smoothing import LaplaceSmoothing as LaplaceSmoothing
    from quintain.certify.lipschitz.certifier import Lipschitz as Lipschitz
    from quintain.certify.randomized_smoothing import RandomizedSmoothing as RandomizedSmoothing
    from quintain.certify.uniform_smoothing import UniformSmoothing as UniformSmoothing

EXPORTS: dict[str, str] = {
    "AblatedClassifier": "quintain.certify.ablation",
    "Ablation": "quintain.certify.ablation",
    "BranchAndBound": "quintain.certify.branch_and_bound",
    "CROWN": "quintain.certify.crown",
    "CROWNIBP": "quintain.certify.crown",
    "CertificateOutcome": "quintain.certify.outcome",
    "Certifier": "quintain.certify.outcome",
    "Interval": "quintain.certify.interval.domain",
    "IntervalBounds": "quintain.certify.interval.certifier",
    "LaplaceSmoothing": "quintain.certify.laplace_smoothing",
    "Lines": "quintain.certify.interval.recording",
    "Lipschitz": "quintain.certify.lipschitz.certifier",
    "RandomizedSmoothing": "quintain.certify.randomized_smoothing",
    "Relaxation": "quintain.certify.interval.relaxations",
    "RoundingModel": "quintain.certify.rounding",
    "SmoothedClassifier": "quintain.certify.smoothing",
    "TracedNetwork": "quintain.certify.interval.graph",
    "UniformSmoothing": "quintain.certify.uniform_smoothing",
    "conv_norm_bound": "quintain.certify.lipschitz.norms",
    "largest_certified_radius": "quintain.certify.radius_search",
    "register_layer_rule": "quintain.certify.interval.layer_rules",
    "spectral_norm_bound": "quintain.certify.lipschitz.norms",
    "worst_case_logits": "quintain.certify.interval.certifier",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "certifier",
        "ablation",
        "quintain.certify.ablation:Ablation",
        "derandomized smoothing: the class that most bands vote for, for stickers",
        guarantee=(
            "deterministic: no sticker changes the prediction of the ablated model, whose bands are "
            "classified image by image, as they were here"
        ),
        facts=(
            ("supports", "patch mask"),
            ("example", "patch:area=3%"),
            ("default_rank", "5"),
            ("subject", "ablated"),
            ("cost", "expensive"),
        ),
    ),
    Entry(
        "certifier",
        "branch-and-bound",
        "quintain.certify.branch_and_bound:BranchAndBound",
        "branch and bound over ReLUs: proves or refutes what linear bounds leave open",
        guarantee=(
            "deterministic: no input of the threat changes the answer of the model that runs, its float32 "
            "rounding and the bound's own in float64 included"
        ),
        facts=(
            ("supports", "linf l2"),
            ("example", "linf:4/255"),
            ("default_rank", "6"),
            ("cost", "expensive"),
        ),
    ),
    Entry(
        "certifier",
        "crown",
        "quintain.certify.crown:CROWN",
        "linear bounds backward through the layers: tighter than intervals, dearer",
        guarantee=(
            "deterministic: no input of the threat changes the answer of the model that runs, its float32 "
            "rounding and the bound's own in float64 included"
        ),
        facts=(
            ("supports", "linf l2"),
            ("example", "linf:4/255"),
            ("default_rank", "3"),
            ("cost", "expensive"),
        ),
    ),
    Entry(
        "certifier",
        "crown-ibp",
        "quintain.certify.crown:CROWNIBP",
        "linear bounds of the margin over intervals of the layers: one backward pass",
        guarantee=(
            "deterministic: no input of the threat changes the answer of the model that runs, its float32 "
            "rounding and the bound's own in float64 included"
        ),
        facts=(
            ("supports", "linf l2"),
            ("example", "linf:4/255"),
            ("default_rank", "4"),
            ("cost", "expensive"),
        ),
    ),
    Entry(
        "certifier",
        "laplace-smoothing",
        "quintain.certify.laplace_smoothing:LaplaceSmoothing",
        "randomized smoothing: the most frequent class under Laplace noise, for L1",
        guarantee="each example's radius is false with probability at most alpha over the noise samples",
        facts=(
            ("supports", "l1"),
            ("example", "l1:0.25"),
            ("default_rank", "9"),
            ("subject", "smoothed"),
        ),
    ),
    Entry(
        "certifier",
        "smoothing",
        "quintain.certify.randomized_smoothing:RandomizedSmoothing",
        "randomized smoothing: the most frequent class under Gaussian noise, for L2",
        guarantee="each example's radius is false with probability at most alpha over the noise samples",
        facts=(
            ("supports", "l2"),
            ("example", "l2:0.25"),
            ("default_rank", "2"),
            ("subject", "smoothed"),
        ),
    ),
    Entry(
        "certifier",
        "uniform-smoothing",
        "quintain.certify.uniform_smoothing:UniformSmoothing",
        "randomized smoothing: the most frequent class under uniform noise, for L1",
        guarantee="each example's radius is false with probability at most alpha over the noise samples",
        facts=(
            ("supports", "l1"),
            ("example", "l1:0.25"),
            ("default_rank", "8"),
            ("subject", "smoothed"),
        ),
    ),
    Entry(
        "certifier",
        "interval",
        "quintain.certify.interval.certifier:IntervalBounds",
        "interval bounds through the layers, for Linf and L2",
        guarantee=(
            "deterministic: no input of the ball changes the answer of the model that runs, its float32 "
            "rounding included"
        ),
        facts=(
            ("supports", "linf l2"),
            ("example", "linf:4/255"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "certifier",
        "lipschitz",
        "quintain.certify.lipschitz.certifier:Lipschitz",
        "global Lipschitz constants, for L2 and nets that were trained for them",
        guarantee=(
            "deterministic: no input of the ball changes the answer of the model that runs, its float32 "
            "rounding and the bound's own in float64 included"
        ),
        facts=(
            ("supports", "l2"),
            ("example", "l2:0.5"),
            ("default_rank", "7"),
        ),
    ),
)
