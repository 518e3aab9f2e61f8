"""``quintain leak``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import CLASSES, DATA, DEVICE, NET, OUT, SEED, WEIGHTS

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall


def run(
    call: "VerbCall",
    attack: Annotated[
        str,
        typer.Option(
            help="A name from 'quintain list leak' that reads an update; gradient-inversion if not given.",
            show_default=False,
        ),
    ] = "",
    steps: Annotated[int, typer.Option(help="Steps of each reconstruction.", min=1)] = 800,
    show_private: Annotated[
        bool,
        typer.Option(
            help="Store the originals and their reconstructions, and show them in the report; "
            "those of bundled data always are."
        ),
    ] = False,
) -> int:
    from quintain.core.registry import choose, declared_entries
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.leak import run_leak
    from quintain.results.run_layout import UNFINISHED

    call = replace(call, needs_float64=True, split="train", resume_dir=UNFINISHED)
    entry = choose("leak", attack, access="update")
    public = {name for name, dataset in declared_entries("dataset").items() if dataset.is_true("is_public")}
    # data and model are loaded, and what is wrong with them said, before the folder is announced
    _, net = call.examples, call.net()

    def work() -> StepOutput:
        return run_leak(
            net,
            call.examples,
            attack=entry.load(),
            steps=steps,
            seed=call.seed,
            folder=call.folder,
            show=show_private or call.data in public,
            unfinished=call.unfinished,
            progress=call.progress,
        )

    return call.run_resumable(work)


VERB = Command(
    "leak",
    run,
    "Reconstruct a training image from a model update (gradient inversion): a plain one, a secure sum, a "
    "private one.",
    ("--data xrays", "--model net.py:make --weights w.safetensors --data mine.npz --steps 1000"),
    before=(NET, WEIGHTS, DATA, CLASSES),
    after=(DEVICE, SEED, OUT),
)
