"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "AuditedClaim": "quintain.evaluate.steps.audit_training",
    "ClaimedMechanism": "quintain.evaluate.steps.audit_mechanism",
    "Robustness": "quintain.evaluate.both_sides",
    "StepOutput": "quintain.evaluate.step",
    "attack": "quintain.evaluate.evasion.defaults",
    "audit_mechanism": "quintain.evaluate.steps.audit_mechanism",
    "audit_training": "quintain.evaluate.steps.audit_training",
    "robust_accuracy": "quintain.evaluate.brackets",
    "robustness": "quintain.evaluate.both_sides",
    "run_attacks": "quintain.evaluate.evasion.attacks",
}
