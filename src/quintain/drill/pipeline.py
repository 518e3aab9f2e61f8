"""Run the steps in order: each is skipped if it is finished, and stored before its claims are used."""

import resource
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from quintain.core.errors import (
    DataError,
    ExitCode,
    RunFolderError,
    SettingError,
    UnknownNameError,
)
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.class_samples import sample_each_class, sample_notes
from quintain.drill.context import TEST_SEED, DrillContext
from quintain.drill.planner import Planner, StepPlan
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import FULL, QUICK, Settings, Workload, fit_workload
from quintain.drill.step import CHANGE, IMPOSSIBLE, Obstacle, Step
from quintain.drill.steps import (
    attack,
    audit,
    certify,
    check,
    federate,
    harden,
    identity,
    leak,
    membership,
    privatize,
    train,
)
from quintain.drill.subject import Subject
from quintain.drill.trials import Clock, system_clock
from quintain.evaluate.pacing import work_clock
from quintain.evaluate.step import StepOutput, raise_if_unsound, record_step
from quintain.models.devices import describe_device
from quintain.report import write
from quintain.results.gate import decide, run_verdict
from quintain.results.records import DrillResult, Record, SkippedResult, StepTiming
from quintain.results.robustness_records import TrainResult

CPU = torch.device("cpu")

LATE = 0.05
"""By so much of the whole time a step may be behind its estimate: those of short steps are rough."""

STEPS: dict[str, Step] = {
    one.name: one
    for one in (
        check.STEP,
        train.STEP,
        attack.STEP,
        harden.STEP,
        certify.STEP,
        privatize.STEP,
        audit.STEP,
        leak.STEP,
        federate.STEP,
        membership.STEP,
        identity.STEP,
    )
}


def drill(
    out: Path,
    settings: Settings,
    *,
    device: torch.device = CPU,
    command: str = "quintain drill",
    progress: Progress = no_progress,
    on_forecast: Callable[[float, float], None] = lambda _seconds, _left: None,
    on_plan: Callable[[str, StepPlan], None] = lambda _step, _plan: None,
    on_wait: Callable[[str, Obstacle], None] = lambda _step, _why: None,
    on_step: Callable[[str, Record], None] = lambda _step, _record: None,
    subject: Subject | None = None,
    processes: int = 1,
    clock: Clock = system_clock,
) -> tuple[ExitCode, Path]:
    """Run every step on the user's model and data, or on the bundled X-rays, within the time.

    Args:
        out: Run folder; finished steps in it are not done again.
        settings: Model, data, seed, form, requirements and time.
        device: Where the nets are.
        command: How it was started, for the record.
        progress: Shows bars.
        on_forecast: Called before the first unfinished step with the seconds that all steps are estimated to
            take, and with those that there are.
        on_plan: Called with each step's name and its size before it is done.
        on_wait: Called with the name of a step that there is no time for yet, and why; it is tried again at
            the end.
        on_step: Called with each step's name and record when it is finished, also if it was before, and at
            last with that of the whole drill.
        subject: Model and data of the settings, where they are loaded and checked already.
        processes: How many processes may compute at once, of which the step certify makes use; a script that
            gives more than one does its work under ``if __name__ == "__main__":``.
        clock: Tells the time. Any but the system's stands for the processor time, too.

    Returns:
        The exit code and the path of the report.

    Raises:
        ContradictionError: If two bounds of a claim cross; the report is written first.
        RunFolderError: If the folder holds steps on another model or of other settings.
        UnknownNameError: If ``only`` names a step that there is not.
    """
    steps = select_steps(settings.only)
    if subject is None:
        subject = Subject(settings, device)
        subject.check()
    run = RunFolder(out, settings, (*STEPS, "drill"))
    _refuse_other_model(run, subject)
    full = _full_workload(settings, subject)
    finished = [one.name for one in steps if run.is_finished(one.name)]
    spent = sum(run.record(name).provenance.seconds for name in finished)
    planned = frozenset(one.name for one in steps)
    context = _context(run, settings, full, subject, planned, progress)
    processor_clock = work_clock(subject.model) if clock is system_clock else clock
    planner = Planner(context, steps, clock, spent, processor_clock)
    if len(finished) < len(steps):
        on_forecast(*planner.forecast())
    make_record = partial(record_step, command=command, seed=settings.seed, device=describe_device(device))
    records: dict[str, Record] = {}
    data = (subject.splits.name, "")

    def take(step: Step, *, is_last_chance: bool) -> None:
        """Do a step, or record why it is not done; one that there is no time for yet is left to wait."""
        nonlocal data
        if not run.is_finished(step.name):
            plan = planner.prepare(step)
            if isinstance(plan, Obstacle) and step.name in planner.waiting and not is_last_chance:
                on_wait(step.name, plan)
                return
            context = _context(run, settings, planner.workload, subject, planner.planned, progress, processes)
            data = (subject.splits.name, context.test.hash)
            if isinstance(plan, StepPlan):
                on_plan(step.name, plan)
                context = replace(context, is_late=partial(_is_late, plan.seconds, settings, clock, clock()))
            run.save(step.name, make_record(partial(_output, step, context, plan), data=data))
        records[step.name] = run.record(step.name)
        planner.note(records[step.name])
        data = _same_data(records[step.name], data)
        on_step(step.name, records[step.name])

    for step in steps:
        take(step, is_last_chance=False)
    for step in planner.second_chance():
        take(step, is_last_chance=True)
    records = {step.name: records[step.name] for step in steps}
    run.delete_checkpoints()
    claims = [claim for record in records.values() for claim in record.claims]
    results = [record.result for record in records.values()]
    decided = tuple(decide(requirement, claims, results) for requirement in settings.require)
    result = DrillResult(
        steps=tuple(
            StepTiming(name, record.provenance.seconds, run.file(name).name)
            for name, record in records.items()
        ),
        requirements=decided,
        peak_memory_bytes=peak_memory(),
        quick=settings.quick,
        minutes=settings.seconds / 60,
        trial_seconds=planner.trial_seconds or _earlier_trials(run),
    )
    verdict = run_verdict(
        decided, claims, [record.result for record in records.values()], undecided=settings.undecided
    )
    run.save("drill", replace(make_record(lambda: StepOutput(result), data=data), verdict=verdict))
    page = write(out)
    on_step("drill", run.record("drill"))
    for record in records.values():
        raise_if_unsound(record, len(claims))
    return ExitCode(verdict.exit_code), page


def select_steps(only: Iterable[str]) -> tuple[Step, ...]:
    """Return the named steps and those that they need, in their order; all if none is named.

    Raises:
        UnknownNameError: If there is no step of a name.
    """
    names = set(only)
    for name in names:
        if name not in STEPS:
            raise UnknownNameError("step of the drill", name, STEPS)
    names |= {needed for name in names for needed in STEPS[name].needs}
    return tuple(step for step in STEPS.values() if not names or step.name in names)


def _full_workload(settings: Settings, subject: Subject) -> Workload:
    return fit_workload(
        QUICK if settings.quick else FULL,
        train=subject.train_size,
        test=len(subject.test),
        bundled=settings.is_bundled,
    )


def _is_late(estimated: float, settings: Settings, clock: Clock, started: float) -> bool:
    """Return whether a step took longer by now than estimated, by a twentieth of the drill's whole time.

    One without an estimate is never late.
    """
    return 0 < estimated < clock() - started - LATE * settings.seconds


def _context(
    run: RunFolder,
    settings: Settings,
    workload: Workload,
    subject: Subject,
    planned: frozenset[str],
    progress: Progress,
    processes: int = 1,
) -> DrillContext:
    """Return the context of a step: examples are drawn as the workload says, always the same ones.

    Each class has some among them, where it has any.
    """
    train = subject.splits.train
    return DrillContext(
        run=run,
        settings=settings,
        workload=workload,
        subject=subject,
        examples=(
            train and sample_each_class(train, workload.train_examples, seed=derive_seed(0, "short train")),
            sample_each_class(subject.test, workload.test_examples, seed=TEST_SEED),
        ),
        planned=planned,
        progress=progress,
        processes=processes,
    )


def _output(step: Step, context: DrillContext, plan: StepPlan | Obstacle) -> StepOutput:
    """Do a step, or say why it is not done."""
    if isinstance(plan, Obstacle):
        return StepOutput(SkippedResult(step.name, plan.reason, plan.remedy), step.claims_without(context))
    try:
        output = step.run(context)
    except IMPOSSIBLE as error:
        if context.settings.is_bundled:
            raise
        full, used = context.subject.train_size, context.workload.train_examples
        if used < full and isinstance(error, DataError | SettingError):
            reason = f"{error} ({used:,} of {full:,} training examples were used, to keep to the time)"
            skipped = SkippedResult(step.name, reason, f"give more --minutes, or {CHANGE}")
        else:
            skipped = SkippedResult(step.name, str(error), CHANGE)
        return StepOutput(skipped, step.claims_without(context))
    notes = sample_notes(context.subject.test, context.test, seed=TEST_SEED) if output.claims else ()
    return replace(output, cuts=plan.cuts, notes=(*output.notes, *notes))


def _earlier_trials(run: RunFolder) -> float:
    """Return the seconds of the trials of a drill that was finished before: a repetition makes none."""
    found = run.record("drill").result if run.is_finished("drill") else None
    return found.trial_seconds if isinstance(found, DrillResult) else 0.0


def _refuse_other_model(run: RunFolder, subject: Subject) -> None:
    """Raise if finished steps are about another model than the one that is given now.

    Raises:
        RunFolderError: If so.
    """
    found = run.record("train").result if run.is_finished("train") else None
    if not isinstance(found, TrainResult):
        return
    file = found.training.model
    if not file.path and file.model_hash != subject.model.hash:
        raise RunFolderError(
            f"{run.path} holds steps on another model than {subject.settings.model} gives now; give the same "
            "model and weights, or another --out"
        )


def _same_data(record: Record, data: tuple[str, str]) -> tuple[str, str]:
    """Return the data of a record, which must be those of the steps before.

    Raises:
        RunFolderError: If they are others.
    """
    found = (record.provenance.data.name, record.provenance.data.hash)
    if data[1] and found != data:
        raise RunFolderError(
            "the data are others than when the run was begun; give the same --data, or another --out"
        )
    return found


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
