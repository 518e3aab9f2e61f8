"""``quintain attack``."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import DEFAULT_THREAT, EVALUATED, EXAMPLES, RUN, MaxQueries, TargetClass, Threats

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.evaluate.step import StepOutput

PICTURES = 6


def run(
    call: "VerbCall",
    threat: Threats = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            help="Names from 'quintain list attack', or from 'quintain list universal_attack' for a change "
            "that is one for all pictures, which is fitted on the train split; repeatable. "
            "Default: chosen by what the model provides (gradients, scores or labels).",
        ),
    ] = None,
    max_queries: MaxQueries = 0,
    target_class: TargetClass = None,
) -> int:
    from quintain.cli.requirement_threats import refuse_unplanned_requirements
    from quintain.cli.threat_options import parse_threats, refuse_unknown_threats
    from quintain.core.registry import entries, get_entry
    from quintain.results.run_layout import UNFINISHED

    call = replace(call, exclude_class=target_class, resume_dir=UNFINISHED)
    # what can be checked without torch is checked before it is imported
    specs = threat or [DEFAULT_THREAT]
    refuse_unknown_threats(specs)
    universal = [name for name in attack or () if name in entries("universal_attack")]
    if universal:
        return _run_universal(call, attack or [], universal, threat or [], max_queries=max_queries)
    named = {name: get_entry("attack", name) for name in attack or ()}
    refuse_unplanned_requirements(call.requirements, specs)

    from quintain.core.errors import ExitCode
    from quintain.core.progress import no_progress
    from quintain.evaluate.evasion.defaults import attacks_on
    from quintain.evaluate.steps.attack import run_attack
    from quintain.evaluate.workers import init_workers
    from quintain.results.robustness_records import AttackResult

    workers = init_workers()
    threats = parse_threats(specs)
    folder = Path(workers.broadcast(str(call.folder) if workers.rank == 0 else ""))
    outputs: list[StepOutput] = []

    def work() -> "StepOutput":
        subject = call.model_under_test
        output = run_attack(
            subject,
            call.examples,
            threats,
            attacks_on(subject.model, threats[0], named),
            seed=call.seed,
            folder=folder,
            num_pictures=PICTURES,
            max_queries=max_queries or None,
            target_class=target_class,
            sampled=call.sampled,
            data_options=call.data_options,
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
    call.raise_if_stopped(result.models[0].stop_reason if isinstance(result, AttackResult) else "")
    return code


def _run_universal(
    call: "VerbCall", named: list[str], universal: list[str], specs: list[str], *, max_queries: int
) -> int:
    """Attack with changes that are one for all pictures: fitted on the train split, scored on the others.

    Args:
        call: The call of the command.
        named: All attacks that were named.
        universal: Those of them that fit one change for all pictures.
        specs: The threats that were named.
        max_queries: The limit that was given; 0 for none.

    Raises:
        SettingError: If other attacks were named too, or an option does not fit.
    """
    from quintain.cli.threat_options import parse_threats, refuse_unsupported_threats
    from quintain.core.errors import SettingError
    from quintain.core.processes import world_size
    from quintain.core.registry import get_entry

    others = [name for name in named if name not in universal]
    if others:
        raise SettingError(
            f"--attack {universal[0]} fits one change for all pictures, and --attack {others[0]} changes "
            "each by itself; run the command once for each"
        )
    if max_queries:
        raise SettingError(
            f"--max-queries {max_queries}: --attack {universal[0]} is fitted on batches of pictures, for "
            "which there is no limit per example; leave it out"
        )
    if world_size() > 1:
        raise SettingError(f"--attack {universal[0]} runs in one process; run the command without torchrun")
    attacks = {name: get_entry("universal_attack", name) for name in universal}
    refuse_unsupported_threats(list(attacks.values()), specs)
    _ = call.requirements

    from quintain.evaluate.steps.universal import run_universal

    threats = parse_threats(specs or [DEFAULT_THREAT])

    def work() -> "StepOutput":
        return run_universal(
            call.model_under_test,
            call.train,
            call.examples,
            attacks,
            threats,
            sampled=call.sampled,
            target_class=call.exclude_class,
            seed=call.seed,
            folder=call.folder,
            num_pictures=PICTURES,
            unfinished=call.unfinished,
            progress=call.progress,
        )

    _ = call.examples, call.train, call.model_under_test
    return call.run_resumable(work)


VERB = Command(
    "attack",
    run,
    "Attack a model: its accuracy under attack, and the smallest change found to break each example.",
    (
        "--model net.py:make --weights w.safetensors --data mine.npz --threat linf:4/255",
        "--weights xray.safetensors --threat l2:0.5 --require 'robust_accuracy(l2:0.5) >= 0.6'",
    ),
    shares_work=True,
    before=EVALUATED,
    after=(*EXAMPLES, *RUN),
)
