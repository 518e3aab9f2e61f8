"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.leakage.gradient_inversion import invert_gradient as invert_gradient
    from quintain.leakage.one_run import audit_one_run as audit_one_run

EXPORTS: dict[str, str] = {
    "Auditor": "quintain.leakage.protocols",
    "CanaryNet": "quintain.leakage.canaries",
    "CanaryRun": "quintain.leakage.canaries",
    "InversionResult": "quintain.leakage.gradient_inversion",
    "OneRunAudit": "quintain.leakage.one_run",
    "ReconstructionAttack": "quintain.leakage.protocols",
    "audit_one_run": "quintain.leakage.one_run",
    "coordinate_measurements": "quintain.leakage.coordinates",
    "insert_canaries": "quintain.leakage.canaries",
    "invert_gradient": "quintain.leakage.gradient_inversion",
    "joint_bound": "quintain.leakage.repeats",
    "max_auditable_epsilon": "quintain.leakage.one_run",
    "repetitions": "quintain.leakage.repeats",
    "train_with_canaries": "quintain.leakage.canaries",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "privacy_attack",
        "gradient-inversion",
        "quintain.leakage.gradient_inversion:invert_gradient",
        "the image behind one update, from its first linear layer and by gradient matching",
        guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
        facts=(
            ("reads", "update"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "privacy_attack",
        "one-run",
        "quintain.leakage.one_run:audit_one_run",
        "a lower bound on epsilon from the canaries of one training run",
        guarantee=(
            "exceeds the true epsilon with probability at most 1 - confidence, if the inclusion coins are "
            "fair and independent"
        ),
        facts=(
            ("reads", "scores"),
            ("default_rank", "1"),
        ),
    ),
)
