"""``quintain privatize``."""

from typing import Annotated

import typer

from quintain.cli.options import Data, Model, Out, Require, Seed
from quintain.cli.verbs.verb import Verb

Epsilon = Annotated[float, typer.Option(help="The privacy budget that the noise is made for.")]
Delta = Annotated[float, typer.Option(help="Chance that the budget does not hold; well below 1 / examples.")]
Batch = Annotated[int, typer.Option(help="Expected examples a step.", min=1)]
Steps = Annotated[int, typer.Option(help="Noisy steps.", min=1)]
Clip = Annotated[float, typer.Option("--max-grad-norm", help="Norm that each example's gradient is cut to.")]


def run(
    model: Model = "xray-cnn",
    data: Data = "xrays",
    epsilon: Epsilon = 3.0,
    delta: Delta = 1e-5,
    batch: Batch = 512,
    steps: Steps = 276,
    clip: Clip = 1.0,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session
    from quintain.evaluate.outcome import Outcome
    from quintain.evaluate.privacy import Budget, privatized_outcome

    session = Session("privatize", data, model, None, seed, out, tuple(require or ()))
    budget = Budget(epsilon, delta, batch, steps, clip)

    def work() -> Outcome:
        return privatized_outcome(session.net(), session.train, session.examples, budget, folder=session.folder, progress=session.progress)

    return session.finish(work)


VERB = Verb(
    "privatize",
    run,
    "Train with DP-SGD to a privacy budget, and say what it costs in accuracy.",
    (
        "--data xrays --epsilon 3",
        "--model net.py:make --data mine.npz --epsilon 8 --delta 1e-6 --steps 500 --require 'epsilon(delta=1e-6) <= 8'",
    ),
)
