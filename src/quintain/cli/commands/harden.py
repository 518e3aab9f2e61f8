"""``quintain harden``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.certify import BandForm, BandShape, BandWidth
from quintain.cli.commands.command import Command
from quintain.cli.options import RUN, TRAINED

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall


def run(
    call: "VerbCall",
    defense: Annotated[
        str,
        typer.Option(
            "--defense",
            "--defence",
            help="A name from 'quintain list defense'; the first of its defaults if not given: ibp.",
            show_default=False,
        ),
    ] = "",
    threat: Annotated[
        str | None,
        typer.Option(
            help="Threat to train against, and to attack and certify afterwards; "
            "what the defense is for if not given: linf:4/255, under noise an l2 size of twice sigma."
        ),
    ] = None,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, if it takes some.")] = 0.25,
    band_width: BandWidth = 4,
    band_shape: BandShape = BandForm.COLUMN,
    epochs: Annotated[int, typer.Option(help="Epochs; the defense's own number if not given.", min=0)] = 0,
) -> int:
    from quintain.cli.requirement_threats import refuse_unplanned_requirements
    from quintain.cli.threat_options import parse_certifiable_threats
    from quintain.core.registry import by_default_rank, get_entry
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.harden import run_harden
    from quintain.results.run_layout import UNFINISHED
    from quintain.threats import parse

    call = replace(call, needs_float64=True, resume_dir=UNFINISHED)
    ball = parse_certifiable_threats([threat])[0] if threat else None
    entry = get_entry("defense", defense) if defense else by_default_rank("defense")[0]
    usual = entry.build(threat=parse(entry.fact("example")), sigma=sigma).threat
    refuse_unplanned_requirements(call.requirements, [(ball or usual).spec])

    def work() -> StepOutput:
        return run_harden(
            call.net(),
            call.train,
            call.examples,
            entry.name,
            threat=ball,
            sigma=sigma,
            band_width=band_width,
            band_shape=band_shape.value,
            epochs=epochs,
            seed=call.seed,
            folder=call.folder,
            unfinished=call.folder / UNFINISHED,
            progress=call.progress,
        )

    return call.run(work)


VERB = Command(
    "harden",
    run,
    "Train a model with a defense, attack and certify it, and store its weights.",
    (
        "--data xrays --defense ibp --threat linf:4/255",
        "--model net.py:make --data mine.npz --defense pgd-at --epochs 10",
    ),
    before=TRAINED,
    after=RUN,
)
