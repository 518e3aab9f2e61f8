"""The registered attacks that combine others on the examples still standing."""

from quintain.attacks.guarantees import WITNESS
from quintain.core.registry import Entry

FACTS = (("serves", "linf l2 l1"), ("access", "gradients"), ("gap", "0.01"), ("gap:l1", "0.03"))

CATALOGUE = (
    Entry(
        "attack",
        "quick",
        "quintain.attacks.ensembles.quick:quick",
        "nearly AutoAttack's verdicts for a small part of its cost: the one to begin with",
        guarantee=WITNESS,
        facts=(*FACTS, ("trial", "steps=10 questions=40"), ("gap trial", "steps=20 questions=50")),
    ),
    Entry(
        "attack",
        "autoattack",
        "quintain.attacks.ensembles.autoattack:autoattack",
        "APGD-CE, APGD-T, FAB-T and Square, each on what still stands: the standard to report",
        guarantee=WITNESS,
        facts=(
            *FACTS,
            ("trial", "steps=8 targets=2 questions=20"),
            ("gap trial", "steps=25 targets=1 questions=50"),
        ),
    ),
    Entry(
        "attack",
        "strongest",
        "quintain.attacks.ensembles.strongest:strongest",
        "AutoAttack without giving up, and attacks that end in other places: for the last doubt",
        guarantee=WITNESS,
        facts=(
            *FACTS,
            ("trial", "steps=6 targets=1 questions=20"),
            ("gap trial", "steps=20 targets=1 questions=50"),
        ),
    ),
)
