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

    named = model or (DEFAULT_MODEL if call.weights else "")
    call = replace(call, model=named, split="")

    def work() -> StepOutput:
        model = call.model_under_test.model if named else None
        return run_check(call.splits, model, progress=call.progress)

    return call.run(work)


VERB = Command(
    "check",
    run,
    "Check data and model: value range, labels, duplicates, shape, mode, determinism.",
    ("--data xrays", "--data mine.npz --model net.py:make --weights w.safetensors"),
    before=(DATA,),
    after=(WEIGHTS, CLASSES, DEVICE, OUT),
)
