"""``quintain attack``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.options import Data, Limit, MaxQueries, Model, Out, Require, Seed, Split, Target, Threats, Weights
from quintain.cli.verbs.verb import Verb

if TYPE_CHECKING:
    from quintain.evaluate.step import StepOutput

PICTURES = 6


def run(
    model: Model = "xray-cnn",
    weights: Weights = None,
    data: Data = "xrays",
    threat: Threats = None,
    attack: Annotated[
        list[str] | None,
        typer.Option("--attack", help="Names from 'quintain list attack'; repeatable. By what the model gives, if not given."),
    ] = None,
    max_queries: MaxQueries = 0,
    target: Target = None,
    split: Split = "test",
    limit: Limit = 0,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.attacks.base import access_of
    from quintain.cli.session import Session, command_line, threats
    from quintain.core.errors import ExecutionError, ExitCode
    from quintain.core.progress import no_progress
    from quintain.core.registry import get_entry
    from quintain.core.threat_specs import threat_name
    from quintain.evaluate.evasion.checkpoint import delete_chunks
    from quintain.evaluate.evasion.defaults import default_attacks
    from quintain.evaluate.steps.attack import run_attack
    from quintain.evaluate.workers import init_workers
    from quintain.results.robustness_records import AttackResult
    from quintain.results.run_layout import UNFINISHED

    workers = init_workers()
    session = Session("attack", data, model, weights, seed, out, tuple(require or ()), split, limit, target, UNFINISHED)
    sizes = threats(threat or ["linf:4/255"])
    named = {name: get_entry("attack", name) for name in attack or ()}
    folder = Path(workers.broadcast(str(session.folder) if workers.rank == 0 else ""))

    done: list[StepOutput] = []

    def work() -> "StepOutput":
        subject = session.subject
        names = default_attacks(access_of(subject.model.access), threat_name(sizes[0].spec))
        entries = named or {name: get_entry("attack", name) for name in names}
        output = run_attack(
            subject,
            session.examples,
            sizes,
            {name: entry.load()() for name, entry in entries.items()},
            seed=seed,
            folder=folder,
            num_pictures=PICTURES,
            max_queries=max_queries or None,
            target_class=target,
            num_excluded=len(session.drawn) - len(session.examples),
            workers=workers,
            progress=session.progress if workers.rank == 0 else no_progress,
        )
        done.append(output)
        return output

    if workers.rank:
        work()
        return ExitCode.OK
    again = command_line() if out else f"{command_line()} --out {shlex.quote(str(folder))}"
    session.console.print(f"run folder {folder}; if it is cut off, this goes on: {again}", style="dim", markup=False, soft_wrap=True)
    code = session.finish(work)
    body = done[0].result
    halted = body.models[0].stop_reason if isinstance(body, AttackResult) else ""
    if halted:
        raise ExecutionError(f"{halted}. What was found so far is in {folder}; once the model answers again, this goes on: {again}")
    delete_chunks(folder / UNFINISHED)
    session.unmark(folder)
    return code


VERB = Verb(
    "attack",
    run,
    "Attack a model: accuracy that is left, and the smallest change found for each example.",
    (
        "--model net.py:make --weights w.safetensors --data mine.npz --threat linf:4/255",
        "--weights xray.safetensors --threat l2:0.5 --require 'robust_accuracy(l2:0.5) >= 0.6'",
    ),
    "what is finished is kept; the command that is shown at the start goes on",
    together=True,
)
