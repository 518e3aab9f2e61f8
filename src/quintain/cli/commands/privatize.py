"""``quintain privatize``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from quintain.cli.commands.command import Command
from quintain.cli.options import RUN, TRAINED

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.evaluate.privacy_target import PrivacyTarget
    from quintain.evaluate.step import StepOutput

Epsilon = Annotated[float, typer.Option(help="Target epsilon, which the noise is calibrated for.")]
Delta = Annotated[float, typer.Option(help="Target delta; well below 1 / number of records.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "--batch",
        help="Expected batch size; 512 if not given, or an eighth of the records where they are fewer than "
        "4,096.",
        show_default=False,
    ),
]
Steps = Annotated[int, typer.Option(help="Number of noisy steps.")]
MaxGradNorm = Annotated[
    float, typer.Option("--max-grad-norm", help="Norm to which each example's gradient is clipped.")
]


def run(
    call: "VerbCall",
    epsilon: Epsilon = 3.0,
    delta: Delta = 1e-5,
    batch_size: BatchSize = None,
    steps: Steps = 276,
    max_grad_norm: MaxGradNorm = 1.0,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "--rate", help="Learning rate.")] = 1.0,
    sweep_epsilon: Annotated[
        bool,
        typer.Option(
            "--sweep-epsilon",
            "--curve",
            help="Train at epsilon 0.5, 1, 2, 4 and 8 too, and draw accuracy over them.",
        ),
    ] = False,
    sweep_batch_sizes: Annotated[
        str,
        typer.Option(
            "--sweep-batch-sizes",
            "--batches",
            help="Other batch sizes to train with at the same epsilon, such as 256,1024; "
            "with --plan: batch sizes to tabulate.",
        ),
    ] = "",
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            help="Train nothing: show noise, steps within the target, and what batch sizes and steps cost.",
        ),
    ] = False,
    noise_multiplier: Annotated[
        float | None, typer.Option(help="With --plan: show what this noise multiplier costs.")
    ] = None,
) -> int:
    from quintain.core.errors import SettingError
    from quintain.evaluate.privacy_target import PrivacyTarget, default_batch_size
    from quintain.evaluate.steps.plan import run_plan
    from quintain.results.run_layout import UNFINISHED

    sizes = _sizes(sweep_batch_sizes)
    if plan and sweep_epsilon:
        raise SettingError(
            "got --plan, which trains nothing, and --sweep-epsilon, which trains; expected one of them"
        )
    if plan and call.require:
        raise SettingError(
            "got --plan, which trains nothing, and --require, which is decided on what was trained; expected "
            "one of them: a plan's noise is calibrated for --epsilon at --delta, and never costs more"
        )
    if noise_multiplier is not None and not plan:
        raise SettingError(
            f"got --noise-multiplier {noise_multiplier:g} without --plan; expected --epsilon, which noise is "
            "made for"
        )
    call = replace(call, needs_float64=True, resume_dir="" if plan else UNFINISHED)
    target = PrivacyTarget(
        epsilon=epsilon,
        delta=delta,
        batch_size=default_batch_size(len(call.train)) if batch_size is None else batch_size,
        steps=steps,
        max_grad_norm=max_grad_norm,
        learning_rate=learning_rate,
    )
    if plan:
        return call.run(
            lambda: run_plan(target, len(call.train), noise_multiplier=noise_multiplier, batch_sizes=sizes)
        )
    return _train(call, target, sizes, sweep_epsilon=sweep_epsilon)


def _train(call: "VerbCall", target: "PrivacyTarget", sizes: tuple[int, ...], *, sweep_epsilon: bool) -> int:
    """Train, or resume an interrupted run."""
    from quintain.evaluate.privacy_target import class_warnings
    from quintain.evaluate.steps.privatize import EPSILONS, partial_privatize, run_privatize
    from quintain.evaluate.training import unseen_class_notes

    folder = call.folder
    unfinished = folder / call.resume_dir

    def work() -> "StepOutput":
        output = run_privatize(
            call.net(),
            call.train,
            call.examples,
            target,
            folder=folder,
            epsilons=EPSILONS if sweep_epsilon else (),
            batch_sizes=sizes,
            validation=call.splits.val,
            unfinished=unfinished,
            progress=call.progress,
        )
        return output.with_notes(call.first_weights_notes)

    def work_so_far() -> "StepOutput | None":
        output = partial_privatize(
            call.net(),
            call.train,
            call.examples,
            target,
            folder=folder,
            unfinished=unfinished,
            reason="interrupted",
        )
        return None if output is None else output.with_notes(call.first_weights_notes)

    call.warn(() if call.classes else class_warnings(call.train))
    call.warn(unseen_class_notes(call.train, call.examples))
    _ = call.examples, call.requirements
    call.announce()
    try:
        return call.run(work)
    except KeyboardInterrupt:
        call.save_partial(work_so_far)
        raise


def _sizes(text: str) -> tuple[int, ...]:
    """Read batch sizes such as ``256,1024``.

    Raises:
        SettingError: If one is no whole number from 1 up.
    """
    from quintain.core.errors import SettingError

    try:
        sizes = tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise SettingError(
            f"got --sweep-batch-sizes {text}; expected whole numbers from 1 up with commas between them, "
            "such as 256,1024"
        )
    return sizes


VERB = Command(
    "privatize",
    run,
    "Train with DP-SGD to a target epsilon, and show what it costs in accuracy; or only plan it.",
    (
        "--data xrays --epsilon 3 --sweep-epsilon",
        "--model net.py:make --data mine.npz --epsilon 8 --delta 1e-6 --steps 500 --require "
        "'epsilon(delta=1e-6) <= 8'",
    ),
    before=TRAINED,
    after=RUN,
)
