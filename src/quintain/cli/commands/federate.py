"""``quintain federate``."""

from typing import Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import (
    DEFAULT_DATA,
    DEFAULT_DEVICE,
    DEFAULT_MODEL,
    Classes,
    Data,
    Device,
    Model,
    Out,
    Require,
    Seed,
    Undecided,
)


def run(
    model: Model = DEFAULT_MODEL,
    data: Data = DEFAULT_DATA,
    classes: Classes = None,
    sites: Annotated[int, typer.Option(help="Number of sites.", min=3)] = 5,
    rounds: Annotated[
        int, typer.Option(help="Rounds of broadcast, local training and secure sum.", min=1)
    ] = 6,
    epochs: Annotated[int, typer.Option(help="Local epochs per round.", min=1)] = 2,
    device: Device = DEFAULT_DEVICE,
    seed: Seed = 0,
    require: Require = None,
    undecided: Undecided = None,
    out: Out = None,
) -> int:
    from quintain.cli.call import VerbCall
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.federate import run_federate

    call = VerbCall(
        verb="federate",
        data=data,
        classes=classes,
        model=model,
        device=device,
        needs_float64=True,
        seed=seed,
        out=out,
        require=tuple(require or ()),
        undecided=undecided,
    )

    def work() -> StepOutput:
        return run_federate(
            call.net(),
            call.train,
            call.examples,
            sites=sites,
            site_name="hospital" if data == DEFAULT_DATA else "site",
            rounds=rounds,
            epochs=epochs,
            seed=seed,
            folder=call.folder,
            progress=call.progress,
        )

    return call.run(work)


VERB = Command(
    "federate",
    run,
    "Train a model over several sites with secure aggregation, and attack what the server sees.",
    ("--data xrays --sites 5", "--model net.py:make --data mine.npz --sites 8 --rounds 20"),
)
