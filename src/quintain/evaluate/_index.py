"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "StepOutput": "quintain.evaluate.step",
    "attack": "quintain.evaluate.evasion.defaults",
    "robust_accuracy": "quintain.evaluate.brackets",
    "run_attacks": "quintain.evaluate.evasion.attacks",
}
