"""``quintain drill``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import CLASSES, DATA, DEFAULT_THREAT, DEVICE, MODEL, REQUIRE, SEED, UNDECIDED

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.drill.planner import StepPlan
    from quintain.drill.step import Obstacle
    from quintain.drill.subject import Subject
    from quintain.results.records import Record


def run(
    call: "VerbCall",
    weights: Annotated[
        Path | None,
        typer.Option(help="safetensors, or a PyTorch state dict; trained first if not given."),
    ] = None,
    threat: Annotated[
        str,
        typer.Option(help="What may be changed; also attacked and certified at half and twice the size."),
    ] = DEFAULT_THREAT,
    epsilon: Annotated[float, typer.Option(help="Target epsilon of private training.")] = 3.0,
    clients: Annotated[int, typer.Option(help="Sites of federated training.", min=2)] = 5,
    only: Annotated[
        str,
        typer.Option(
            help="Steps to do, with those that they need, such as attack,certify. All: check, train, attack, "
            "harden, certify, privatize, audit, leak, federate, membership, identity.",
            show_default=False,
        ),
    ] = "",
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Time to keep to: work that does not fit is cut and said to be. 5 for the bundled X-rays, "
            "else 20, if not given.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; an unfinished run in it is resumed. runs/DATE-drill if not given."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="One to two minutes on two cores: weaker models, wider brackets.")
    ] = False,
) -> int:
    from quintain.cli.requirement_threats import refuse_unplanned_requirements
    from quintain.cli.run_folder import lock_folder, resume_command
    from quintain.cli.threat_options import refuse_unknown_threats
    from quintain.core.errors import RunFolderError, SettingError
    from quintain.drill import Settings
    from quintain.drill.pipeline import select_steps
    from quintain.drill.run_folder import RunFolder
    from quintain.drill.settings import DEFAULT_REQUIREMENTS
    from quintain.drill.subject import Subject
    from quintain.drill.threat_sizes import measured_specs

    # what can be refused without the model and the data
    if minutes is not None and not 0 < minutes < float("inf"):
        raise SettingError(f"got --minutes {minutes:g}; expected a positive number, such as 20")
    if not 0 < epsilon < float("inf"):
        raise SettingError(f"got --epsilon {epsilon:g}; expected a positive number, such as 3")
    refuse_unknown_threats([threat])
    steps = tuple(name.strip() for name in only.split(",") if name.strip())
    select_steps(steps)
    call = replace(call, needs_float64=True)
    settings = Settings(
        seed=call.seed,
        quick=quick,
        undecided=call.undecided_rule,
        model=call.model,
        data=call.data,
        weights=weights,
        threat=threat,
        epsilon=epsilon,
        clients=clients,
        only=steps,
        classes=call.classes,
        minutes=minutes or 0.0,
    )
    # requirements must be about sizes that the drill measures; the bundled drill has some of its own
    refuse_unplanned_requirements(call.requirements, measured_specs(settings))
    defaults = DEFAULT_REQUIREMENTS if settings.has_default_claims else ()
    settings = replace(settings, require=call.requirements or defaults)
    # the folder, the data and the model are looked at before anything is announced
    folder = out or call.folder
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(
            f"--out {folder} is a file; give a folder that is new or that of an earlier drill"
        )
    _ = call.splits  # refuses labels beyond --classes
    subject = Subject(settings, call.torch_device)
    subject.check()
    RunFolder(folder, settings, ())  # refuses a folder of other settings before anything is printed
    with lock_folder(folder):
        resume = resume_command(out, folder)
        call.print_dim(f"writing to {folder}. To resume after an interruption: {resume}")
        call.announce_requirements()
        call.print_device()
        return _run(call, folder, subject, resume)


def _run(call: "VerbCall", folder: Path, subject: "Subject", resume: str) -> int:
    """Run the drill, show each step as it ends, and the whole at last.

    Args:
        call: The call of the command.
        folder: The run folder.
        subject: Model and data of the drill, with its settings.
        resume: The command that resumes it.
    """
    from quintain.cli.run_folder import command_line
    from quintain.cli.screen import show_cuts, show_drill, show_step
    from quintain.core.errors import SoundnessError
    from quintain.drill import drill
    from quintain.results.gate import NOTHING_DONE
    from quintain.results.records import DrillResult

    records: list[Record] = []

    def on_forecast(seconds: float, left: float) -> None:
        call.print_dim(f"estimated to take {seconds:.0f} s of the {left:.0f} s that are left")

    def on_plan(step: str, plan: "StepPlan") -> None:
        show_cuts(call.console, step, plan.seconds, plan.cuts)

    def on_wait(step: str, why: "Obstacle") -> None:
        call.print_dim(f"{step} waits for time that others leave: {why.reason}")

    def on_step(step: str, record: "Record") -> None:
        records.append(record)
        if not isinstance(record.result, DrillResult):
            show_step(call.console, step, record)

    try:
        code, page = drill(
            folder,
            subject.settings,
            subject=subject,
            device=call.torch_device,
            command=command_line(),
            processes=call.processes,
            progress=call.progress,
            on_forecast=on_forecast,
            on_plan=on_plan,
            on_wait=on_wait,
            on_step=on_step,
        )
    except KeyboardInterrupt as stop:
        kept = f"finished steps and {stop}" if str(stop) else "finished steps"
        raise KeyboardInterrupt(f"{kept} are kept in {folder}; to resume: {resume}") from None
    except SoundnessError:
        show_drill(call.console, records)
        raise
    show_drill(call.console, records)
    verdict = records[-1].verdict
    if verdict is not None:
        call.warn_of_undecided(verdict)
        if verdict.exit_code and verdict.reason != NOTHING_DONE:
            call.console.print(f"{verdict.outcome}: {verdict.reason}", markup=False, soft_wrap=True)
    call.console.print(str(page), markup=False, soft_wrap=True)
    return code


VERB = Command(
    "drill",
    run,
    "Run every part of Quintain on your model and data, or on the bundled chest X-rays, within the minutes "
    "given, and write a report. Run again on the same folder, it resumes.",
    (
        "--out runs/first",
        "--model net.py:make --weights w.safetensors --data mine.npz --threat linf:8/255 --minutes 20",
    ),
    before=(MODEL, DATA, CLASSES),
    after=(DEVICE, SEED, REQUIRE, UNDECIDED),
)
