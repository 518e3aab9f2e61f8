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
)
