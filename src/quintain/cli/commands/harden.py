"""``quintain harden``."""

from typing import Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import Data, Model, Out, Require, Seed


def run(
    model: Model = "xray-cnn",
    data: Data = "xrays",
    defense: Annotated[
        str, typer.Option("--defense", "--defence", help="A name from 'quintain list defense'.")
    ] = "ibp",
    threat: Annotated[
        str | None,
        typer.Option(
            help="Threat to train against, and to attack and certify afterwards; "
            "linf:4/255 if not given, for 'gaussian' an l2 size of twice sigma."
        ),
    ] = None,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, for 'gaussian'.")] = 0.25,
    epochs: Annotated[int, typer.Option(help="Epochs; the defense's own number if not given.", min=0)] = 0,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.attacks import PGD
    from quintain.cli.call import VerbCall
    from quintain.cli.threat_options import parse_certifiable_threats
    from quintain.core.registry import get_entry
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.harden import run_harden
    from quintain.harden.catalogue import OLD_NAMES

    call = VerbCall(verb="harden", data=data, model=model, seed=seed, out=out, require=tuple(require or ()))
    ball = parse_certifiable_threats([threat])[0] if threat else None
    name = OLD_NAMES.get(defense, defense)
    get_entry("defense", name)

    def work() -> StepOutput:
        return run_harden(
            call.net(),
            call.train,
            call.examples,
            name,
            threat=ball,
            sigma=sigma,
            attacks={"pgd": PGD()},
            epochs=epochs,
            seed=seed,
            folder=call.folder,
            progress=call.progress,
        )

    return call.run(work)


VERB = Command(
    "harden",
    run,
    "Train a model with a defense, attack and certify it, and store its weights.",
    (
        "--data xrays --defense ibp --threat linf:4/255",
        "--model net.py:make --data mine.npz --defense pgd-at --epochs 10",
    ),
)
