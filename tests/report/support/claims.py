"""Claims and trainings with figures of the size that real ones have."""

import hashlib
from dataclasses import replace

from quintain.results.artifacts import ModelFile
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import CountEvidence
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim
from quintain.results.robustness_records import (
    TrainingRun,
)

POSITIVES, EXAMPLES = 390, 624


DATA = ("xrays.test", hashlib.sha256(b"test").hexdigest())


TRAIN_HASH = hashlib.sha256(b"train").hexdigest()


TITLES = {
    "plain": "plain training",
    "adversarial": "adversarial training",
    "certified": "certified training",
    "private": "private model",
    "smoothed": "smoothed model",
    "federated": "federated model",
}


def accuracy(
    name: str,
    title: str,
    lower: int | None,
    upper: int | None,
    *,
    trials: int = EXAMPLES,
    token: str = "linf:4/255",
    **more: object,
) -> Claim:
    """An accuracy claim from counts; None leaves a side trivial."""
    kind = Metric.ROBUST_ACCURACY if token else Metric.CLEAN_ACCURACY
    model = name.partition(":")[0]
    of = Quantity(kind, hashlib.sha256(model.encode()).hexdigest(), DATA[1], token)
    below, above = Bound.trivial(of, Side.LOWER), Bound.trivial(of, Side.UPPER)
    if lower is not None:
        below = Bound(
            of,
            Side.LOWER,
            lower / trials,
            Basis.PROOF,
            CountEvidence(lower, trials),
            "interval bounds",
            ("float32 rounding is small",),
        )
    if upper is not None:
        above = Bound(
            of, Side.UPPER, upper / trials, Basis.WITNESS, CountEvidence(upper, trials), "fgsm + pgd-20"
        )
    claim = Claim(name, title, model, Bracket(below, above, POSITIVES / EXAMPLES))
    return replace(claim, **more)  # type: ignore[arg-type]


def clean(name: str, tally: ClassCounts) -> Claim:
    """Accuracy without a threat."""
    title = f"Accuracy, {TITLES[name]}"
    return accuracy(
        f"{name}:clean",
        title,
        tally.num_correct,
        tally.num_correct,
        token="",
        lower_counts=tally,
        upper_counts=tally,
    )


def tallies() -> dict[str, ClassCounts]:
    return {
        "plain": ClassCounts((158, 379), (234, 390)),
        "adversarial": ClassCounts((155, 372), (234, 390)),
        "certified": ClassCounts((161, 360), (234, 390)),
        "private": ClassCounts((149, 369), (234, 390)),
        "federated": ClassCounts((150, 377), (234, 390)),
    }


def model_file(name: str) -> ModelFile:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ModelFile(name, TITLES[name], digest, 109_442, f"models/{name}.safetensors", digest)


def training_run(name: str, plan: str) -> TrainingRun:
    return TrainingRun(
        model_file(name), tallies()[name], (0.51, 0.32, 0.24), 41.0 if name != "plain" else 6.2, plan
    )
