"""The registered attacks that follow the model's gradient inside a threat."""

from quintain.core.registry import Entry

WITNESS = "what it breaks is a witness that can be replayed; what it does not break may still be breakable"

CATALOGUE = (
    Entry(
        "attack",
        "fgsm",
        "quintain.attacks.gradient.fgsm:FGSM",
        "one signed gradient step: fast and weak, a smoke test",
        guarantee=WITNESS,
        facts=(("serves", "linf l2 mask projection colour"), ("access", "gradients"), ("gap:linf", "0.01"), ("gap:l2", "0.6")),
    ),
    Entry(
        "attack",
        "pgd",
        "quintain.attacks.gradient.pgd:PGD",
        "projected gradient ascent on the margin with falling steps and random starts",
        guarantee=WITNESS,
        facts=(
            ("serves", "linf l2 mask patch projection spatial colour compose"),
            ("access", "gradients"),
            ("gap", "0.01"),
            ("trial", "steps=20"),
        ),
    ),
    Entry(
        "attack",
        "apgd",
        "quintain.attacks.gradient.apgd:APGD",
        "projected gradient ascent that sets its own step length, on one loss or towards the nearest rivals",
        guarantee=WITNESS,
        facts=(("serves", "linf l2 l1"), ("access", "gradients"), ("gap", "0.01"), ("gap:l1", "0.03"), ("trial", "steps=25")),
    ),
    Entry(
        "attack",
        "acg",
        "quintain.attacks.gradient.acg:ACG",
        "ascent along conjugate directions: it ends in other places than APGD",
        guarantee=WITNESS,
        facts=(("serves", "linf l2"), ("access", "gradients"), ("gap", "0.01"), ("trial", "steps=25")),
    ),
    Entry(
        "attack",
        "a3",
        "quintain.attacks.gradient.a3:A3",
        "short climbs from learned start directions, none where they are hopeless",
        guarantee=WITNESS,
        facts=(("serves", "linf l2"), ("access", "gradients"), ("gap", "0.01"), ("trial", "rounds=2 steps=15")),
    ),
    Entry(
        "attack",
        "mm",
        "quintain.attacks.gradient.minimum_margin:MinimumMargin",
        "a short climb towards each of the three nearest rivals",
        guarantee=WITNESS,
        facts=(("serves", "linf l2"), ("access", "gradients"), ("gap", "0.01")),
    ),
    Entry(
        "attack",
        "pma",
        "quintain.attacks.gradient.pma:PMA",
        "APGD on the margin of probabilities",
        guarantee=WITNESS,
        facts=(("serves", "linf l2 l1"), ("access", "gradients"), ("gap", "0.01"), ("gap:l1", "0.03"), ("trial", "steps=25")),
    ),
)
