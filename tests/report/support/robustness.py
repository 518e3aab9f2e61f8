"""Models under attack and with certificates."""

import hashlib
import math
import random
from itertools import pairwise
from pathlib import Path

import numpy as np

from quintain.results.artifacts import Picture
from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import CountEvidence
from quintain.results.per_example import PerExample
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim, Record
from quintain.results.robustness_records import (
    AttackDiagnostics,
    AttackedModel,
    AttackResult,
    AttackRow,
    BreakLog,
    CertifiedModel,
    Indicator,
)
from tests.report.support.claims import DATA, TITLES, accuracy, tallies
from tests.report.support.pictures import store, xray

SIZES = (2 / 255, 4 / 255, 8 / 255)


COUNTS = {
    "plain": ((537, 0, 0, 0), (537, 457, 372, 94)),
    "adversarial": ((527, 0, 0, 0), (527, 501, 458, 382)),
    "certified": ((521, 488, 455, 357), (521, 494, 461, 396)),
}
"""Right answers that are proved, and that stand under attack, at size 0 and at each of SIZES."""


def certified_model(name: str) -> tuple[CertifiedModel, tuple[Claim, ...]]:
    examples = _examples(name)
    curve = tuple(8 / 255 * step / 48 for step in range(49))
    claims = []
    for size, token in zip(SIZES, ("2/255", "4/255", "8/255"), strict=True):
        below, above = examples.certified_counts(size, 2), examples.unbroken_counts(size, 2)
        title = f"Robust accuracy, {TITLES[name]}"
        claims.append(
            accuracy(
                f"{name}:linf:{token}",
                title,
                below.num_correct,
                above.num_correct,
                token=f"linf:{token}",
                primary=name == "certified",
                lower_counts=below,
                upper_counts=above,
            )
        )
    return CertifiedModel(name, name, "interval bounds", "linf", examples, SIZES, 2, curve, 0.7), tuple(
        claims
    )


def smoothed_model() -> tuple[CertifiedModel, tuple[Claim, ...]]:
    """A hundred X-rays, certified by draws."""
    draw = random.Random(3)
    labels = tuple(int(row < 62) for row in range(100))
    right = tuple(draw.random() < (0.93 if label else 0.68) for label in labels)
    safe = tuple(abs(draw.gauss(0.55, 0.22)) if fine else 0.0 for fine in right)
    broken = tuple(
        radius + abs(draw.gauss(0.08, 0.08)) + 0.01 if fine else 0.0
        for radius, fine in zip(safe, right, strict=True)
    )
    broken = tuple(math.inf if radius > 1 else radius for radius in broken)
    predicted = tuple(label if fine else 1 - label for label, fine in zip(labels, right, strict=True))
    examples = PerExample(tuple(range(100)), labels, predicted, safe, broken, (False,) * 100)
    claims = []
    for size in (0.25, 0.5, 0.75):
        below, above = examples.certified_counts(size, 2), examples.unbroken_counts(size, 2)
        of = Quantity(Metric.ROBUST_ACCURACY, hashlib.sha256(b"smoothed").hexdigest(), DATA[1], f"l2:{size}")
        lower = Bound(
            of,
            Side.LOWER,
            below.accuracy,
            Basis.STATISTICAL,
            CountEvidence(below.num_correct, 100, 1e-3),
            "smoothing, sigma 0.25, 10,000 draws",
        )
        upper = Bound(
            of,
            Side.UPPER,
            above.accuracy,
            Basis.STATISTICAL,
            CountEvidence(above.num_correct, 100, 1e-3),
            "pgd-20 on the smoothed scores",
        )
        bracket = Bracket(lower, upper, above.majority_accuracy)
        claims.append(
            Claim(
                f"smoothed:l2:{size}",
                "Robust accuracy, smoothed model",
                "smoothed",
                bracket,
                lower_counts=below,
                upper_counts=above,
            )
        )
    curve = tuple(step / 48 for step in range(49))
    return CertifiedModel(
        "smoothed",
        "smoothed, sigma 0.25",
        "smoothing, 10,000 draws",
        "l2",
        examples,
        (0.25, 0.5, 0.75),
        2,
        curve,
        19.0,
    ), tuple(claims)


def attacked_model(name: str, folder: Path) -> AttackedModel:
    examples = _examples(name)
    bare = PerExample(
        examples.ids,
        examples.labels,
        examples.predicted,
        (0.0,) * len(examples.ids),
        examples.broken_radius,
        examples.invalid,
    )
    rows = []
    for size, token in zip(SIZES, ("linf:2/255", "linf:4/255", "linf:8/255"), strict=True):
        after = examples.unbroken_counts(size, 2)
        weaker = ClassCounts(
            tuple(min(hits + 6, total) for hits, total in zip(after.correct, after.total, strict=True)),
            after.total,
        )
        right = examples.unbroken_counts(0.0, 2).num_correct
        lost, few = right - after.num_correct, right - weaker.num_correct
        asked = (
            (0, right),
            (3, right - few // 2),
            (9, after.num_correct + lost // 8),
            (22, after.num_correct),
        )
        rows.append(
            AttackRow("fgsm", token, weaker, 2.0, 0.86, 0.1, size, few, ((0, right), (2, weaker.num_correct)))
        )
        rows.append(AttackRow("pgd-20", token, after, 12.4, 11.2, 2.1, size, lost, asked))
    gallery = tuple(_fooled(folder, name, seed) for seed in range(4)) if name == "plain" else ()
    return AttackedModel(
        name, name, tuple(rows), bare, "linf", gallery, _breaks(bare), _trust(name == "adversarial")
    )


def _examples(name: str) -> PerExample:
    """Two radii an example, such that both counts are met exactly at every size."""
    proved, standing = COUNTS[name]
    tally = tallies()[name]
    draw = random.Random(7)
    ranked = sorted(
        (draw.random() - 0.4 * label, label) for label in (1, 0) for _ in range(tally.correct[label])
    )
    wrong = [1] * (tally.total[1] - tally.correct[1]) + [0] * (tally.total[0] - tally.correct[0])
    labels = [label for _, label in ranked] + wrong
    safe = [_radius(rank, proved, above=True) for rank in range(len(ranked))] + [0.0] * len(wrong)
    broken = [_radius(rank, standing, above=False) for rank in range(len(ranked))] + [0.0] * len(wrong)
    predicted = [*labels[: len(ranked)], *(1 - label for label in wrong)]
    ids = tuple(range(len(labels)))
    return PerExample(
        ids, tuple(labels), tuple(predicted), tuple(safe), tuple(broken), (False,) * len(labels)
    )


def _radius(rank: int, counts: tuple[int, ...], *, above: bool) -> float:
    """The radius of the example at a rank, the strongest first: between two sizes as evenly as the counts
    want it.
    """
    sizes = (0.0, *SIZES)
    for (low, high), (more, fewer) in zip(pairwise(sizes), pairwise(counts), strict=True):
        if fewer <= rank < more:
            part = (more - (1 if above else 0) - rank) / (more - fewer)
            return low if above and counts[1] == 0 else low * (1 - part) + high * part
    return sizes[-1] if above else math.inf


def _breaks(examples: PerExample) -> BreakLog:
    """One in nine by the second attack."""
    by, found = [], []
    for row, radius in enumerate(examples.broken_radius):
        fallen = 0 < radius < math.inf
        by.append(
            "unchanged" if radius == 0 else ("pgd-20: margin" if row % 9 == 0 else "fgsm") if fallen else ""
        )
        found.append(3 if fallen else 0)
    cost = tuple(0 if name == "unchanged" else 25 for name in by)
    return BreakLog(tuple(by), tuple(found), cost, cost, (False,) * len(by))


def _trust(doubtful: bool) -> AttackDiagnostics:
    many = 3 if doubtful else 0
    signs = (
        Indicator("zero gradients", 0.0, 0.05, False, "the gradient is zero on 0 % of the examples"),
        Indicator(
            "random points beat the attacks",
            many / 50,
            0.0,
            doubtful,
            f"random points broke {many} of 31 examples that the attacks left",
        ),
    )
    return AttackDiagnostics(signs, 50)


def _fooled(folder: Path, name: str, seed: int) -> tuple[Picture, ...]:
    image = xray(seed)
    change = 4 / 255 * np.sign(np.random.default_rng(seed).standard_normal(image.shape))
    answers = ("pneumonia", "normal") if seed % 2 else ("normal", "pneumonia")
    return (
        store(folder, f"{name}-linf-{seed}-clean", image, f"{answers[0]} {97 - seed} %"),
        store(folder, f"{name}-linf-{seed}-change", 0.5 + 10 * change, "change x10, 4.0/255"),
        store(
            folder, f"{name}-linf-{seed}-adversarial", image + change, f"{answers[1]} {81 + seed} %", "bad"
        ),
    )


def first_attacked(records: tuple[Record, ...]) -> tuple[Record, AttackedModel]:
    record = next(one for one in records if isinstance(one.result, AttackResult))
    return record, record.result.models[0]
