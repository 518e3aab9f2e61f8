"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "Robustness": "quintain.evaluate.both_sides",
    "StepOutput": "quintain.evaluate.step",
    "attack": "quintain.evaluate.evasion.defaults",
    "robust_accuracy": "quintain.evaluate.brackets",
    "robustness": "quintain.evaluate.both_sides",
    "run_attacks": "quintain.evaluate.evasion.attacks",
}
