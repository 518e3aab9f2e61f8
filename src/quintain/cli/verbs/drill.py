"""``quintain drill``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.options import Require, Seed
from quintain.cli.verbs.verb import Verb

if TYPE_CHECKING:
    from quintain.results.records import Record


def run(
    out: Annotated[Path | None, typer.Option(help="Run folder; an unfinished run in it goes on. runs/DATE-drill if not given.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="One to two minutes on two cores: weaker models, wider brackets.")] = False,
    seed: Seed = 0,
    require: Require = None,
) -> int:
    from quintain.cli.screen import show_drill, show_step
    from quintain.cli.session import Session, command_line
    from quintain.core.errors import SoundnessError
    from quintain.drill import Settings, drill
    from quintain.drill.settings import ASKED

    session = Session("drill", seed=seed, require=tuple(require or ()))
    asked = tuple(requirement.text for requirement in session.requirements) or ASKED
    folder = out or session.folder
    again = command_line() if out else f"{command_line()} --out {shlex.quote(str(folder))}"
    session.console.print(f"run folder {folder}; if it is cut off, this goes on: {again}", style="dim", markup=False, soft_wrap=True)

    def told(step: str, record: "Record") -> None:
        show_step(session.console, step, record)

    try:
        code, page = drill(folder, Settings(seed, quick, asked), command=command_line(), progress=session.progress, told=told)
    except SoundnessError:
        show_drill(session.console, folder)
        raise
    show_drill(session.console, folder)
    session.console.print(str(page), markup=False, soft_wrap=True)
    return code


VERB = Verb(
    "drill",
    run,
    "The whole defence on the bundled chest X-rays, from attack to federation, with a report. Run again on the same folder, it goes on.",
    ("--out runs/first", "--quick --require 'robust_accuracy(linf:4/255) >= 0.65'"),
    "finished steps are kept; the command that is shown at the start goes on",
)
