"""``quintain attack``."""

from typing import Annotated

import typer

from quintain.cli.options import Data, Limit, Model, Out, Require, Seed, Split, Threats, Weights
from quintain.cli.verbs.verb import Verb

PICTURES = 6


def run(
    model: Model = "xray-cnn",
    weights: Weights = None,
    data: Data = "xrays",
    threat: Threats = None,
    attack: Annotated[
        list[str] | None, typer.Option("--attack", help="Names from 'quintain list attack'; repeatable, all if not given.")
    ] = None,
    split: Split = "test",
    limit: Limit = 0,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session, balls
    from quintain.core.registry import entries, find
    from quintain.evaluate.alone import attacked_outcome
    from quintain.evaluate.outcome import Outcome

    session = Session("attack", data, model, weights, seed, out, tuple(require or ()), split, limit)
    sizes = balls(threat or ["linf:4/255"])
    methods = {name: find("attack", name).load()() for name in attack or entries("attack")}

    def work() -> Outcome:
        return attacked_outcome(
            session.subject,
            session.examples,
            sizes,
            methods,
            seed=seed,
            folder=session.folder,
            pictures=PICTURES,
            progress=session.progress,
        )

    return session.finish(work)


VERB = Verb(
    "attack",
    run,
    "Attack a model: accuracy that is left, and the smallest change found for each example.",
    (
        "--model net.py:make --weights w.safetensors --data mine.npz --threat linf:4/255",
        "--weights xray.safetensors --threat l2:0.5 --require 'robust_accuracy(l2:0.5) >= 0.6'",
    ),
)
