"""The registered attacks."""

from quintain.core.registry import Entry

_WITNESS = "what it breaks is a witness that can be replayed; what it does not break may still be breakable"

CATALOGUE = (
    Entry(
        "attack",
        "fgsm",
        "quintain.attacks.fgsm:FGSM",
        "one signed gradient step: fast and weak, a smoke test",
        guarantee=_WITNESS,
        facts=(("gap:linf", "0.01"), ("gap:l2", "0.6")),
    ),
    Entry(
        "attack",
        "pgd",
        "quintain.attacks.pgd:PGD",
        "projected gradient ascent on the margin with falling steps and random starts",
        guarantee=_WITNESS,
        facts=(("gap", "0.01"),),
    ),
)
