"""``quintain harden``."""

from typing import Annotated

import typer

from quintain.cli.options import Data, Model, Out, Require, Seed
from quintain.cli.verbs.verb import Verb


def run(
    model: Model = "xray-cnn",
    data: Data = "xrays",
    defense: Annotated[str, typer.Option("--defense", "--defence", help="A name from 'quintain list defense'.")] = "ibp",
    threat: Annotated[str, typer.Option(help="What to train against, and to attack and prove afterwards.")] = "linf:4/255",
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, for 'gaussian'.")] = 0.25,
    epochs: Annotated[int, typer.Option(help="Passes over the data; the defense's own number if not given.", min=0)] = 0,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.attacks import PGD
    from quintain.cli.session import Session, balls
    from quintain.core.registry import get_entry
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.harden import run_harden
    from quintain.harden.catalogue import OLD_NAMES

    session = Session("harden", data, model, None, seed, out, tuple(require or ()))
    (ball,) = balls([threat])
    name = OLD_NAMES.get(defense, defense)
    get_entry("defense", name)

    def work() -> StepOutput:
        return run_harden(
            session.net(),
            session.train,
            session.examples,
            name,
            threat=ball,
            sigma=sigma,
            attacks={"pgd": PGD()},
            epochs=epochs,
            seed=seed,
            folder=session.folder,
            progress=session.progress,
        )

    return session.finish(work)


VERB = Verb(
    "harden",
    run,
    "Train a model that resists, attack it, prove what can be proved, and store its weights.",
    (
        "--data xrays --defense ibp --threat linf:4/255",
        "--model net.py:make --data mine.npz --defense pgd-at --epochs 10",
    ),
)
