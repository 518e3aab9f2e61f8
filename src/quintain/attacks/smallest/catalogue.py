"""The registered attacks that seek the smallest change."""

from quintain.attacks.guarantees import SMALLEST
from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "attack",
        "ddn",
        "quintain.attacks.smallest.ddn:DDN",
        "gradient ascent on a sphere that shrinks after a break and grows after none",
        guarantee=SMALLEST,
        facts=(("serves", "l2"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0.01"), ("trial", "steps=20")),
    ),
    Entry(
        "attack",
        "deepfool",
        "quintain.attacks.smallest.deepfool:DeepFool",
        "from one linearised boundary to the next until the answer turns: fast, rough",
        guarantee=SMALLEST,
        facts=(("serves", "linf l2"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0.01"), ("trial", "steps=20")),
    ),
    Entry(
        "attack",
        "fab",
        "quintain.attacks.smallest.fab:FAB",
        "along the boundary, biased towards the clean point, guided by each rival class",
        guarantee=SMALLEST,
        facts=(("serves", "linf l2 l1"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0.01"), ("trial", "steps=10 targets=3")),
    ),
    Entry(
        "attack",
        "superdeepfool",
        "quintain.attacks.smallest.superdeepfool:SuperDeepFool",
        "DeepFool, turned back onto the boundary's normal: near the smallest L2 change at few gradients",
        guarantee=SMALLEST,
        facts=(("serves", "l2"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0.01"), ("trial", "steps=20")),
    ),
    Entry(
        "attack",
        "fmn",
        "quintain.attacks.smallest.fmn:FMN",
        "gradient steps inside a radius that follows the smallest break, from a break that signed steps reach",
        guarantee=SMALLEST,
        facts=(
            ("serves", "linf l2 l1 l0"),
            ("access", "gradients"),
            ("seeks", "smallest"),
            ("gap", "0.01"),
            ("gap:l0", "0"),
            ("trial", "steps=20"),
        ),
    ),
    Entry(
        "attack",
        "carlini-wagner",
        "quintain.attacks.smallest.carlini_wagner:CarliniWagner",
        "Adam on the change and what the margin lacks, in unbounded variables; a constant (L2) or cube (Linf) bisected",
        guarantee=SMALLEST,
        facts=(("serves", "linf l2"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0.01"), ("trial", "searches=3 steps=15")),
    ),
    Entry(
        "attack",
        "ead",
        "quintain.attacks.smallest.ead:EAD",
        "shrinking gradient steps with momentum on summed and squared change: few pixels move",
        guarantee=SMALLEST,
        facts=(("serves", "l1"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0.01"), ("trial", "searches=3 steps=15")),
    ),
    Entry(
        "attack",
        "sigma-zero",
        "quintain.attacks.smallest.sigma_zero:SigmaZero",
        "descent on a smooth count of changed pixels, small changes cut to zero: the strongest L0",
        guarantee=SMALLEST,
        facts=(("serves", "l0"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0"), ("trial", "steps=20")),
    ),
    Entry(
        "attack",
        "jsma",
        "quintain.attacks.smallest.jsma:JSMA",
        "two more pixels a step, each to the corner where it helps: cheap, rough on robust models",
        guarantee=SMALLEST,
        facts=(("serves", "l0"), ("access", "gradients"), ("seeks", "smallest"), ("gap", "0")),
    ),
)
