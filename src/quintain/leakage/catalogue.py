"""The registered audits and privacy attacks."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "privacy_attack",
        "one-run",
        "quintain.leakage.one_run:audit_one_run",
        "a lower bound on epsilon from the canaries of one training run",
        guarantee="exceeds the true epsilon with probability at most 1 - confidence, "
        "if the inclusion coins are fair and independent",
    ),
    Entry(
        "privacy_attack",
        "gradient-inversion",
        "quintain.leakage.gradient_inversion:invert_gradient",
        "the image behind one update, from its first linear layer and by gradient matching",
        guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
    ),
)
