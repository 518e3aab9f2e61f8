"""``quintain federate``."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from quintain.cli.commands.command import Command
from quintain.cli.commands.privatize import Delta
from quintain.cli.options import DEFAULT_DATA, RUN, TRAINED

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.federated.engine import Engine


def run(
    call: "VerbCall",
    sites: Annotated[int, typer.Option(help="Number of sites.", min=3)] = 5,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="Rounds of broadcast, local training and secure sum; 12 if not given, or 6 with --epsilon "
            "or --noise-multiplier.",
            show_default=False,
            min=1,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Local epochs per round; 1 if not given, 2 with --noise-multiplier, or 8 of private "
            "training with --epsilon.",
            show_default=False,
            min=1,
        ),
    ] = None,
    secure: Annotated[
        str,
        typer.Option(
            help="What sums the updates, from 'quintain list aggregation': secagg if not given; none to let "
            "the server see each update.",
            show_default=False,
        ),
    ] = "",
    robust: Annotated[
        str,
        typer.Option(
            help="Take a median or trimmed-mean over sums of fixed groups of at least three sites, against "
            "malicious ones; from 9 sites on.",
            show_default=False,
        ),
    ] = "",
    epsilon: Annotated[
        float | None,
        typer.Option(
            help="Train by DP-SGD at each site, so that all rounds cost each record at most so much epsilon.",
            show_default=False,
        ),
    ] = None,
    delta: Delta = 1e-5,
    noise_multiplier: Annotated[
        float | None,
        typer.Option(
            help="Hide whole sites instead: noise on sums, in units of --clip-norm; for hundreds of sites.",
            show_default=False,
        ),
    ] = None,
    clip_norm: Annotated[
        float | None,
        typer.Option(
            help="With --noise-multiplier: the norm to which each site's update is cut.", show_default=False
        ),
    ] = None,
    noise_by: Annotated[
        Literal["sites", "server"],
        typer.Option(
            help="With --noise-multiplier: who adds the noise: the sites, each a share of it, or a trusted "
            "server."
        ),
    ] = "sites",
    strategy: Annotated[
        str,
        typer.Option(
            help="How the sites train together, from 'quintain list strategy': fedavgm if not given, and "
            "fedavg with privacy or --robust.",
            show_default=False,
        ),
    ] = "",
    drop: Annotated[
        float | None,
        typer.Option(
            help="Fraction of the sites that drop out of each round, at stages in turn; one site in one "
            "round if not given.",
            show_default=False,
            min=0.0,
            max=1.0,
        ),
    ] = None,
    stragglers: Annotated[
        int,
        typer.Option(help="Sites of each round whose vector comes after the deadline, besides.", min=0),
    ] = 0,
    engine: Annotated[
        Literal["local", "flower"],
        typer.Option(
            help="What carries the messages: calls in this process, or Flower's simulation engine, with the "
            "same result."
        ),
    ] = "local",
) -> int:
    from quintain.core.registry import choose

    choose("aggregation", secure)
    _check_privacy(epsilon, noise_multiplier, clip_norm, noise_by)

    from quintain.evaluate.dropouts import DropoutRates
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.federate import run_federate
    from quintain.federated import ClientNoise, SitePrivacy
    from quintain.federated.site_privacy import private_sites
    from quintain.results.run_layout import UNFINISHED

    call = replace(call, needs_float64=True, resume_dir=UNFINISHED)
    privacy: SitePrivacy | ClientNoise | None = None
    if epsilon is not None:
        privacy = private_sites(epsilon, delta, epochs)
    elif noise_multiplier is not None and clip_norm is not None:
        privacy = ClientNoise(clip_norm, noise_multiplier, added_by=noise_by, delta=delta)
    choose("strategy", strategy)
    rates = DropoutRates(drop or 0.0, stragglers) if drop is not None or stragglers else None
    carrier = _engine(engine)

    def work() -> StepOutput:
        output = run_federate(
            call.net(),
            call.train,
            call.examples,
            sites=sites,
            site_name="hospital" if call.data == DEFAULT_DATA else "site",
            rounds=rounds,
            epochs=epochs,
            secure=secure,
            robust=robust,
            privacy=privacy,
            primary=True,
            strategy=strategy,
            dropout_rates=rates,
            engine=carrier,
            seed=call.seed,
            folder=call.folder,
            unfinished=call.unfinished,
            progress=call.progress,
            log=call.progress.write_line,
        )
        return output if privacy is None else output.with_notes(call.first_weights_notes)

    return call.run_resumable(work)


def _engine(name: str) -> "Engine":
    """Return the engine of this name.

    Raises:
        ExecutionError: If what it needs is not installed.
    """
    from quintain.core.errors import ExecutionError
    from quintain.federated.engine import local_engine

    if name == "local":
        return local_engine
    try:
        from quintain.federated.flower.engine import flower_engine
    except ImportError as error:
        raise ExecutionError(
            f"--engine flower needs {error.name}, which is not installed; run: pip install 'quintain[fed]' "
            "'flwr[simulation]'"
        ) from error
    return flower_engine


def _check_privacy(
    epsilon: float | None, noise_multiplier: float | None, clip_norm: float | None, noise_by: str
) -> None:
    """Refuse options that contradict each other.

    Raises:
        SettingError: If they do.
    """
    from quintain.core.errors import SettingError

    if epsilon is not None and noise_multiplier is not None:
        raise SettingError(
            f"got --epsilon {epsilon:g}, which protects records, and --noise-multiplier "
            f"{noise_multiplier:g}, which protects whole sites; expected one of them, since one epsilon is "
            "stated for the federation"
        )
    if (noise_multiplier is None) != (clip_norm is None):
        given, missing = ("--noise-multiplier", "--clip-norm")[:: 1 if clip_norm is None else -1]
        raise SettingError(
            f"got {given} without {missing}; expected both: noise is in units of the norm to which each "
            "site's update is cut, such as --noise-multiplier 1 --clip-norm 0.5"
        )
    if noise_by == "server" and noise_multiplier is None:
        raise SettingError(
            "got --noise-by server without --noise-multiplier, by which there is no noise; expected how much "
            "the server adds, such as --noise-multiplier 1 --clip-norm 0.5"
        )


VERB = Command(
    "federate",
    run,
    "Train a model over several sites with secure aggregation, and attack what the server sees.",
    (
        "--data xrays --sites 5",
        "--model net.py:make --data mine.npz --sites 8 --rounds 20 --epsilon 3 --require 'epsilon <= 3'",
    ),
    before=TRAINED,
    after=RUN,
)
