"""``quintain check``."""

from quintain.cli.commands.command import Command
from quintain.cli.options import (
    DEFAULT_DATA,
    DEFAULT_DEVICE,
    DEFAULT_MODEL,
    AnyModel,
    Classes,
    Data,
    Device,
    Out,
    Weights,
)


def run(
    data: Data = DEFAULT_DATA,
    model: AnyModel = "",
    weights: Weights = None,
    classes: Classes = None,
    device: Device = DEFAULT_DEVICE,
    out: Out = None,
) -> int:
    from quintain.cli.call import VerbCall
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.check import run_check

    named = model or (DEFAULT_MODEL if weights else "")
    call = VerbCall(
        verb="check",
        data=data,
        classes=classes,
        model=named,
        weights=weights,
        device=device,
        out=out,
        split="",
    )

    def work() -> StepOutput:
        model = call.model_under_test.model if named else None
        return run_check(call.splits, model, progress=call.progress)

    return call.run(work)


VERB = Command(
    "check",
    run,
    "Check data and model: value range, labels, duplicates, shape, mode, determinism.",
    ("--data xrays", "--data mine.npz --model net.py:make --weights w.safetensors"),
)
