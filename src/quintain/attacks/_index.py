"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.attacks.decision_based.cgba import CGBA as CGBA
    from quintain.attacks.decision_based.hopskipjump import HopSkipJump as HopSkipJump
    from quintain.attacks.decision_based.rays import RayS as RayS
    from quintain.attacks.ensembles.autoattack import AutoAttack as AutoAttack
    from quintain.attacks.ensembles.quick import Quick as Quick
    from quintain.attacks.ensembles.strongest import Strongest as Strongest
    from quintain.attacks.gradient.a3 import A3 as A3
    from quintain.attacks.gradient.acg import ACG as ACG
    from quintain.attacks.gradient.apgd import APGD as APGD
    from quintain.attacks.gradient.bim import BIM as BIM
    from quintain.attacks.gradient.fgm import FGM as FGM
    from quintain.attacks.gradient.fgsm import FGSM as FGSM
    from quintain.attacks.gradient.minimum_margin import MinimumMargin as MinimumMargin
    from quintain.attacks.gradient.pgd import PGD as PGD
    from quintain.attacks.gradient.pma import PMA as PMA
    from quintain.attacks.gradient.rs_fgsm import RSFGSM as RSFGSM
    from quintain.attacks.gradient.sparse_l1 import SparseL1Descent as SparseL1Descent
    from quintain.attacks.minimum_norm.carlini_wagner import CarliniWagner as CarliniWagner
    from quintain.attacks.minimum_norm.ddn import DDN as DDN
    from quintain.attacks.minimum_norm.deepfool import DeepFool as DeepFool
    from quintain.attacks.minimum_norm.ead import EAD as EAD
    from quintain.attacks.minimum_norm.fab import FAB as FAB
    from quintain.attacks.minimum_norm.fmn import FMN as FMN
    from quintain.attacks.minimum_norm.jsma import JSMA as JSMA
    from quintain.attacks.minimum_norm.sigma_zero import SigmaZero as SigmaZero
    from quintain.attacks.minimum_norm.superdeepfool import SuperDeepFool as SuperDeepFool
    from quintain.attacks.score_based.nes import NES as NES
    from quintain.attacks.score_based.one_pixel import OnePixel as OnePixel
    from quintain.attacks.score_based.random_search import RandomSearch as RandomSearch
    from quintain.attacks.score_based.simba import SimBA as SimBA
    from quintain.attacks.score_based.sparse_rs import SparseRS as SparseRS
    from quintain.attacks.score_based.spatial_search import SpatialSearch as SpatialSearch
    from quintain.attacks.score_based.spsa import SPSA as SPSA
    from quintain.attacks.score_based.square import Square as Square
    from quintain.attacks.transfer.di_fgsm import DIFGSM as DIFGSM
    from quintain.attacks.transfer.mi_fgsm import MIFGSM as MIFGSM
    from quintain.attacks.transfer.ni_fgsm import NIFGSM as NIFGSM
    from quintain.attacks.transfer.ti_fgsm import TIFGSM as TIFGSM
    from quintain.attacks.universal.adversarial_patch import AdversarialPatch as AdversarialPatch
    from quintain.attacks.universal.eyeglasses import Eyeglasses as Eyeglasses
    from quintain.attacks.universal.phantom import Phantom as Phantom
    from quintain.attacks.universal.sign_stickers import SignStickers as SignStickers
    from quintain.attacks.universal.uap import UAP as UAP

EXPORTS: dict[str, str] = {
    "A3": "quintain.attacks.gradient.a3",
    "ACG": "quintain.attacks.gradient.acg",
    "APGD": "quintain.attacks.gradient.apgd",
    "AdversarialPatch": "quintain.attacks.universal.adversarial_patch",
    "Attack": "quintain.attacks.base",
    "AttackOutcome": "quintain.attacks.outcome",
    "AutoAttack": "quintain.attacks.ensembles.autoattack",
    "BIM": "quintain.attacks.gradient.bim",
    "BPDA": "quintain.attacks.adaptive.bpda",
    "CGBA": "quintain.attacks.decision_based.cgba",
    "CarliniWagner": "quintain.attacks.minimum_norm.carlini_wagner",
    "DDN": "quintain.attacks.minimum_norm.ddn",
    "DIFGSM": "quintain.attacks.transfer.di_fgsm",
    "DeepFool": "quintain.attacks.minimum_norm.deepfool",
    "EAD": "quintain.attacks.minimum_norm.ead",
    "EOT": "quintain.attacks.adaptive.eot",
    "Ensemble": "quintain.attacks.ensembles.ensemble",
    "Eyeglasses": "quintain.attacks.universal.eyeglasses",
    "FAB": "quintain.attacks.minimum_norm.fab",
    "FGM": "quintain.attacks.gradient.fgm",
    "FGSM": "quintain.attacks.gradient.fgsm",
    "FMN": "quintain.attacks.minimum_norm.fmn",
    "FittedLight": "quintain.attacks.universal.phantom",
    "FittedPatch": "quintain.attacks.universal.fitted_patch",
    "Goal": "quintain.attacks.goal",
    "HopSkipJump": "quintain.attacks.decision_based.hopskipjump",
    "JSMA": "quintain.attacks.minimum_norm.jsma",
    "MIFGSM": "quintain.attacks.transfer.mi_fgsm",
    "MajorityVote": "quintain.attacks.adaptive.voting",
    "MinimumMargin": "quintain.attacks.gradient.minimum_margin",
    "NES": "quintain.attacks.score_based.nes",
    "NIFGSM": "quintain.attacks.transfer.ni_fgsm",
    "OnePixel": "quintain.attacks.score_based.one_pixel",
    "PGD": "quintain.attacks.gradient.pgd",
    "PMA": "quintain.attacks.gradient.pma",
    "Perturbation": "quintain.attacks.perturbation",
    "Phantom": "quintain.attacks.universal.phantom",
    "Printing": "quintain.attacks.universal.printing",
    "Quick": "quintain.attacks.ensembles.quick",
    "RSFGSM": "quintain.attacks.gradient.rs_fgsm",
    "RandomSearch": "quintain.attacks.score_based.random_search",
    "RayS": "quintain.attacks.decision_based.rays",
    "SPSA": "quintain.attacks.score_based.spsa",
    "Search": "quintain.attacks.search",
    "SigmaZero": "quintain.attacks.minimum_norm.sigma_zero",
    "SignStickers": "quintain.attacks.universal.sign_stickers",
    "SimBA": "quintain.attacks.score_based.simba",
    "SparseL1Descent": "quintain.attacks.gradient.sparse_l1",
    "SparseRS": "quintain.attacks.score_based.sparse_rs",
    "SpatialSearch": "quintain.attacks.score_based.spatial_search",
    "Square": "quintain.attacks.score_based.square",
    "Strongest": "quintain.attacks.ensembles.strongest",
    "SuccessRate": "quintain.attacks.perturbation",
    "SuperDeepFool": "quintain.attacks.minimum_norm.superdeepfool",
    "TIFGSM": "quintain.attacks.transfer.ti_fgsm",
    "Transfer": "quintain.attacks.transfer.transfer",
    "UAP": "quintain.attacks.universal.uap",
    "UniversalAttack": "quintain.attacks.universal.base",
    "UniversalPerturbation": "quintain.attacks.universal.uap",
    "View": "quintain.attacks.universal.view",
    "export_patch": "quintain.attacks.universal.export",
    "fgsm_attack": "quintain.attacks.gradient.fgsm",
    "gradient_ascent": "quintain.attacks.ascent_loop",
    "held_out": "quintain.attacks.perturbation",
    "majority_vote": "quintain.attacks.adaptive.voting",
    "maximize_loss": "quintain.attacks.inner_maximization",
    "non_printability": "quintain.attacks.universal.printing",
    "side_marker": "quintain.attacks.universal.adversarial_patch",
    "success_rate": "quintain.attacks.perturbation",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "attack",
        "cgba",
        "quintain.attacks.decision_based.cgba:CGBA",
        "binary search on half circles from the boundary to the input, by labels alone",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "l2"),
            ("access", "labels"),
            ("minimum_norm", "yes"),
            ("default_rank", "3"),
            ("test_settings", "queries=300 init_tries=20"),
        ),
        exemptions=(
            (
                "the smallest change in a wide ball",
                (
                    "labels say nothing of a far region that no noise meets: random points must find it "
                    "first"
                ),
            ),
        ),
    ),
    Entry(
        "attack",
        "hopskipjump",
        "quintain.attacks.decision_based.hopskipjump:HopSkipJump",
        "a walk along the boundary, its normal by votes on labels",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "linf l2"),
            ("access", "labels"),
            ("minimum_norm", "yes"),
            ("default_rank", "1"),
            ("optimality_gap", "l2=0.02 linf=0.08"),
            ("test_settings", "queries=300 init_tries=20"),
        ),
        exemptions=(
            (
                "the smallest change in a wide ball",
                (
                    "labels say nothing of a far region that no noise meets: random points must find it "
                    "first"
                ),
            ),
        ),
    ),
    Entry(
        "attack",
        "rays",
        "quintain.attacks.decision_based.rays:RayS",
        "flips blocks of signs and bisects along the ray, from labels; nothing is random",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "linf"),
            ("access", "labels"),
            ("minimum_norm", "yes"),
            ("default_rank", "2"),
            ("test_settings", "queries=200"),
        ),
        exemptions=(
            (
                "the smallest change in a wide ball",
                (
                    "labels say nothing of a far region that no noise meets: random points must find it "
                    "first"
                ),
            ),
        ),
    ),
    Entry(
        "attack",
        "autoattack",
        "quintain.attacks.ensembles.autoattack:AutoAttack",
        (
            "APGD-CE, APGD-T, FAB-T and Square, each on the examples not yet broken: the standard to "
            "report"
        ),
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 l1"),
            ("access", "gradients"),
            ("is_ensemble", "yes"),
            ("strength", "6"),
            ("optimality_gap", "l1=0.03"),
            ("test_settings", "steps=8 target_classes=2 queries=20"),
            ("gap_test_settings", "steps=25 target_classes=1 queries=50"),
        ),
    ),
    Entry(
        "attack",
        "quick",
        "quintain.attacks.ensembles.quick:Quick",
        "nearly AutoAttack's results at a fraction of its cost: the one to begin with",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 l1"),
            ("access", "gradients"),
            ("default_rank", "1"),
            ("is_ensemble", "yes"),
            ("strength", "5"),
            ("optimality_gap", "l1=0.03"),
            ("test_settings", "steps=10 queries=40"),
            ("gap_test_settings", "steps=20 queries=50"),
        ),
    ),
    Entry(
        "attack",
        "strongest",
        "quintain.attacks.ensembles.strongest:Strongest",
        "AutoAttack without early stopping, then attacks that find other optima: the final check",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 l1"),
            ("access", "gradients"),
            ("is_ensemble", "yes"),
            ("strength", "7"),
            ("optimality_gap", "l1=0.03"),
            ("test_settings", "steps=6 target_classes=1 queries=20"),
            ("gap_test_settings", "steps=20 target_classes=1 queries=50"),
        ),
    ),
    Entry(
        "attack",
        "a3",
        "quintain.attacks.gradient.a3:A3",
        "short gradient ascents from learned initial directions, with early stopping per example",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2"),
            ("access", "gradients"),
            ("test_settings", "rounds=2 steps=15"),
        ),
    ),
    Entry(
        "attack",
        "acg",
        "quintain.attacks.gradient.acg:ACG",
        "ascent along conjugate directions: it ends in other places than APGD",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2"),
            ("access", "gradients"),
            ("test_settings", "steps=15"),
        ),
    ),
    Entry(
        "attack",
        "apgd",
        "quintain.attacks.gradient.apgd:APGD",
        "projected gradient ascent with adaptive step sizes, on one loss or towards target classes",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 l1"),
            ("access", "gradients"),
            ("default_rank", "2"),
            ("strength", "4"),
            ("optimality_gap", "l1=0.03"),
            ("test_settings", "steps=15"),
        ),
    ),
    Entry(
        "attack",
        "bim",
        "quintain.attacks.gradient.bim:BIM",
        "gradient steps of one length from the clean point",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 mask"),
            ("access", "gradients"),
            ("strength", "2"),
        ),
    ),
    Entry(
        "attack",
        "fgm",
        "quintain.attacks.gradient.fgm:FGM",
        "one gradient step in L2 or L1: fast and weak, a smoke test",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "l2 l1"),
            ("access", "gradients"),
        ),
    ),
    Entry(
        "attack",
        "fgsm",
        "quintain.attacks.gradient.fgsm:FGSM",
        "one signed gradient step: fast and weak, a smoke test",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf mask light color"),
            ("access", "gradients"),
            ("strength", "1"),
        ),
    ),
    Entry(
        "attack",
        "mm",
        "quintain.attacks.gradient.minimum_margin:MinimumMargin",
        "a short ascent towards each of the nearest target classes",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2"),
            ("access", "gradients"),
        ),
    ),
    Entry(
        "attack",
        "pgd",
        "quintain.attacks.gradient.pgd:PGD",
        "projected gradient ascent on the margin with falling steps and random starts",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 l1 mask patch light spatial color compose"),
            ("access", "gradients"),
            ("default_rank", "3"),
            ("is_reference", "yes"),
            ("strength", "3"),
            ("optimality_gap", "l1=0.03"),
            ("test_settings", "steps=20"),
        ),
        exemptions=(
            (
                "better than random in spatial",
                (
                    "few parameters and many local maxima: random points near all of them beat one ascent"
                ),
            ),
            (
                "better than random in color",
                (
                    "two parameters: random points come as near to the best corner of their square as an "
                    "ascent"
                ),
            ),
        ),
    ),
    Entry(
        "attack",
        "pma",
        "quintain.attacks.gradient.pma:PMA",
        "APGD on the margin of probabilities",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 l1"),
            ("access", "gradients"),
            ("optimality_gap", "l1=0.03"),
            ("test_settings", "steps=15"),
        ),
    ),
    Entry(
        "attack",
        "rs-fgsm",
        "quintain.attacks.gradient.rs_fgsm:RSFGSM",
        "one signed gradient step from a random start",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf mask"),
            ("access", "gradients"),
            ("optimality_gap", "any=0.3"),
        ),
    ),
    Entry(
        "attack",
        "sparse-l1",
        "quintain.attacks.gradient.sparse_l1:SparseL1Descent",
        "gradient steps of a few coordinates, for L1",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "l1"),
            ("access", "gradients"),
            ("optimality_gap", "any=0.02"),
        ),
    ),
    Entry(
        "attack",
        "carlini-wagner",
        "quintain.attacks.minimum_norm.carlini_wagner:CarliniWagner",
        "Adam on the size of the change and the missing margin, with a binary search per example",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "linf l2"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("test_settings", "binary_search_steps=3 steps=15"),
        ),
    ),
    Entry(
        "attack",
        "ddn",
        "quintain.attacks.minimum_norm.ddn:DDN",
        "gradient ascent on a sphere that shrinks after a break and grows after none",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "l2"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("default_rank", "5"),
            ("test_settings", "steps=20"),
        ),
    ),
    Entry(
        "attack",
        "deepfool",
        "quintain.attacks.minimum_norm.deepfool:DeepFool",
        "from one linearized boundary to the next until the prediction changes: fast, rough",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "linf l2"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("test_settings", "steps=20"),
        ),
    ),
    Entry(
        "attack",
        "ead",
        "quintain.attacks.minimum_norm.ead:EAD",
        (
            "FISTA on the L1 and squared L2 norm of the change, which sets most values of the change to 0"
        ),
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "l1"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("test_settings", "binary_search_steps=3 steps=15"),
        ),
    ),
    Entry(
        "attack",
        "fab",
        "quintain.attacks.minimum_norm.fab:FAB",
        "along the boundary, biased towards the clean point, guided by each target class",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "linf l2 l1"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("default_rank", "6"),
            ("test_settings", "steps=10 target_classes=3"),
        ),
    ),
    Entry(
        "attack",
        "fmn",
        "quintain.attacks.minimum_norm.fmn:FMN",
        (
            "gradient steps inside a radius that follows the smallest break, from a break that signed "
            "steps reach"
        ),
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "linf l2 l1 l0"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("default_rank", "4"),
            ("optimality_gap", "l0=0"),
            ("test_settings", "steps=20"),
        ),
    ),
    Entry(
        "attack",
        "jsma",
        "quintain.attacks.minimum_norm.jsma:JSMA",
        "two more pixels a step, each to the corner where it helps: cheap, rough on robust models",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "l0"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("optimality_gap", "any=0"),
        ),
    ),
    Entry(
        "attack",
        "sigma-zero",
        "quintain.attacks.minimum_norm.sigma_zero:SigmaZero",
        "descent on a smooth count of changed pixels, small changes cut to zero: the strongest L0",
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "l0"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("optimality_gap", "any=0"),
            ("test_settings", "steps=20"),
        ),
    ),
    Entry(
        "attack",
        "superdeepfool",
        "quintain.attacks.minimum_norm.superdeepfool:SuperDeepFool",
        (
            "DeepFool steps and projections on the boundary's tangent plane: near the smallest L2 change"
        ),
        guarantee="what it breaks is a witness that can be replayed; no smaller change is ruled out",
        facts=(
            ("supports", "l2"),
            ("access", "gradients"),
            ("minimum_norm", "yes"),
            ("test_settings", "steps=20"),
        ),
    ),
    Entry(
        "attack",
        "nes",
        "quintain.attacks.score_based.nes:NES",
        "gradient ascent with gradients estimated from pairs of normal probes",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2"),
            ("access", "scores"),
            ("optimality_gap", "any=0.08"),
            ("test_settings", "queries=200 pairs=5"),
        ),
    ),
    Entry(
        "attack",
        "one-pixel",
        "quintain.attacks.score_based.one_pixel:OnePixel",
        "a pixel or a few, by trying all of them or by differential evolution",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "l0"),
            ("access", "scores"),
            ("test_settings", "population=12 generations=5"),
        ),
    ),
    Entry(
        "attack",
        "random-search",
        "quintain.attacks.score_based.random_search:RandomSearch",
        (
            "random changes, and then small changes of the best one: the baseline that any attack must "
            "beat"
        ),
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 patch light spatial color negative compose"),
            ("access", "scores"),
            ("default_rank", "2"),
            ("optimality_gap", "linf=0.4 l2=0.5"),
            ("test_settings", "samples=15 steps=25"),
        ),
    ),
    Entry(
        "attack",
        "simba",
        "quintain.attacks.score_based.simba:SimBA",
        "one value after another, up or down: simple, and exact where the model is nearly linear",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2"),
            ("access", "scores"),
            ("optimality_gap", "l2=0.03"),
            ("test_settings", "queries=80"),
            ("gap_test_settings", "queries=500"),
        ),
    ),
    Entry(
        "attack",
        "sparse-rs",
        "quintain.attacks.score_based.sparse_rs:SparseRS",
        "random search over a few pixels, a sticker or a frame, with extreme colors",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "l0 mask patch"),
            ("access", "scores"),
            ("test_settings", "queries=80"),
            ("gap_test_settings", "queries=1000"),
        ),
    ),
    Entry(
        "attack",
        "spatial-search",
        "quintain.attacks.score_based.spatial_search:SpatialSearch",
        "every turn and shift of a grid: exact on the grid, and stronger than a gradient",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "spatial"),
            ("access", "scores"),
            ("test_settings", "shifts=3 angles=7"),
        ),
    ),
    Entry(
        "attack",
        "spsa",
        "quintain.attacks.score_based.spsa:SPSA",
        "gradient ascent with Adam, with gradients estimated from pairs of random signs",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2"),
            ("access", "scores"),
            ("optimality_gap", "any=0.1"),
            ("test_settings", "queries=200 pairs=5"),
        ),
    ),
    Entry(
        "attack",
        "square",
        "quintain.attacks.score_based.square:Square",
        (
            "random search with shrinking squares at the ends of the range: the strongest without "
            "gradients"
        ),
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2"),
            ("access", "scores"),
            ("default_rank", "1"),
            ("optimality_gap", "l2=0.3"),
            ("test_settings", "queries=80"),
            ("gap_test_settings", "queries=1000"),
        ),
    ),
    Entry(
        "attack",
        "di-fgsm",
        "quintain.attacks.transfer.di_fgsm:DIFGSM",
        "momentum on gradients through random resizing",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 mask"),
            ("access", "gradients"),
            ("optimality_gap", "any=0.2 l2=0.4"),
        ),
    ),
    Entry(
        "attack",
        "mi-fgsm",
        "quintain.attacks.transfer.mi_fgsm:MIFGSM",
        "gradient steps with momentum, which carry over to other models",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf l2 mask"),
            ("access", "gradients"),
            ("optimality_gap", "l2=0.4"),
        ),
    ),
    Entry(
        "attack",
        "ni-fgsm",
        "quintain.attacks.transfer.ni_fgsm:NIFGSM",
        "momentum that looks where it leads before it asks",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf mask"),
            ("access", "gradients"),
        ),
    ),
    Entry(
        "attack",
        "ti-fgsm",
        "quintain.attacks.transfer.ti_fgsm:TIFGSM",
        "momentum on smoothed gradients",
        guarantee=(
            "what it breaks is a witness that can be replayed; what it does not break may still be "
            "breakable"
        ),
        facts=(
            ("supports", "linf mask"),
            ("access", "gradients"),
            ("optimality_gap", "any=1"),
            ("test_settings", "kernel_size=3"),
        ),
    ),
    Entry(
        "universal_attack",
        "adversarial-patch",
        "quintain.attacks.universal.adversarial_patch:AdversarialPatch",
        "a printed sticker at any place, turn, size and light",
        guarantee=(
            "how often it succeeds is an estimate, for images and views like those that it was scored on"
        ),
        facts=(
            ("access", "gradients"),
            ("test_settings", "steps=3 batch_size=4"),
        ),
    ),
    Entry(
        "universal_attack",
        "eyeglasses",
        "quintain.attacks.universal.eyeglasses:Eyeglasses",
        "a printed frame: to dodge recognition, or to be taken for somebody",
        guarantee=(
            "how often it succeeds is an estimate, for images and views like those that it was scored on"
        ),
        facts=(
            ("access", "gradients"),
            ("test_settings", "steps=3 batch_size=4"),
        ),
    ),
    Entry(
        "universal_attack",
        "phantom",
        "quintain.attacks.universal.phantom:Phantom",
        "light on a scene that only adds",
        guarantee=(
            "how often it succeeds is an estimate, for images and views like those that it was scored on"
        ),
        facts=(
            ("access", "gradients"),
            ("test_settings", "steps=3 batch_size=4"),
        ),
    ),
    Entry(
        "universal_attack",
        "sign-stickers",
        "quintain.attacks.universal.sign_stickers:SignStickers",
        "a few rectangles on a sign, first where they hurt, then what is on them",
        guarantee=(
            "how often it succeeds is an estimate, for images and views like those that it was scored on"
        ),
        facts=(
            ("access", "gradients"),
            ("test_settings", "steps=3 batch_size=4"),
        ),
    ),
    Entry(
        "universal_attack",
        "uap",
        "quintain.attacks.universal.uap:UAP",
        "one perturbation in a ball, added to every image",
        guarantee=(
            "how often it succeeds is an estimate, for images and views like those that it was scored on"
        ),
        facts=(
            ("supports", "linf l2 mask"),
            ("access", "gradients"),
            ("test_settings", "steps=3 batch_size=4"),
        ),
    ),
)
