"""``quintain federate``."""

from typing import Annotated

import typer

from quintain.cli.options import Data, Model, Out, Require, Seed
from quintain.cli.verbs.verb import Verb


def run(
    model: Model = "xray-cnn",
    data: Data = "xrays",
    sites: Annotated[int, typer.Option(help="Hospitals.", min=3)] = 5,
    rounds: Annotated[int, typer.Option(help="Rounds of broadcast, local training and secure sum.", min=1)] = 6,
    epochs: Annotated[int, typer.Option(help="Local epochs a round.", min=1)] = 2,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.federate import run_federate

    session = Session("federate", data, model, None, seed, out, tuple(require or ()))

    def work() -> StepOutput:
        return run_federate(
            session.net(),
            session.train,
            session.examples,
            sites=sites,
            rounds=rounds,
            epochs=epochs,
            seed=seed,
            folder=session.folder,
            progress=session.progress,
        )

    return session.finish(work)


VERB = Verb(
    "federate",
    run,
    "Let sites train together under secure aggregation: the server sees masked vectors and each round's sum; its view is attacked.",
    ("--data xrays --sites 5", "--model net.py:make --data mine.npz --sites 8 --rounds 20"),
)
