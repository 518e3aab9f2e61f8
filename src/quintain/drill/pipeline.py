"""Run the steps in order: each is skipped if it is finished, and stored before its claims are used."""

import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from quintain.core.errors import ExitCode
from quintain.core.progress import Progress, no_progress
from quintain.drill.context import DrillContext
from quintain.drill.run_folder import RunFolder
from quintain.drill.settings import FULL, QUICK, Settings
from quintain.drill.steps import attack, audit, certify, check, federate, harden, leak, privatize, train
from quintain.evaluate.step import StepOutput, raise_if_unsound, record_step
from quintain.models.devices import describe_device
from quintain.report import write
from quintain.results.gate import decide, run_verdict
from quintain.results.records import DrillResult, Record, StepTiming

CPU = torch.device("cpu")

STEPS: dict[str, Callable[[DrillContext], StepOutput]] = {
    "check": check.run,
    "train": train.run,
    "attack": attack.run,
    "harden": harden.run,
    "certify": certify.run,
    "privatize": privatize.run,
    "audit": audit.run,
    "leak": leak.run,
    "federate": federate.run,
}


def drill(
    out: Path,
    settings: Settings,
    *,
    device: torch.device = CPU,
    command: str = "quintain drill",
    progress: Progress = no_progress,
    on_step: Callable[[str, Record], None] = lambda _step, _record: None,
) -> tuple[ExitCode, Path]:
    """Run every part on the bundled X-rays.

    Args:
        out: Run folder; finished steps in it are not done again.
        settings: Seed, form and requirements.
        device: Where the nets are.
        command: How it was started, for the record.
        progress: Shows bars.
        on_step: Called with each step's name and record when it is finished, also if it was before, and at
            last with that of the whole drill.

    Returns:
        The exit code and the path of the report.

    Raises:
        ContradictionError: If two bounds of a claim cross; the report is written first.
    """
    run = RunFolder(out, settings, (*STEPS, "drill"))
    context = DrillContext(run, settings, QUICK if settings.quick else FULL, progress, device)
    recorded = partial(
        record_step,
        command=command,
        seed=settings.seed,
        data=(context.splits.name, context.test.hash),
        device=describe_device(device),
    )
    records: dict[str, Record] = {}
    for name, step in STEPS.items():
        if not run.is_finished(name):
            run.save(name, recorded(partial(step, context)))
        records[name] = run.record(name)
        on_step(name, records[name])
    run.delete_checkpoints()
    claims = [claim for record in records.values() for claim in record.claims]
    decided = tuple(decide(requirement, claims) for requirement in settings.require)
    result = DrillResult(
        steps=tuple(
            StepTiming(name, record.provenance.seconds, run.file(name).name)
            for name, record in records.items()
        ),
        requirements=decided,
        peak_memory_bytes=peak_memory(),
        quick=settings.quick,
    )
    verdict = run_verdict(
        decided, claims, [record.result for record in records.values()], undecided=settings.undecided
    )
    whole = recorded(lambda: StepOutput(result))
    run.save("drill", replace(whole, verdict=verdict))
    page = write(out)
    on_step("drill", run.record("drill"))
    for record in records.values():
        raise_if_unsound(record, len(claims))
    return ExitCode(verdict.exit_code), page


def peak_memory() -> int:
    """Return the most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
