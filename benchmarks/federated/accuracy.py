"""How near federated training comes to pooled training, and each site alone: a table in docs/federated.md.

Five sites of the X-rays, Dirichlet 0.5, ``quintain federate`` at its defaults, with momentum at the
server, and federated averaging beside it. Each seed has a partition, first weights and orders of its own. The
pooled model and those of single sites start from the same weights and take the same recipe for as many epochs
as a site takes in all rounds.

The protocol, written down before any test figure was looked at. Settings are compared on the validation split
(524 X-rays), trained on the training split, with seeds 100 to 119. The test split (624 X-rays) is used for
what is printed here and for no choice, with the seeds of ``SEEDS``, which were used for nothing before.
Intervals are, for one seed, by the paired bootstrap over pictures, beside McNemar's exact test; over all
seeds, by Student's t, on this test split. The test split differs from the training split, so that a model's
accuracy on it varies with its seed; how much, two pooled models of other seeds show.
"""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn

from benchmarks.harness import Comparison
from quintain.data import load_data
from quintain.data.dataset import Dataset
from quintain.evaluate.steps import federate
from quintain.models import xray_cnn
from quintain.models.classifier import Classifier
from quintain.results.class_counts import ClassCounts

SEEDS = tuple(range(200, 205))
NUM_SITES = 5
POINTS = 100.0

Booleans = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeedScores:
    """What the models of one seed say of the test split.

    Args:
        federated: Logit of pneumonia less that of a healthy chest, for each picture (N,).
        averaged: The same without momentum at the server: federated averaging.
        pooled: The same for the model on all data in one place.
        alone: The same for each site's own model.
        labels: (N,) true classes, 1 for pneumonia.
    """

    federated: Floats
    averaged: Floats
    pooled: Floats
    alone: tuple[Floats, ...]
    labels: NDArray[np.int64]

    def correct(self, scores: Floats) -> Booleans:
        """Return which pictures a model gets right (N,)."""
        right: Booleans = (scores > 0) == (self.labels == 1)
        return right


def run() -> Iterator[Comparison]:
    """A line for each seed, then what holds over all of them."""
    found = []
    for seed in SEEDS:
        found.append(train(seed))
        yield Comparison(f"seed {seed}", _line(found[-1]))
    yield from summaries(found)


def train(seed: int) -> SeedScores:
    """Train by ``quintain federate``, and keep what each model says of the test split."""
    # first each site's own model, then the pooled one, then the common one after each round
    scores = _run(seed)
    return SeedScores(
        federated=scores[-1],
        averaged=_run(seed, "fedavg")[-1],
        pooled=scores[NUM_SITES],
        alone=tuple(scores[:NUM_SITES]),
        labels=load_data("xrays").split("test").labels,
    )


def _run(seed: int, strategy: str = "") -> list[Floats]:
    """Return what each site's model, the pooled one and the common one after each round say.

    With another strategy, the models of the sites and the pooled one, which come out as before, are not
    trained.
    """
    splits, recorded = load_data("xrays"), list[Floats]()

    def record_scores(model: Classifier, data: Dataset) -> ClassCounts:
        scores = scores_of(model, data)
        recorded.append(scores)
        return ClassCounts.of((scores > 0) == (data.labels == 1), data.labels, data.num_classes)

    skipped = mock.patch.object(federate, "fit", _skip_training) if strategy else nullcontext()
    with TemporaryDirectory() as folder, mock.patch.object(federate, "clean_counts", record_scores), skipped:
        federate.run_federate(
            xray_cnn(seed=seed),
            splits.split("train"),
            splits.split("test"),
            sites=NUM_SITES,
            strategy=strategy,
            seed=seed,
            folder=Path(folder),
        )
    return recorded


def _skip_training(net: nn.Module, *_args: object, **_settings: object) -> None:
    """Leave a net as it is."""
    net.eval()


def summaries(found: list[SeedScores]) -> Iterator[Comparison]:
    """Return what holds over all seeds."""
    labels = found[0].labels
    for name in ("pooled", "federated", "averaged"):
        yield Comparison(f"{name}, all seeds", rates([getattr(one, name) for one in found], labels))
    pooled = [one.correct(one.pooled) for one in found]
    for name in ("federated", "averaged"):
        ours = [one.correct(getattr(one, name)) for one in found]
        alone = [[accuracy(one.correct(scores)) for scores in one.alone] for one in found]
        gaps = [gap(*pair) for pair in zip(pooled, ours, strict=True)]
        yield Comparison(f"pooled less {name}, points", mean_and_interval(gaps))
        reached = list(zip(map(accuracy, ours), alone, strict=True))
        ahead = [mine - statistics.mean(sites) for mine, sites in reached]
        yield Comparison(f"{name} less the mean site alone, points", mean_and_interval(ahead))
        ahead = [mine - max(sites) for mine, sites in reached]
        yield Comparison(
            f"{name} less the site alone that is best on the test split, points", mean_and_interval(ahead)
        )
    twins = [gap(pooled[first], pooled[second]) for first in range(len(pooled)) for second in range(first)]
    yield Comparison(
        "pooled less pooled of another seed, points",
        f"root mean square {statistics.mean(points**2 for points in twins) ** 0.5:.1f}; farther than 2 "
        f"apart: {sum(abs(points) > 2 for points in twins)} of {len(twins)} pairs",
    )


def bootstrap_interval(first: Booleans, second: Booleans, *, samples: int = 10_000) -> tuple[float, float]:
    """Return a 95 % interval, in points, of the accuracy of the first model less that of the second.

    By the paired bootstrap over pictures. Only how many pictures either model alone gets right matters, so
    that resampled pictures are counts of a multinomial distribution.
    """
    count = len(first)
    ahead, behind = int((first & ~second).sum()), int((second & ~first).sum())
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(count, [ahead / count, behind / count, 1 - (ahead + behind) / count], samples)
    low, high = np.quantile(POINTS * (drawn[:, 0] - drawn[:, 1]) / count, [0.025, 0.975])
    return float(low), float(high)


def mcnemar(first: Booleans, second: Booleans) -> float:
    """Return the p-value of McNemar's exact test that both models are right equally often."""
    ahead, behind = int((first & ~second).sum()), int((second & ~first).sum())
    return float(stats.binomtest(ahead, ahead + behind).pvalue) if ahead + behind else 1.0


def mean_and_interval(values: list[float]) -> str:
    """Return the mean over seeds, its 95 % interval by Student's t, and all values."""
    half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.mean(values)
    each = ", ".join(f"{value:.1f}" for value in values)
    return f"{mean:.1f} (95 %: {mean - half:.1f} to {mean + half:.1f}; {each})"


def auc(scores: Floats, labels: NDArray[np.int64]) -> float:
    """Return the area under the ROC curve: how often an ill chest has the higher score than a healthy one."""
    ill = labels == 1
    pairs = int(ill.sum()) * int((~ill).sum())
    return float(stats.mannwhitneyu(scores[ill], scores[~ill]).statistic) / pairs


def accuracy(right: Booleans) -> float:
    """Return the percentage of right answers."""
    return POINTS * float(right.mean())


def gap(first: Booleans, second: Booleans) -> float:
    """Return by how many points the first of two models is ahead."""
    return accuracy(first) - accuracy(second)


def _line(one: SeedScores) -> str:
    pooled = one.correct(one.pooled)
    text = f"pooled {accuracy(pooled):.1f} %"
    alone = [one.correct(scores) for scores in one.alone]
    best = max(alone, key=accuracy)
    for name in ("federated", "averaged"):
        ours = one.correct(getattr(one, name))
        low, high = bootstrap_interval(pooled, ours)
        text += (
            f"; {name} {accuracy(ours):.1f} %, {gap(pooled, ours):.1f} points less (95 %: {low:.1f} to "
            f"{high:.1f}, McNemar p = {mcnemar(pooled, ours):.2g}), against the best site alone p = "
            f"{mcnemar(ours, best):.2g}"
        )
    return f"{text}; alone {', '.join(f'{accuracy(right):.1f}' for right in alone)}"


def rates(scores: list[Floats], labels: NDArray[np.int64]) -> str:
    """Return mean rates of the models of all seeds, with their standard deviations over seeds."""
    ill = labels == 1
    each: Mapping[str, list[float]] = {
        "accuracy": [float(((one > 0) == ill).mean()) for one in scores],
        "sensitivity": [float((one[ill] > 0).mean()) for one in scores],
        "specificity": [float((one[~ill] <= 0).mean()) for one in scores],
        "area under the ROC curve": [auc(one, labels) for one in scores],
    }
    return ", ".join(
        f"{name} {statistics.mean(values):.1%} (standard deviation {statistics.stdev(values):.1%})"
        for name, values in each.items()
    )


@torch.no_grad()
def scores_of(model: Classifier, data: Dataset) -> Floats:
    """Return the logit of the second class less that of the first (N,)."""
    x, _ = data.tensors
    logits = model(x).double()
    found: Floats = (logits[:, 1] - logits[:, 0]).numpy()
    return found
