"""``quintain attack``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import (
    DEFAULT_DATA,
    DEFAULT_MODEL,
    DEFAULT_THREAT,
    Data,
    Limit,
    MaxQueries,
    Model,
    Out,
    Require,
    Seed,
    Split,
    TargetClass,
    Threats,
    Weights,
)

if TYPE_CHECKING:
    from quintain.evaluate.step import StepOutput

PICTURES = 6


def run(
    model: Model = DEFAULT_MODEL,
    weights: Weights = None,
    data: Data = DEFAULT_DATA,
    threat: Threats = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            help="Names from 'quintain list attack'; repeatable. "
            "Default: chosen by what the model provides (gradients, scores or labels).",
        ),
    ] = None,
    max_queries: MaxQueries = 0,
    target_class: TargetClass = None,
    split: Split = "test",
    limit: Limit = 0,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.cli.call import VerbCall
    from quintain.cli.threat_options import parse_threats, refuse_unknown_threats
    from quintain.core.registry import get_entry
    from quintain.results.run_layout import UNFINISHED

    call = VerbCall(
        verb="attack",
        data=data,
        model=model,
        weights=weights,
        seed=seed,
        out=out,
        require=tuple(require or ()),
        split=split,
        limit=limit,
        exclude_class=target_class,
        resume_dir=UNFINISHED,
    )
    # what can be checked without torch is checked before it is imported
    specs = threat or [DEFAULT_THREAT]
    refuse_unknown_threats(specs)
    named = {name: get_entry("attack", name) for name in attack or ()}
    _ = call.requirements

    from quintain.attacks.base import access_of
    from quintain.cli.run_folder import resume_command
    from quintain.core.errors import ExecutionError, ExitCode
    from quintain.core.progress import no_progress
    from quintain.core.threat_specs import threat_name
    from quintain.evaluate.evasion.checkpoint import delete_chunks
    from quintain.evaluate.evasion.defaults import default_attacks
    from quintain.evaluate.steps.attack import run_attack
    from quintain.evaluate.workers import init_workers
    from quintain.results.robustness_records import AttackResult

    workers = init_workers()
    threats = parse_threats(specs)
    folder = Path(workers.broadcast(str(call.folder) if workers.rank == 0 else ""))
    outputs: list[StepOutput] = []

    def work() -> "StepOutput":
        subject = call.model_under_test
        entries = named or {
            name: get_entry("attack", name)
            for name in default_attacks(access_of(subject.model.access), threat_name(threats[0].spec))
        }
        output = run_attack(
            subject,
            call.examples,
            threats,
            {name: entry.load()() for name, entry in entries.items()},
            seed=seed,
            folder=folder,
            num_pictures=PICTURES,
            max_queries=max_queries or None,
            target_class=target_class,
            num_excluded=len(call.sampled) - len(call.examples),
            workers=workers,
            progress=call.progress if workers.rank == 0 else no_progress,
        )
        outputs.append(output)
        return output

    if workers.rank:
        work()
        return ExitCode.OK
    _ = call.examples, call.model_under_test
    call.announce()
    code = call.run(work)
    result = outputs[0].result
    stop_reason = result.models[0].stop_reason if isinstance(result, AttackResult) else ""
    if stop_reason:
        raise ExecutionError(
            f"{stop_reason}. What was found so far is in {folder}; once the model works again, to resume: "
            f"{resume_command(out, folder)}"
        )
    delete_chunks(folder / UNFINISHED)
    call.unmark()
    return code


VERB = Command(
    "attack",
    run,
    "Attack a model: its accuracy under attack, and the smallest change found to break each example.",
    (
        "--model net.py:make --weights w.safetensors --data mine.npz --threat linf:4/255",
        "--weights xray.safetensors --threat l2:0.5 --require 'robust_accuracy(l2:0.5) >= 0.6'",
    ),
    shares_work=True,
)
