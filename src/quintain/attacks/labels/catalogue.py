"""The registered attacks that ask for labels alone."""

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
        "quintain.attacks.labels.hopskipjump:HopSkipJump",
        "a walk along the boundary, its normal by votes on labels",
        guarantee=WITNESS,
        facts=(
            ("serves", "linf l2"),
            ("access", "labels"),
            ("seeks", "smallest"),
            ("gap:l2", "0.02"),
            ("gap:linf", "0.08"),
            ("trial", "questions=300 tries=20"),
        ),
        exceptions=(UNSEEN,),
    ),
    Entry(
        "attack",
        "cgba",
        "quintain.attacks.labels.cgba:CGBA",
        "half circles from the boundary towards its normal, by votes on labels",
        guarantee=WITNESS,
        facts=(
            ("serves", "l2"),
            ("access", "labels"),
            ("seeks", "smallest"),
            ("gap", "0.01"),
            ("trial", "questions=300 tries=20"),
        ),
        exceptions=(UNSEEN,),
    ),
    Entry(
        "attack",
        "rays",
        "quintain.attacks.labels.rays:RayS",
        "flips blocks of signs and bisects along the ray, from labels; nothing is random",
        guarantee=WITNESS,
        facts=(
            ("serves", "linf"),
            ("access", "labels"),
            ("seeks", "smallest"),
            ("gap", "0.01"),
            ("trial", "questions=200"),
        ),
        exceptions=(UNSEEN,),
    ),
)
