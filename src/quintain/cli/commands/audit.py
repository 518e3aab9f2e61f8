"""``quintain audit``."""

from dataclasses import replace
from enum import StrEnum
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.commands.privatize import BatchSize, Delta, MaxGradNorm, Steps
from quintain.cli.options import RUN, TRAINED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quintain.cli.call import VerbCall


DEFAULT_EPSILON = 3.0


READ_BY = {
    "": ("batch_size", "steps", "max_grad_norm", "canaries", "auditor"),
    "--train": ("canaries", "auditor", "kind", "control", "adjacency", "check_seed"),
    "--mechanism": ("adjacency", "inputs", "runs"),
    "--scores": ("auditor",),
}
"""Which options each kind of audit reads that not all read; the first is that of our own training."""


class Adjacency(StrEnum):
    """What neighboring data sets differ by."""

    ADD_REMOVE = "add/remove"
    REPLACE = "replace"


def run(
    call: "VerbCall",
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="Target epsilon, which the noise is calibrated for; 3 if not given.", show_default=False
        ),
    ] = None,
    delta: Delta = 1e-5,
    batch_size: BatchSize = None,
    steps: Steps = 276,
    max_grad_norm: MaxGradNorm = 1.0,
    canaries: Annotated[
        int, typer.Option(help="Number of canaries, each included or not by a fair coin.", min=20)
    ] = 500,
    auditor: Annotated[
        str,
        typer.Option(
            help="A name from 'quintain list audit' that fits one run; one-run if not given. One that rests "
            "on an assumption stands beside one-run, and bounds no claim.",
            show_default=False,
        ),
    ] = "",
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            help="Audit a training that was done elsewhere instead, by an .npz file of the arrays scores and "
            "included of its canaries; again for each repetition.",
            show_default=False,
        ),
    ] = None,
    claim: Annotated[
        float | None,
        typer.Option(
            help="The epsilon that is claimed for --train, --mechanism or --scores.", show_default=False
        ),
    ] = None,
    train: Annotated[
        str,
        typer.Option(
            help="Audit a training of your own as a black box: path/to/file.py:train, called as "
            "train(dataset, seed) or train(x, y, seed), which returns a model. Give only files that you "
            "trust.",
            show_default=False,
        ),
    ] = "",
    kind: Annotated[
        str, typer.Option(help="Canaries of --train: mislabeled, pattern, blank, or an .npz file of yours.")
    ] = "mislabeled",
    control: Annotated[
        str,
        typer.Option(
            help="A training without noise, called as --train is, which is audited beside it.",
            show_default=False,
        ),
    ] = "",
    adjacency: Annotated[
        Adjacency | None,
        typer.Option(
            help="Of the claim of --train or --mechanism: whether neighboring data sets differ by a record "
            "more, or by another record; add/remove if not given, or what the inputs of a mechanism show.",
            show_default=False,
        ),
    ] = None,
    check_seed: Annotated[
        bool,
        typer.Option(
            "--check-seed",
            help="Do the first training of --train twice, to tell whether it follows its seed.",
        ),
    ] = False,
    mechanism: Annotated[
        str,
        typer.Option(
            help="Audit a mechanism by many runs on two neighboring inputs: path/to/file.py:function, called "
            "as fn(records, rng), which returns what it releases. The file's neighbors() gives the inputs.",
            show_default=False,
        ),
    ] = "",
    inputs: Annotated[
        Path | None,
        typer.Option(
            help="The inputs of --mechanism instead: an .npz file of the arrays records and neighbor.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        int, typer.Option(help="Runs of --mechanism on each input; half of them learn a score.", min=8)
    ] = 1000,
) -> int:
    from quintain.core.errors import SettingError
    from quintain.core.registry import choose

    entry = choose("audit", auditor, scores_of="canaries")
    ways = {"--train": train, "--mechanism": mechanism, "--scores": scores}
    elsewhere = " and ".join(name for name, value in ways.items() if value)
    if " and " in elsewhere:
        raise SettingError(f"got {elsewhere}; expected one of them: each is an audit of its own")
    _refuse_unread_options(
        elsewhere,
        {
            "batch_size": batch_size,
            "steps": steps,
            "max_grad_norm": max_grad_norm,
            "canaries": canaries,
            "auditor": auditor,
            "kind": kind,
            "control": control,
            "adjacency": adjacency,
            "check_seed": check_seed,
            "inputs": inputs,
            "runs": runs,
        },
    )
    if elsewhere and epsilon is not None:
        raise SettingError(
            f"got --epsilon {epsilon:g} with {elsewhere}, whose noise is not calibrated here; expected "
            f"--claim {epsilon:g}, the epsilon that is claimed for it"
        )
    if train:
        from quintain.cli.second_opinion import TrainingAudit

        return TrainingAudit(
            train=train,
            control=control,
            claim=claim,
            delta=delta,
            kind=kind,
            canaries=canaries,
            adjacency=(adjacency or Adjacency.ADD_REMOVE).value,
            check_seed=check_seed,
        ).run(call, entry)
    if mechanism:
        from quintain.cli.second_opinion import MechanismAudit

        return MechanismAudit(
            mechanism=mechanism,
            inputs=inputs,
            claim=claim,
            delta=delta,
            adjacency=adjacency.value if adjacency else "",
            runs=runs,
        ).run(call)
    if scores or claim is not None:
        from quintain.cli.score_audits import audit_scores

        return audit_scores(call, scores or (), claim, delta, entry.load())

    from quintain.evaluate.privacy_target import PrivacyTarget, class_warnings, default_batch_size
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.audit import run_audit
    from quintain.results.run_layout import UNFINISHED

    call = replace(call, needs_float64=True, resume_dir=UNFINISHED)
    target = PrivacyTarget(
        epsilon=DEFAULT_EPSILON if epsilon is None else epsilon,
        delta=delta,
        batch_size=default_batch_size(len(call.train)) if batch_size is None else batch_size,
        steps=steps,
        max_grad_norm=max_grad_norm,
    )

    _, _, net = call.requirements, call.examples, call.net()

    def work() -> StepOutput:
        output = run_audit(
            net,
            call.train,
            target,
            auditor=entry.load(),
            canaries=canaries,
            seed=call.seed,
            unfinished=call.unfinished,
            progress=call.progress,
        )
        return output.with_notes(call.first_weights_notes)

    call.warn(() if call.classes else class_warnings(call.train))
    return call.run_resumable(work)


def _refuse_unread_options(way: str, given: "Mapping[str, object]") -> None:
    """Refuse options that an audit of this kind does not read.

    Args:
        way: ``--train``, ``--mechanism`` or ``--scores``; empty for an audit of our own training.
        given: The options that not all kinds read, by name.

    Raises:
        SettingError: If one of them is not as it is where nobody gives it.
    """
    from quintain.core.errors import SettingError

    for name, value in given.items():
        if name in READ_BY[way] or value == signature(run).parameters[name].default:
            continue
        option, readers = f"--{name.replace('_', '-')}", [one for one in READ_BY if name in READ_BY[one]]
        named = " or ".join(one for one in readers if one)
        if way and "" in readers:
            why = f"with {way}, which does not read it; leave it out"
        else:
            why = f"without {named}, whose option it is; leave it out, or give {named}"
        raise SettingError(f"got {option} {why}")


VERB = Command(
    "audit",
    run,
    "Audit private training, ours or anybody's: a lower bound on epsilon from inserted canaries, and tests "
    "of noise and sampling.",
    (
        "--data xrays --epsilon 3",
        "--train mine.py:train --data mine.npz --canaries 500 --claim 3",
    ),
    before=TRAINED,
    after=RUN,
)
