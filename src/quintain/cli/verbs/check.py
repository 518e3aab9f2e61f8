"""``quintain check``."""

from quintain.cli.options import Data, Model, Out, Weights
from quintain.cli.verbs.verb import Verb


def run(
    data: Data = "xrays",
    model: Model = "",
    weights: Weights = None,
    out: Out = None,
) -> int:
    from quintain.cli.session import Session
    from quintain.core.errors import ExitCode
    from quintain.evaluate.step import StepOutput
    from quintain.evaluate.steps.check import run_check

    named = model or ("xray-cnn" if weights else "")
    session = Session("check", data=data, model=named, weights=weights, out=out, split="")
    found: list[StepOutput] = []

    def work() -> StepOutput:
        found.append(run_check(session.splits, session.subject.model if named else None))
        return found[0]

    code = session.finish(work)
    wrong = any(finding.level == "error" for finding in getattr(found[0].result, "findings", ()))
    return ExitCode.EXECUTION if wrong and code == ExitCode.OK else code


VERB = Verb(
    "check",
    run,
    "Look at data and model before anything is believed: range, labels, duplicates, shape, mode, determinism.",
    ("--data xrays", "--data mine.npz --model net.py:make --weights w.safetensors"),
)
