"""``quintain certify``."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import EVALUATED, EXAMPLES, RUN, Threats

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall

Seconds = Annotated[
    float,
    typer.Option(
        help="How long to try: for --property, for each example by branch-and-bound, or for linear bounds of "
        "what intervals leave open, where no certifier is named."
    ),
]

Sigma = Annotated[float, typer.Option(help="Standard deviation of the noise, for smoothing.")]
NoiseSamples = Annotated[
    int,
    typer.Option(
        "--noise-samples", "--draws", help="Noise samples for each example at most, for smoothing.", min=1
    ),
]

BandWidth = Annotated[
    int,
    typer.Option(help="Columns that a band shows, or side of a block, in pixels, for ablation.", min=1),
]


class BandForm(StrEnum):
    """What an ablated model shows of an image at a time."""

    COLUMN = "column"
    BLOCK = "block"


BandShape = Annotated[BandForm, typer.Option(help="Whether bands are columns or blocks, for ablation.")]


def run(
    call: "VerbCall",
    threat: Threats = None,
    certifier: Annotated[
        str,
        typer.Option(
            help="A name from 'quintain list certifier'. If not given, the first that handles the threat; "
            "what intervals leave open goes to linear bounds, for --seconds.",
            show_default=False,
        ),
    ] = "",
    sigma: Sigma = 0.25,
    noise_samples: NoiseSamples = 10_000,
    band_width: BandWidth = 4,
    band_shape: BandShape = BandForm.COLUMN,
    property: Annotated[
        Path | None,
        typer.Option(
            help="Decide this property of --model net.onnx, a file in VNN-LIB 1.0, without any data: unsat "
            "(proven: exit code 0), sat (violated: 1) or unknown (3).",
            show_default=False,
        ),
    ] = None,
    seconds: Seconds = 60.0,
    result: Annotated[
        Path | None,
        typer.Option(help="Where the answer on --property goes, as VNN-COMP has it.", show_default=False),
    ] = None,
) -> int:
    if property is not None or result is not None:
        from quintain.cli.property_runs import decide_property

        return decide_property(call, property, seconds, result, others=(*(threat or ()), certifier))

    from quintain.cli.requirement_threats import refuse_unplanned_requirements
    from quintain.cli.threat_options import (
        default_certifier,
        parse_certifiable_threats,
        refuse_unknown_threats,
    )
    from quintain.core.registry import get_entry
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.certify import run_certify
    from quintain.results.run_layout import UNFINISHED

    refuse_unknown_threats(threat or ())
    entry = get_entry("certifier", certifier) if certifier else default_certifier(threat or ())
    proves = entry.fact("subject", "model") == "model"
    # bounds are computed in float64 on the net's layers; a model that is made of it is only run
    call = replace(call, needs_float64=proves, reads_layers=proves, resume_dir=UNFINISHED)
    specs = threat or [entry.fact("example")]
    refuse_unplanned_requirements(call.requirements, specs)
    threats = parse_certifiable_threats(specs)

    def work() -> StepOutput:
        return run_certify(
            call.model_under_test,
            call.examples,
            threats,
            entry.name,
            named=bool(certifier),
            sigma=sigma,
            noise_samples=noise_samples,
            band_width=band_width,
            band_shape=band_shape.value,
            seconds=seconds,
            seed=call.seed,
            folder=call.folder,
            unfinished=call.unfinished,
            processes=call.processes,
            progress=call.progress,
        )

    return call.run(work)


VERB = Command(
    "certify",
    run,
    "Certify: prove that no change within the threat can alter a prediction (by bounds on its layers, or by "
    "votes of a model that is made of it), or decide a property in VNN-LIB.",
    (
        "--weights xray.safetensors --threat linf:2/255 --threat linf:4/255",
        "--weights bands.safetensors --certifier ablation --threat patch:area=3%",
    ),
    before=EVALUATED,
    after=(*EXAMPLES, *RUN),
)
