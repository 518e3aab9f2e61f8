"""``quintain audit``."""

from typing import Annotated

import typer

from quintain.cli.options import Data, Model, Out, Require, Seed
from quintain.cli.verbs.privatize import Batch, Clip, Delta, Epsilon, Steps
from quintain.cli.verbs.verb import Verb


def run(
    model: Model = "xray-cnn",
    data: Data = "xrays",
    epsilon: Epsilon = 3.0,
    delta: Delta = 1e-5,
    batch: Batch = 512,
    steps: Steps = 276,
    clip: Clip = 1.0,
    canaries: Annotated[int, typer.Option(help="Planted examples, each in or out by a coin.", min=20)] = 500,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session
    from quintain.evaluate.privacy_target import PrivacyTarget, class_warnings
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.audit import run_audit

    session = Session("audit", data, model, None, seed, out, tuple(require or ()))
    budget = PrivacyTarget(epsilon, delta, batch, steps, clip)

    def work() -> StepOutput:
        return run_audit(session.net(), session.train, budget, canaries=canaries, seed=seed, progress=session.progress)

    session.warn(class_warnings(session.train))
    return session.finish(work)


VERB = Verb(
    "audit",
    run,
    "Attack private training from below: what epsilon do planted examples show, and are noise and sampling as promised?",
    ("--data xrays --epsilon 3", "--model net.py:make --data mine.npz --epsilon 2 --canaries 1000"),
)
