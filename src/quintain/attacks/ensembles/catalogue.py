"""The registered ensembles of attacks."""

from quintain.attacks.guarantees import WITNESS
from quintain.core.registry import Entry

FACTS = (("supports", "linf l2 l1"), ("access", "gradients"), ("optimality_gap", "0.01"), ("optimality_gap:l1", "0.03"))

CATALOGUE = (
    Entry(
        "attack",
        "quick",
        "quintain.attacks.ensembles.quick:Quick",
        "nearly AutoAttack's verdicts for a small part of its cost: the one to begin with",
        guarantee=WITNESS,
        facts=(*FACTS, ("test_settings", "steps=10 queries=40"), ("gap_test_settings", "steps=20 queries=50")),
    ),
    Entry(
        "attack",
        "autoattack",
        "quintain.attacks.ensembles.autoattack:AutoAttack",
        "APGD-CE, APGD-T, FAB-T and Square, each on the examples not yet broken: the standard to report",
        guarantee=WITNESS,
        facts=(
            *FACTS,
            ("test_settings", "steps=8 target_classes=2 queries=20"),
            ("gap_test_settings", "steps=25 target_classes=1 queries=50"),
        ),
    ),
    Entry(
        "attack",
        "strongest",
        "quintain.attacks.ensembles.strongest:Strongest",
        "AutoAttack without giving up, and attacks that end in other places: for the last doubt",
        guarantee=WITNESS,
        facts=(
            *FACTS,
            ("test_settings", "steps=6 target_classes=1 queries=20"),
            ("gap_test_settings", "steps=20 target_classes=1 queries=50"),
        ),
    ),
)
