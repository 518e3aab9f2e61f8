"""``quintain check``."""

from dataclasses import replace
from typing import TYPE_CHECKING

from quintain.cli.commands.command import Command
from quintain.cli.options import CLASSES, DATA, DEFAULT_MODEL, DEVICE, OUT, WEIGHTS, AnyModel

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall


def run(call: "VerbCall", model: AnyModel = "") -> int:
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.check import run_check

    # without --model and --weights only the data are checked; weights alone are those of the default model
    model_name = model or (DEFAULT_MODEL if call.weights else "")
    call = replace(call, model=model_name, split="")

    def work() -> StepOutput:
        checked = call.model_under_test.model if model_name else None
        return run_check(call.splits, checked, progress=call.progress)

    return call.run(work)


VERB = Command(
    "check",
    run,
    "Check data and model: value range, labels, duplicates, shape, mode, determinism.",
    ("--data xrays", "--data mine.npz --model net.py:make --weights w.safetensors"),
    before=(DATA,),
    after=(WEIGHTS, CLASSES, DEVICE, OUT),
)
