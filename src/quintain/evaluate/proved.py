"""Every example's proved radius."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from quintain.certify.outcome import Certifier
from quintain.certify.radius_search import largest_certified_radius
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.examples import examples, rising
from quintain.evaluate.subject import Subject, answers
from quintain.results.per_example import PerExample
from quintain.threats.threat import Threat

BATCH = 512


@dataclass(frozen=True, slots=True)
class Proved:
    """One side of a model.

    Args:
        examples: Proved radii; nothing is broken but what is wrong unchanged.
        method: What proved it.
        assumes: What must be true for it to hold.
        seconds: Wall time.
        alpha: Chance that one proof is false; 0 for proofs in the strict sense.
    """

    examples: PerExample
    method: str
    assumes: tuple[str, ...]
    seconds: float
    alpha: float = 0.0


def prove(
    subject: Subject,
    data: Dataset,
    threats: Sequence[Threat],
    certifier: Certifier,
    *,
    method: str,
    size: int = BATCH,
    progress: Progress = no_progress,
) -> Proved:
    """The largest size of change proved harmless for each example.

    The asked sizes are decided by a certificate at exactly that size; between them the radius is the largest
    proven one of a fine grid.

    Args:
        subject: The model.
        data: Labelled examples.
        threats: Balls of one kind.
        certifier: The proof method.
        method: Its name for records.
        size: Examples at a time.
        progress: Shows a bar of examples.
    """
    sizes = rising(threats)
    predicted = answers(subject.model, data, batch=size)
    radius, failed = np.zeros(len(data)), predicted < 0
    assumes: tuple[str, ...] = ()
    clock = time.perf_counter()
    with progress.bar(f"certify {subject.name}", len(data)) as advance:
        for x, y, ids in data.batches(size):
            rows = ids.numpy()
            outcome = largest_certified_radius(certifier, subject.model, x, y, sizes[-1], radii=[threat.eps for threat in sizes])
            assert outcome.radius is not None
            radius[rows], assumes = outcome.radius.cpu().numpy(), outcome.assumptions
            failed[rows] |= outcome.failed.cpu().numpy()
            advance(len(ids))
    seconds = time.perf_counter() - clock
    broken = np.where(predicted == data.labels, math.inf, 0.0)
    return Proved(examples(data, predicted, radius, broken, failed), method, assumes, seconds)


def strongest(proofs: Sequence[Proved]) -> Proved | None:
    """For each example the largest radius that any of several methods proved; None of none."""
    if not proofs:
        return None
    first = proofs[0]
    radii = tuple(max(column) for column in zip(*(one.examples.certified_radius for one in proofs), strict=True))
    failed = tuple(any(column) for column in zip(*(one.examples.invalid for one in proofs), strict=True))
    return Proved(
        replace(first.examples, certified_radius=radii, invalid=failed),
        " + ".join(one.method for one in proofs),
        tuple(dict.fromkeys(line for one in proofs for line in one.assumes)),
        sum(one.seconds for one in proofs),
        sum(one.alpha for one in proofs),
    )
