"""Copy small nets from their answers: agreement by queries, beside the same net trained on true labels."""

from collections.abc import Iterator
from dataclasses import replace
from statistics import mean

import numpy as np
from torch import nn

import quintain as q
from benchmarks.evasion.shared import path
from benchmarks.harness import Comparison
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.agreement import measure
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.evaluate.leaks.overlap import first_of_each
from quintain.leakage.extraction.active import ActiveExtraction
from quintain.leakage.extraction.knockoff import Knockoff
from quintain.leakage.extraction.student import Student
from quintain.models.nets import xray_cnn
from quintain.training import Recipe, fit

SEEDS = (0, 1, 2)
STUDENT = Student(min_steps=400, min_epochs=5)


def train(net: nn.Module, data: Dataset, seed: int) -> None:
    """Train a net as the targets are."""
    fit(net, data, Recipe(epochs=10, batch_size=64), seed=seed)


def job(data: Dataset, members: int, others: int, *, budget: int, seed: int) -> LeakJob:
    """Return the measurement of a target that is trained on some of the data; an attacker knows others."""
    rows = np.random.default_rng(seed).permutation(len(data))
    known, rest = data.subset(rows[:members]), data.subset(rows[members : members + others])

    def build(number: int) -> nn.Module:
        return xray_cnn(data.num_classes, seed=number)

    net = build(seed)
    train(net, known, seed)
    target = LeakTarget(q.Classifier(net, num_classes=data.num_classes), "plain", build=build, train=train)
    return LeakJob(target, (), known, rest, budget=budget, seed=seed)


def lines(
    name: str, jobs: list[LeakJob], attack: Knockoff | ActiveExtraction, note: str
) -> Iterator[Comparison]:
    """Yield a line for each measure, means over seeds and the range."""
    found = [measure(replace(one, attacks=(attack,))).measurements for one in jobs]
    for each in zip(*found, strict=True):
        values, bases = [one.value for one in each], [one.baseline for one in each]
        curve = "; ".join(
            f"{points[0].x:,.0f} queries {mean(point.y for point in points):.3f}"
            for points in zip(*(one.curve for one in each), strict=True)
        )
        yield Comparison(
            f"{name}, {attack.name}, {note}, {each[0].measure}",
            f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f} of {len(values)} seeds) at "
            f"{each[0].queries:,.0f} queries, {mean(one.count for one in each):.0f} held-out examples; "
            f"baseline {mean(bases):.3f} ({each[0].baseline_name}){f'; {curve}' if curve else ''}",
        )


def run() -> Iterator[Comparison]:
    """Copy targets on X-rays by both attacks, and on MNIST by random queries, by scores and by labels."""
    xrays = q.load_data("xrays").split("train")
    rays = [job(_distinct(xrays), 1500, 3000, budget=3000, seed=seed) for seed in SEEDS]
    yield from lines("X-rays", rays, Knockoff(student=STUDENT), "scores")
    yield from lines("X-rays", rays, ActiveExtraction(student=STUDENT), "scores")
    digits = q.load_data(str(path("data/MNIST/raw"))).split("train")
    mnist = [job(digits, 5000, 16_000, budget=10_000, seed=seed) for seed in SEEDS]
    yield from lines("MNIST", mnist, Knockoff(student=STUDENT), "scores")
    labels = [replace(one, access="labels") for one in mnist]
    yield from lines("MNIST", labels, Knockoff(student=STUDENT), "labels")


def _distinct(data: Dataset) -> Dataset:
    """Return the examples of which no earlier one has the values."""
    return data.subset(first_of_each(data), name=data.name)
