"""``quintain drill``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import DEFAULT_DEVICE, Device, Require, Seed, Undecided

if TYPE_CHECKING:
    from quintain.results.records import Record


def run(
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; an unfinished run in it is resumed. runs/DATE-drill if not given."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One to two minutes on two cores: weaker models, wider brackets.")
    ] = False,
    device: Device = DEFAULT_DEVICE,
    seed: Seed = 0,
    require: Require = None,
    undecided: Undecided = None,
) -> int:
    from quintain.cli.call import VerbCall
    from quintain.cli.run_folder import command_line, resume_command
    from quintain.cli.screen import show_drill, show_step
    from quintain.core.errors import RunFolderError, SoundnessError
    from quintain.drill import Settings, drill
    from quintain.drill.run_folder import RunFolder
    from quintain.drill.settings import DEFAULT_REQUIREMENTS
    from quintain.results.records import DrillResult

    call = VerbCall(
        verb="drill",
        device=device,
        needs_float64=True,
        seed=seed,
        require=tuple(require or ()),
        undecided=undecided,
    )
    requirements = call.requirements or DEFAULT_REQUIREMENTS
    folder = out or call.folder
    settings = Settings(seed, quick, requirements, call.undecided_rule)
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(
            f"--out {folder} is a file; give a folder that is new or that of an earlier drill"
        )
    _ = call.torch_device
    RunFolder(folder, settings, ())  # refuses a folder of other settings before anything is printed
    resume = resume_command(out, folder)
    call.print_dim(f"writing to {folder}. To resume after an interruption: {resume}")
    call.announce_requirements()
    call.print_device()

    records: list[Record] = []

    def on_step(step: str, record: "Record") -> None:
        records.append(record)
        if not isinstance(record.result, DrillResult):
            show_step(call.console, step, record)

    try:
        code, page = drill(
            folder,
            settings,
            device=call.torch_device,
            command=command_line(),
            progress=call.progress,
            on_step=on_step,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"finished steps are kept in {folder}; to resume: {resume}") from None
    except SoundnessError:
        show_drill(call.console, records)
        raise
    show_drill(call.console, records)
    if records[-1].verdict is not None:
        call.warn_of_undecided(records[-1].verdict)
    call.console.print(str(page), markup=False, soft_wrap=True)
    return code


VERB = Command(
    "drill",
    run,
    "Run every part of Quintain on the bundled chest X-rays, and write a report. Run again on the same "
    "folder, it resumes.",
    ("--out runs/first", "--quick --require 'robust_accuracy(linf:4/255) >= 0.65'"),
)
