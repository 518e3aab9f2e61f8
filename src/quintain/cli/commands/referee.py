"""``quintain referee``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall


def run(
    call: "VerbCall",
    folder: Annotated[
        Path | None,
        typer.Argument(
            help="A folder of instances, with an instances.csv of the columns model, property and result, "
            "and counterexample where that is another file."
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="An ONNX file.")] = "",
    property: Annotated[
        Path | None, typer.Option(help="Its property in VNN-LIB 1.0.", show_default=False)
    ] = None,
    result: Annotated[
        str, typer.Option(help="The file of another verifier's result, or its answer: sat, unsat.")
    ] = "",
    counterexample: Annotated[
        Path | None, typer.Option(help="The counterexample, where it is another file.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to try, for each.")] = 60.0,
    witness: Annotated[
        Path | None,
        typer.Option(
            help="Where the counterexample that holds goes, as VNN-COMP has it.", show_default=False
        ),
    ] = None,
) -> int:
    from quintain.cli.property_runs import rule_on_folder, rule_on_one
    from quintain.core.errors import SettingError

    if folder is not None and not (model or property or result or counterexample or witness):
        return rule_on_folder(call, folder, seconds)
    if folder is not None or property is None or not (model and result):
        raise SettingError(
            "expected a folder of instances, or --model net.onnx, --property p.vnnlib and --result theirs.txt"
        )
    return rule_on_one(call, property, result, counterexample, seconds, witness)


VERB = Command(
    "referee",
    run,
    "Hold another verifier's result about a property from both sides: CONFIRMED (exit code 0), REFUTED (1) "
    "or UNDECIDED (3).",
    (
        "--model net.onnx --property p.vnnlib --result theirs.txt",
        "instances --seconds 30",
    ),
)
