"""``quintain federate``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import DEFAULT_DATA, RUN, TRAINED

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall


def run(
    call: "VerbCall",
    sites: Annotated[int, typer.Option(help="Number of sites.", min=3)] = 5,
    rounds: Annotated[
        int, typer.Option(help="Rounds of broadcast, local training and secure sum.", min=1)
    ] = 6,
    epochs: Annotated[int, typer.Option(help="Local epochs per round.", min=1)] = 2,
    secure: Annotated[
        str,
        typer.Option(
            help="What sums the updates, from 'quintain list aggregation': secagg if not given; none to let "
            "the server see each update.",
            show_default=False,
        ),
    ] = "",
) -> int:
    from quintain.core.registry import choose
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.federate import run_federate
    from quintain.results.run_layout import UNFINISHED

    call = replace(call, needs_float64=True, resume_dir=UNFINISHED)
    choose("aggregation", secure)

    def work() -> StepOutput:
        return run_federate(
            call.net(),
            call.train,
            call.examples,
            sites=sites,
            site_name="hospital" if call.data == DEFAULT_DATA else "site",
            rounds=rounds,
            epochs=epochs,
            secure=secure,
            seed=call.seed,
            folder=call.folder,
            unfinished=call.unfinished,
            progress=call.progress,
        )

    return call.run_resumable(work)


VERB = Command(
    "federate",
    run,
    "Train a model over several sites with secure aggregation, and attack what the server sees.",
    ("--data xrays --sites 5", "--model net.py:make --data mine.npz --sites 8 --rounds 20"),
    before=TRAINED,
    after=RUN,
)
