"""Which examples are tried at which size next: bisection over the sizes at which each one is open."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from torch import Tensor

from quintain.certify.outcome import CertificateOutcome
from quintain.data.dataset import Dataset
from quintain.evaluate.certificate_chunks import list_counterexamples
from quintain.evaluate.certify import confirm_counterexamples
from quintain.models.protocol import ClassifierLike
from quintain.results.per_example import PerExample
from quintain.threats.threat import Threat


class Trial(NamedTuple):
    """Examples that are tried at one size.

    Args:
        size_index: The size's index.
        rows: The examples' rows (n,).
    """

    size_index: int
    rows: np.ndarray


class Bisection:
    """What is known of N examples at some sizes while these are tried.

    An example is tried at the middle one of its open sizes. If it is certified there, only the larger ones
    stay open, else only the smaller ones. Examples whose next size is smallest are tried first.

    Args:
        model, data: Model and labeled examples.
        sizes: Threats of one type, rising.
        known: What is known of all examples of ``data``.
        rows: The examples that may be tried; all if None.
        way_left: How near each example was to a certificate before: the nearest are tried first, and of two
            middle sizes the smaller one. If it is empty, the larger one: nothing has failed yet.

    Attributes:
        way_left: The part below 0 of the way from an example's margin down to its bound (N,), at the last
            size that was tried and not certified; 1 before.
        counterexamples: Inputs that were found to break an example, each with the example's row.
    """

    def __init__(
        self,
        model: ClassifierLike,
        data: Dataset,
        sizes: Sequence[Threat],
        known: PerExample,
        *,
        rows: np.ndarray | None,
        way_left: Sequence[float],
    ) -> None:
        self._model, self._data, self._sizes, self._known = model, data, sizes, known
        self._eps, self._larger_first = np.array([threat.eps for threat in sizes]), not len(way_left)
        self._certified, self._broken, self._invalid = (
            np.array(column) for column in (known.certified_radius, known.broken_radius, known.invalid)
        )
        is_excluded = self._invalid | (np.array(known.predicted) != np.array(known.labels))
        count = len(is_excluded)
        if rows is not None:
            is_excluded |= ~np.isin(np.arange(count), rows)
        # the open sizes of an example are those with the indices first to last
        self._first = np.where(is_excluded, len(sizes), (self._eps[:, None] <= self._certified).sum(0))
        self._last = (self._eps[:, None] < self._broken).sum(0) - 1
        self._is_tried = np.zeros(count, bool)
        self._nearest = np.argsort(way_left, kind="stable") if len(way_left) else np.arange(count)
        self.way_left = np.ones(count)
        self.counterexamples: list[tuple[int, np.ndarray]] = []

    @property
    def num_open(self) -> int:
        """How many examples are open at some size."""
        return int((self._first <= self._last).sum())

    @property
    def num_free(self) -> int:
        """How many of these are not being tried."""
        return int(self._is_free.sum())

    @property
    def _is_free(self) -> np.ndarray:
        is_free: np.ndarray = (self._first <= self._last) & ~self._is_tried
        return is_free

    def next_try(self, count: int) -> Trial | None:
        """Return at most so many examples to be tried next, but none that is now; None if there is none."""
        middle = np.where(self._is_free, (self._first + self._last + self._larger_first) // 2, len(self._eps))
        size_index = int(middle.min(initial=len(self._eps)))
        if size_index == len(self._eps):
            return None
        return Trial(size_index, self._nearest[middle[self._nearest] == size_index][:count])

    def begin(self, one: Trial) -> None:
        """Note that examples are tried now."""
        self._is_tried[one.rows] = True

    def record(self, one: Trial, outcome: CertificateOutcome, clean: Tensor) -> int:
        """Note what a certifier says of the examples that it tried, whose margins are ``clean`` (n,).

        Returns:
            How many of them are open at no size any more.
        """
        now, eps = one.rows, self._eps[one.size_index]
        proved, failed = (flags.cpu().numpy() for flags in (outcome.certified, outcome.failed))
        # the part below 0 of the distance from the clean margin down to its certified bound
        bound = outcome.margin.cpu().clamp(max=0)
        self.way_left[now[~proved]] = (-bound / (clean.cpu() - bound)).nan_to_num(1.0).numpy()[~proved]
        self._certified[now[proved]] = eps
        self._broken, confirmed = confirm_counterexamples(
            self._model, self._data, self._sizes, list_counterexamples(outcome, now), self._broken
        )
        self.counterexamples += confirmed
        self._invalid[now[failed]] = True
        self._first[now[proved]] = one.size_index + 1
        self._last[now[~proved]] = one.size_index - 1
        # a counterexample may be allowed at a smaller size than the one that was tried
        unbroken = (self._eps[:, None] < self._broken[now]).sum(0)
        self._last[now] = np.minimum(self._last[now], unbroken - 1)
        self._last[now[failed]] = -1
        self._is_tried[now] = False
        return int((self._first[now] > self._last[now]).sum())

    @property
    def examples(self) -> PerExample:
        """What is known of all examples now."""
        return replace(
            self._known,
            certified_radius=tuple(self._certified.tolist()),
            broken_radius=tuple(self._broken.tolist()),
            invalid=tuple(self._invalid.tolist()),
        )
