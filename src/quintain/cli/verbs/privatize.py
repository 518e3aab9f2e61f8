"""``quintain privatize``."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.options import Data, Model, Out, Require, Seed
from quintain.cli.verbs.verb import Verb

if TYPE_CHECKING:
    from quintain.cli.session import Session
    from quintain.evaluate.privacy_target import PrivacyTarget
    from quintain.evaluate.step import StepOutput

Epsilon = Annotated[float, typer.Option(help="The privacy budget that the noise is made for.")]
Delta = Annotated[float, typer.Option(help="Chance that the budget does not hold; well below 1 / examples.")]
Batch = Annotated[int, typer.Option(help="Expected examples a step.")]
Steps = Annotated[int, typer.Option(help="Noisy steps.")]
Clip = Annotated[float, typer.Option("--max-grad-norm", help="Norm that each example's gradient is cut to.")]


def run(
    model: Model = "xray-cnn",
    data: Data = "xrays",
    epsilon: Epsilon = 3.0,
    delta: Delta = 1e-5,
    batch: Batch = 512,
    steps: Steps = 276,
    clip: Clip = 1.0,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 1.0,
    curve: Annotated[bool, typer.Option("--curve", help="Train at epsilon 0.5, 1, 2, 4 and 8 too, and draw accuracy over them.")] = False,
    batches: Annotated[
        str, typer.Option(help="Other batches to train with at the same budget, such as 256,1024; with --plan its rows.")
    ] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Train nothing: noise, steps left, and what batches and steps cost.")] = False,
    noise_multiplier: Annotated[float | None, typer.Option(help="With --plan: ask about this noise.")] = None,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session
    from quintain.core.errors import SettingError
    from quintain.evaluate.privacy_target import PrivacyTarget
    from quintain.evaluate.steps.plan import run_plan
    from quintain.results.run_layout import UNFINISHED

    budget, sizes = PrivacyTarget(epsilon, delta, batch, steps, clip, rate), _sizes(batches)
    if plan and curve:
        raise SettingError("got --plan, which trains nothing, and --curve, which trains; expected one of them")
    if plan and require:
        raise SettingError(
            "got --plan, which trains nothing, and --require, which judges what was trained; expected one of them: a plan's noise is made "
            "for --epsilon at --delta, and never costs more"
        )
    if noise_multiplier is not None and not plan:
        raise SettingError(f"got --noise-multiplier {noise_multiplier:g} without --plan; expected --epsilon, which noise is made for")
    session = Session("privatize", data, model, None, seed, out, tuple(require or ()), goes_on="" if plan else UNFINISHED)
    if plan:
        return session.finish(lambda: run_plan(budget, len(session.train), noise_multiplier=noise_multiplier, batch_sizes=sizes))
    return _trained(session, budget, sizes, curve=curve)


def _trained(session: "Session", budget: "PrivacyTarget", sizes: tuple[int, ...], *, curve: bool) -> int:
    """Train, or go on where a run was cut off."""
    from quintain.cli.session import command_line
    from quintain.dp.training.resume import delete_unfinished
    from quintain.evaluate.privacy_target import class_warnings
    from quintain.evaluate.steps.privatize import EPSILONS, partial_privatize, run_privatize

    folder = session.folder
    unfinished = folder / session.goes_on

    def work() -> "StepOutput":
        return run_privatize(
            session.net(),
            session.train,
            session.examples,
            budget,
            folder=folder,
            epsilons=EPSILONS if curve else (),
            batch_sizes=sizes,
            held_out=session.splits.val or session.examples,
            unfinished=unfinished,
            progress=session.progress,
        )

    session.warn(class_warnings(session.train))
    again = command_line() if session.out else f"{command_line()} --out {shlex.quote(str(folder))}"
    session.console.print(f"run folder {folder}; if it is cut off, this goes on: {again}", style="dim", markup=False, soft_wrap=True)
    try:
        code = session.finish(work)
    except KeyboardInterrupt:
        session.keep_partial(
            lambda: partial_privatize(
                session.net(), session.train, session.examples, budget, folder=folder, unfinished=unfinished, reason="interrupted"
            )
        )
        raise
    delete_unfinished(unfinished)
    return code


def _sizes(text: str) -> tuple[int, ...]:
    """Batches as they are written.

    Raises:
        SettingError: If one is no whole number from 1 up.
    """
    from quintain.core.errors import SettingError

    try:
        sizes = tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise SettingError(f"got --batches {text}; expected whole numbers from 1 up with commas between them, such as 256,1024")
    return sizes


VERB = Verb(
    "privatize",
    run,
    "Train with DP-SGD to a privacy budget, and say what it costs in accuracy; or plan it.",
    (
        "--data xrays --epsilon 3 --curve",
        "--model net.py:make --data mine.npz --epsilon 8 --delta 1e-6 --steps 500 --require 'epsilon(delta=1e-6) <= 8'",
    ),
    "what is finished is kept; the command that is shown at the start goes on, with the same noise: nothing is spent twice",
)
