"""``quintain leak``."""

from typing import Annotated

import typer

from quintain.cli.options import Data, Model, Out, Seed, Weights
from quintain.cli.verbs.verb import Verb


def run(
    model: Model = "xray-cnn",
    weights: Weights = None,
    data: Data = "xrays",
    steps: Annotated[int, typer.Option(help="Steps of each reconstruction.", min=1)] = 800,
    show_private: Annotated[
        bool, typer.Option(help="Store the originals and what is rebuilt of them, and show them in the report; bundled data always are.")
    ] = False,
    seed: Seed = 0,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session
    from quintain.data.bundled_xrays import NAME
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.leak import run_leak

    session = Session("leak", data, model, weights, seed, out, split="train")

    def work() -> StepOutput:
        return run_leak(
            session.net(),
            session.examples,
            steps=steps,
            seed=seed,
            folder=session.folder,
            show=show_private or data == NAME,
            progress=session.progress,
        )

    return session.finish(work)


VERB = Verb(
    "leak",
    run,
    "Rebuild an image from the update that it caused: from a plain one, from a secure sum, from a private one.",
    ("--data xrays", "--model net.py:make --weights w.safetensors --data mine.npz --steps 1000"),
)
