"""``quintain certify``."""

from typing import Annotated

import typer

from quintain.cli.options import Data, Limit, Model, Out, Require, Seed, Split, Threats, Weights
from quintain.cli.verbs.verb import Verb


def run(
    model: Model = "xray-cnn",
    weights: Weights = None,
    data: Data = "xrays",
    threat: Threats = None,
    certifier: Annotated[str, typer.Option(help="interval for Linf and L2, or smoothing for L2.")] = "interval",
    sigma: Annotated[float, typer.Option(help="Standard deviation of the smoothing noise.")] = 0.25,
    noise_samples: Annotated[
        int, typer.Option("--noise-samples", "--draws", help="Noise samples an example, for smoothing.", min=1)
    ] = 10_000,
    split: Split = "test",
    limit: Limit = 0,
    seed: Seed = 0,
    require: Require = None,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session, balls
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.certify import run_certify

    session = Session("certify", data, model, weights, seed, out, tuple(require or ()), split, limit)
    sizes = balls(threat or (["l2:0.25"] if certifier == "smoothing" else ["linf:4/255"]))

    def work() -> StepOutput:
        return run_certify(
            session.subject,
            session.examples,
            sizes,
            certifier,
            sigma=sigma,
            noise_samples=noise_samples,
            seed=seed,
            progress=session.progress,
        )

    return session.finish(work)


VERB = Verb(
    "certify",
    run,
    "Prove that no allowed change turns an answer: by interval bounds, or of the smoothed model by randomized smoothing.",
    (
        "--weights xray.safetensors --threat linf:2/255 --threat linf:4/255",
        "--weights noisy.safetensors --certifier smoothing --sigma 0.25 --limit 100",
    ),
)
