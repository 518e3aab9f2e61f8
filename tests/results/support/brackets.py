"""Bounds and brackets on one accuracy and on one epsilon."""

from quintain.results import (
    Basis,
    Bound,
    Bracket,
    ConfidenceLevels,
    CountEvidence,
    Quantity,
    Side,
)
from quintain.results.quantity import Metric

ROBUST = Quantity(Metric.ROBUST_ACCURACY, "f" * 64, "d" * 64, "linf:4/255")
EPSILON = Quantity(
    Metric.EPSILON,
    "plan",
    "data",
    delta=1e-5,
    adjacency="add/remove",
    privacy_unit="image",
    released="all iterates",
)


def counted(side, hits, trials, basis=Basis.PROOF, alpha=0.0):
    return Bound(ROBUST, side, hits / trials, basis, CountEvidence(hits, trials, alpha))


def accuracy(low, high, trials=624, **words):
    return Bracket(
        counted(Side.LOWER, low, trials), counted(Side.UPPER, high, trials, Basis.WITNESS), **words
    )


def audited(value, values=None):
    return Bound(
        EPSILON,
        Side.LOWER,
        value,
        Basis.STATISTICAL,
        ConfidenceLevels((0.95, 0.99, 1 - 1e-6), values or (value, value * 0.9, value * 0.5)),
    )


def accounted(value):
    return Bound(EPSILON, Side.UPPER, value, Basis.PROOF)
