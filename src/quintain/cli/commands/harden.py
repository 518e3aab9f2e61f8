"""``quintain harden``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quintain.cli.commands.certify import BandForm, BandShape, BandWidth
from quintain.cli.commands.command import Command
from quintain.cli.options import RUN, TRAINED

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall

Kept = Literal["last", "best"]


def run(
    call: "VerbCall",
    defense: Annotated[
        str,
        typer.Option(
            "--defense",
            "--defence",
            help="A name from 'quintain list defense'; ibp if not given.",
            show_default=False,
        ),
    ] = "",
    threat: Annotated[
        str | None,
        typer.Option(
            help="Threat to train against, and to attack and certify afterwards; if not given, linf:4/255, "
            "with gaussian l2 of twice sigma, and with ablation patch:area=3%."
        ),
    ] = None,
    sigma: Annotated[
        float, typer.Option(help="Standard deviation of the noise, for a defense that trains under noise.")
    ] = 0.25,
    band_width: BandWidth = 4,
    band_shape: BandShape = BandForm.COLUMN,
    epochs: Annotated[int, typer.Option(help="Epochs; the defense's own number if not given.", min=0)] = 0,
    inner: Annotated[
        str,
        typer.Option(
            help="Attack by gradients inside adversarial training, such as apgd; pgd-at's own if not given.",
            show_default=False,
        ),
    ] = "",
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="Further threat to train against, and to attack afterwards, such as l2:0.5; again for more. "
            "For union-at.",
            show_default=False,
        ),
    ] = None,
    ema: Annotated[
        float,
        typer.Option(
            help="Decay of a moving average of the weights, which the model gets, such as 0.995; 0: none.",
            min=0.0,
        ),
    ] = 0.0,
    keep: Annotated[
        Kept,
        typer.Option(
            help="last: the last weights; best: those of the epoch with the largest robust or certified "
            "accuracy on the validation split, with the last ones beside them."
        ),
    ] = "last",
    front: Annotated[
        bool,
        typer.Option(
            "--front",
            help="Train with several settings of the defense's trade-off, such as beta, show the accuracies "
            "of each on the validation split, and choose there.",
        ),
    ] = False,
) -> int:
    from quintain.cli.requirement_threats import refuse_unplanned_requirements
    from quintain.cli.threat_options import parse_threats
    from quintain.core.registry import by_default_rank, get_entry
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.harden import run_harden
    from quintain.results.run_layout import UNFINISHED
    from quintain.threats import parse

    call = replace(call, needs_float64=True, resume_dir=UNFINISHED)
    chosen = parse_threats([threat])[0] if threat else None
    parsed = dict.fromkeys(parse_threats([one])[0] for one in also or ())
    entry = get_entry("defense", defense) if defense else by_default_rank("defense")[0]
    # without --threat, the defense trains against a threat of its own, which may follow from sigma
    default = entry.build(threat=parse(entry.fact("example")), sigma=sigma).threat
    others = tuple(one for one in parsed if one != (chosen or default))
    validation = call.splits.split("val") if front or keep == "best" else None
    refuse_unplanned_requirements(
        call.requirements, [(chosen or default).spec, *(one.spec for one in others)]
    )

    def work() -> StepOutput:
        return run_harden(
            call.net(),
            call.train,
            call.examples,
            entry.name,
            threat=chosen,
            sigma=sigma,
            band_width=band_width,
            band_shape=band_shape.value,
            epochs=epochs,
            inner=inner,
            also=others,
            ema_decay=ema,
            validation=validation,
            early_stopping=keep == "best",
            front=front,
            seed=call.seed,
            folder=call.folder,
            unfinished=call.unfinished,
            progress=call.progress,
        )

    return call.run(work)


VERB = Command(
    "harden",
    run,
    "Train a model with a defense, attack and certify it, and store its weights.",
    (
        "--data xrays --defense ibp --threat linf:4/255",
        "--model net.py:make --data mine.npz --defense trades --epochs 10 --front",
    ),
    before=TRAINED,
    after=RUN,
)
