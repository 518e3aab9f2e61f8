"""The registered decision-based attacks."""

from quintain.attacks.guarantees import WITNESS
from quintain.core.registry import Entry

UNSEEN = (
    "the smallest change in a wide ball",
    "labels say nothing of a far region that no noise meets: random points must find it first",
)

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "attack",
        "hopskipjump",
        "quintain.attacks.decision_based.hopskipjump:HopSkipJump",
        "a walk along the boundary, its normal by votes on labels",
        guarantee=WITNESS,
        facts=(
            ("supports", "linf l2"),
            ("access", "labels"),
            ("finds", "minimum-norm"),
            ("optimality_gap:l2", "0.02"),
            ("optimality_gap:linf", "0.08"),
            ("test_settings", "queries=300 init_tries=20"),
        ),
        exemptions=(UNSEEN,),
    ),
    Entry(
        "attack",
        "cgba",
        "quintain.attacks.decision_based.cgba:CGBA",
        "half circles from the boundary towards its normal, by votes on labels",
        guarantee=WITNESS,
        facts=(
            ("supports", "l2"),
            ("access", "labels"),
            ("finds", "minimum-norm"),
            ("optimality_gap", "0.01"),
            ("test_settings", "queries=300 init_tries=20"),
        ),
        exemptions=(UNSEEN,),
    ),
    Entry(
        "attack",
        "rays",
        "quintain.attacks.decision_based.rays:RayS",
        "flips blocks of signs and bisects along the ray, from labels; nothing is random",
        guarantee=WITNESS,
        facts=(
            ("supports", "linf"),
            ("access", "labels"),
            ("finds", "minimum-norm"),
            ("optimality_gap", "0.01"),
            ("test_settings", "queries=200"),
        ),
        exemptions=(UNSEEN,),
    ),
)
