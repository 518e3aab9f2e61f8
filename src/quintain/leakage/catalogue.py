"""Audits and privacy attacks known by name."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "audit",
        "one-run",
        "quintain.leakage.one_run:audit_one_run",
        "a lower bound on epsilon from the canaries of one training run",
        guarantee="exceeds the true epsilon with probability at most 1 - confidence, if the inclusion coins are fair and independent",
    ),
    Entry(
        "audit",
        "gradient-inversion",
        "quintain.leakage.inversion:invert",
        "the picture behind one update, by its dense layer and by matching gradients",
        guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
    ),
)
