"""``quintain evaluate``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.certify import BandForm, BandShape, BandWidth, NoiseSamples, Sigma
from quintain.cli.commands.command import Command
from quintain.cli.options import DEFAULT_THREAT, EVALUATED, EXAMPLES, RUN, MaxQueries, Threats

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.evaluate.step import StepOutput

PICTURES = 6


def run(
    call: "VerbCall",
    threat: Threats = None,
    certifier: Annotated[
        str,
        typer.Option(
            help="A name from 'quintain list certifier'; the cheapest that certifies the model itself if not "
            "given.",
            show_default=False,
        ),
    ] = "",
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            help="Names from 'quintain list attack'; repeatable. Default: chosen by what the model provides "
            "(gradients, scores or labels).",
        ),
    ] = None,
    sigma: Sigma = 0.25,
    noise_samples: NoiseSamples = 10_000,
    band_width: BandWidth = 4,
    band_shape: BandShape = BandForm.COLUMN,
    max_queries: MaxQueries = 0,
) -> int:
    from quintain.cli.requirement_threats import refuse_unplanned_requirements
    from quintain.cli.threat_options import parse_threats, refuse_unknown_threats
    from quintain.core.errors import SettingError
    from quintain.core.registry import get_entry
    from quintain.results.run_layout import UNFINISHED

    # what can be refused without torch
    entry = get_entry("certifier", certifier) if certifier else None
    certified = "model" if entry is None else entry.fact("subject", "model")
    if entry is not None and certified == "smoothed" and (attack or max_queries):
        raise SettingError(
            f"--certifier {entry.name} makes a model of its own, which has an attack of its own: leave "
            f"{'--attack' if attack else '--max-queries'} out"
        )
    specs = threat or [entry.fact("example") if entry is not None else DEFAULT_THREAT]
    refuse_unknown_threats(specs)
    named = {name: get_entry("attack", name) for name in attack or ()}
    call = replace(call, needs_float64=certified == "model", resume_dir=UNFINISHED)
    refuse_unplanned_requirements(call.requirements, specs)

    from quintain.evaluate.evasion.defaults import attacks_on
    from quintain.evaluate.steps.evaluate import run_evaluate
    from quintain.results.robustness_records import EvaluateResult

    threats = parse_threats(specs)
    outputs: list[StepOutput] = []

    def work() -> "StepOutput":
        subject = call.model_under_test
        output = run_evaluate(
            subject,
            call.examples,
            threats,
            {} if certified == "smoothed" else attacks_on(subject.model, threats[0], named),
            certifier=certifier,
            sigma=sigma,
            noise_samples=noise_samples,
            band_width=band_width,
            band_shape=band_shape.value,
            seed=call.seed,
            folder=call.folder,
            num_pictures=PICTURES,
            max_queries=max_queries or None,
            data_options=call.data_options,
            processes=call.processes,
            progress=call.progress,
        )
        outputs.append(output)
        return output

    # data and model are loaded, and what is wrong with them said, before the folder is announced
    _ = call.examples, call.model_under_test
    call.announce()
    code = call.run(work)
    result = outputs[0].result
    call.raise_if_stopped(result.attacked.stop_reason if isinstance(result, EvaluateResult) else "")
    return code


VERB = Command(
    "evaluate",
    run,
    "Bound a model's robust accuracy from both sides: certify what can be certified, and attack the rest.",
    (
        "--model net.py:make --weights w.safetensors --data mine.npz --threat linf:4/255",
        "--weights noisy.safetensors --certifier smoothing --threat l2:0.25 --limit 100",
    ),
    before=EVALUATED,
    after=(*EXAMPLES, *RUN),
)
