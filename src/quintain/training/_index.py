"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "Bfloat16Loss": "quintain.training.bfloat16",
    "CleanCrossEntropy": "quintain.training.objective",
    "EMA": "quintain.training.ema",
    "FitResult": "quintain.training.loop",
    "Objective": "quintain.training.objective",
    "Recipe": "quintain.training.recipe",
    "StepContext": "quintain.training.objective",
    "Validation": "quintain.training.kept_weights",
    "ValidationPoint": "quintain.training.kept_weights",
    "fit": "quintain.training.loop",
}
