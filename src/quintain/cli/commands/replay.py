"""``quintain replay``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import CLASSES, DEFAULT_DATA, DEVICE, MODEL, OUT, REQUIRE, UNDECIDED, WEIGHTS

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.results.artifacts import AdversarialFile


def run(
    call: "VerbCall",
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="The run folder of a quintain attack, evaluate or drill.", show_default=False
        ),
    ],
    data: Annotated[
        str,
        typer.Option(help="The data that were attacked, where they lie elsewhere now.", show_default=False),
    ] = "",
) -> int:
    kept = _stored_examples(source)
    from quintain.cli.requirement_threats import refuse_unmeasured_requirements
    from quintain.evaluate.evasion.adversarial import open_adversarial
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.replay import run_replay

    with open_adversarial(source / kept.path, kept.sha256) as stored:
        refuse_unmeasured_requirements(call.requirements, stored.source.threats, source)
        options = {"data": DEFAULT_DATA, **(stored.source.data_options or {})}
        if data:
            options["data"] = data
        if call.classes is not None:
            options["classes"] = call.classes
        call = replace(call, **options)  # type: ignore[arg-type]

        def work() -> StepOutput:
            return run_replay(
                call.model_under_test,
                call.examples,
                stored,
                source=source,
                sampled=call.sampled,
                progress=call.progress,
            )

        return call.run(work)


def _stored_examples(source: Path) -> "AdversarialFile":
    """Return the adversarial examples that a run has stored, by its record or by those of its steps.

    Raises:
        RunFolderError: If there are none.
    """
    from quintain.core.errors import RunFolderError
    from quintain.report import read
    from quintain.results.robustness_records import AttackResult, EvaluateResult

    if not any(source.glob("*.json")):
        raise RunFolderError(
            f"{source} holds no result; expected the run folder of a quintain attack, evaluate or drill"
        )
    for record in read(source):
        match record.result:
            case AttackResult(models=(attacked, *_)) | EvaluateResult(attacked=attacked) if (
                attacked.adversarial is not None
            ):
                return attacked.adversarial
    raise RunFolderError(
        f"{source} holds no adversarial examples; expected the run folder of a quintain attack, evaluate or "
        "drill that stored them: run it again"
    )


VERB = Command(
    "replay",
    run,
    "Run another model on the adversarial examples that an attack stored: how many transfer, which still "
    "hold, and an upper bound on its robust accuracy.",
    (
        "runs/2026-01-31-attack --model net.py:make --weights hardened.safetensors",
        "runs/first --weights new.safetensors --require 'robust_accuracy(linf:4/255) >= 0.5'",
    ),
    before=(MODEL, WEIGHTS),
    after=(CLASSES, DEVICE, REQUIRE, UNDECIDED, OUT),
)
