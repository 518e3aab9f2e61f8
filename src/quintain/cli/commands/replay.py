"""``quintain replay``."""

from pathlib import Path
from typing import Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import (
    DEFAULT_DEVICE,
    DEFAULT_MODEL,
    AnyModel,
    Classes,
    Device,
    Out,
    Require,
    Undecided,
    Weights,
)


def run(
    source: Annotated[
        Path, typer.Argument(metavar="RUN", help="The run folder of a quintain attack.", show_default=False)
    ],
    model: AnyModel = DEFAULT_MODEL,
    weights: Weights = None,
    data: Annotated[
        str,
        typer.Option(help="The data that were attacked, where they lie elsewhere now.", show_default=False),
    ] = "",
    classes: Classes = None,
    device: Device = DEFAULT_DEVICE,
    require: Require = None,
    undecided: Undecided = None,
    out: Out = None,
) -> int:
    from quintain.cli.call import VerbCall
    from quintain.core.errors import RunFolderError
    from quintain.results.codec import load
    from quintain.results.robustness_records import AttackResult, EvaluateResult
    from quintain.results.run_layout import RESULT_FILE

    path = source / RESULT_FILE
    if not path.is_file():
        raise RunFolderError(f"{source} holds no result; expected the run folder of a quintain attack")
    match load(path).result:
        case AttackResult(models=(attacked, *_)) | EvaluateResult(attacked=attacked):
            kept = attacked.adversarial
        case _:
            kept = None
    if kept is None:
        raise RunFolderError(
            f"{source} holds no adversarial examples; expected the run folder of a quintain attack that "
            "stored them: run it again"
        )

    from quintain.evaluate.evasion.adversarial import open_adversarial
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.replay import run_replay

    with open_adversarial(source / kept.path, kept.sha256) as stored:
        options = dict(stored.source.data_options or {})
        if data:
            options["data"] = data
        if classes is not None:
            options["classes"] = classes
        call = VerbCall(
            verb="replay",
            model=model,
            weights=weights,
            device=device,
            out=out,
            require=tuple(require or ()),
            undecided=undecided,
            **options,  # type: ignore[arg-type]
        )

        def work() -> StepOutput:
            return run_replay(
                call.model_under_test, call.examples, stored, source=source, progress=call.progress
            )

        return call.run(work)


VERB = Command(
    "replay",
    run,
    "Run another model on the adversarial examples that an attack stored: how many transfer, which still "
    "hold, and an upper bound on its robust accuracy.",
    (
        "runs/2026-01-31-attack --model net.py:make --weights hardened.safetensors",
        "runs/first --weights new.safetensors --require 'robust_accuracy(linf:4/255) >= 0.5'",
    ),
)
