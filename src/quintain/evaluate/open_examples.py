"""Certifies open examples: those that are neither certified nor broken at a requested size."""

import io
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from quintain.certify.crown import expected_seconds
from quintain.certify.outcome import Certifier, tracing
from quintain.core.files import write_atomically
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.certificate_chunks import list_counterexamples
from quintain.evaluate.certify import Certification, confirm_counterexamples
from quintain.evaluate.model import EvaluatedModel
from quintain.losses.margin import margin
from quintain.models.classifier import Classifier
from quintain.models.precision import plain_products
from quintain.results.per_example import PerExample
from quintain.threats.sizes import sorted_by_size
from quintain.threats.threat import Threat

COUNTEREXAMPLES = "counterexamples"
"""The folder, in a run folder, of inputs that a certifier found to break an example."""

CHUNK, CHUNK_SECONDS = 32, 2.0
"""Most examples in one call of the certifier, and about how many seconds a call may take."""


def too_long(subject: EvaluatedModel, data: Dataset, threat: Threat, seconds: float) -> str:
    """Return why linear bounds of the model would take too long; empty if they would not.

    Args:
        subject, data: Model and labeled examples; the time of the first one is estimated.
        threat: The largest requested threat.
        seconds: Time for all examples.

    Raises:
        ModelError: If a layer of the model cannot be bounded.
    """
    model = subject.model
    if not isinstance(model, Classifier):
        return "its layers are not seen"
    expected = expected_seconds(model, data.batch([0])[0], threat)
    return f"one example may take {expected:,.0f} s" if expected > seconds else ""


def save_counterexamples(folder: Path, name: str, certification: Certification) -> None:
    """Save the inputs that a certifier found to break examples of a model, where there are any.

    Args:
        folder: The run folder.
        name: The model's name, and that of the file.
        certification: Has the counterexamples: the file holds their rows (N,) and the inputs (N, *S).
    """
    if not certification.counterexamples:
        return
    rows, inputs = zip(*certification.counterexamples, strict=True)
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, rows=np.array(rows), inputs=np.stack(inputs))
    write_atomically(folder / COUNTEREXAMPLES / f"{name}.npz", buffer.getvalue())


def certify_open(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    certifier: Certifier,
    known: PerExample,
    *,
    method: str,
    hopeful: bool = True,
    rows: np.ndarray | None = None,
    way_left: Sequence[float] = (),
    seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
    progress: Progress = no_progress,
) -> tuple[Certification, int]:
    """Certify open examples by bisection over the sizes at which each is neither certified nor broken.

    An example is tried at the middle one of its open sizes. If it is certified there, only the larger ones
    stay open, else only the smaller ones. Examples whose next size is smallest are tried first. A
    counterexample counts as in ``certify_examples``: where the threat allows it and the model gets it wrong.

    Args:
        subject, data: Model and labeled examples.
        threats: The sizes of one type of threat.
        certifier: The certifier, an expensive one.
        known: What is known of all examples of ``data``.
        method: The certifier's name in records.
        hopeful: Whether a try is likely to succeed: of two middle sizes the larger one is then tried.
        rows: The examples that may be tried; all if not given.
        way_left: How near each example was to a certificate before, as ``Certification`` says: the nearest
            are tried first.
        seconds: Time for all tries. A try is not begun if it would end later, by the time of the one before.
        clock: Tells the time.
        progress: Shows a bar of examples.

    Returns:
        What is known now, with inputs that the certifier found to break examples; and the number of examples
        that are left open at some size for want of time.
    """
    sizes, started = sorted_by_size(threats), clock()
    eps = np.array([threat.eps for threat in sizes])
    certified, broken, invalid = (
        np.array(column) for column in (known.certified_radius, known.broken_radius, known.invalid)
    )
    is_excluded = invalid | (np.array(known.predicted) != np.array(known.labels))
    if rows is not None:
        is_excluded |= ~np.isin(np.arange(len(certified)), rows)
    # the open sizes of an example are those with the indices first to last
    first = np.where(is_excluded, len(eps), (eps[:, None] <= certified).sum(0))
    last = (eps[:, None] < broken).sum(0) - 1
    assumptions: tuple[str, ...] = ()
    inputs: list[tuple[int, np.ndarray]] = []
    nearest = np.argsort(way_left, kind="stable") if len(way_left) else np.arange(len(certified))
    left = np.ones(len(certified))
    count, pace = 1, 0.0
    certify = tracing(certifier, subject.model)
    # one example of a search may take much longer than the one before
    most = 1 if hasattr(certifier, "seconds") else CHUNK
    with progress.bar(f"certify {subject.name} by {method}", int((first <= last).sum())) as advance:
        while (first <= last).any():
            middle = np.where(first <= last, (first + last + hopeful) // 2, len(eps))
            size_index = int(middle.min())
            now = nearest[middle[nearest] == size_index][:count]
            if clock() - started + pace * len(now) > seconds:
                break
            before = clock()
            x, y = data.batch(now)
            with plain_products(subject.model.device), torch.no_grad():
                outcome = certify(x, y, sizes[size_index])
                clean = -margin(subject.model(x).double(), y)
            pace = (clock() - before) / len(now)
            count = max(1, min(most, int(CHUNK_SECONDS / max(pace, 1e-9))))
            assumptions = outcome.assumptions
            proved, failed = (flags.cpu().numpy() for flags in (outcome.certified, outcome.failed))
            # the part below 0 of the distance from the clean margin down to its certified bound
            bound = outcome.margin.cpu().clamp(max=0)
            left[now[~proved]] = (-bound / (clean.cpu() - bound)).nan_to_num(1.0).numpy()[~proved]
            certified[now[proved]] = eps[size_index]
            broken, confirmed = confirm_counterexamples(
                subject.model, data, sizes, list_counterexamples(outcome, now), broken
            )
            inputs += confirmed
            invalid[now[failed]] = True
            first[now[proved]] = size_index + 1
            last[now[~proved]] = size_index - 1
            # a counterexample may be allowed at a smaller size than the one that was tried
            last[now] = np.minimum(last[now], (eps[:, None] < broken[now]).sum(0) - 1)
            last[now[failed]] = -1
            advance(int((first[now] > last[now]).sum()))
    examples = replace(
        known,
        certified_radius=tuple(certified.tolist()),
        broken_radius=tuple(broken.tolist()),
        invalid=tuple(invalid.tolist()),
    )
    found = Certification(
        examples,
        method,
        assumptions,
        clock() - started,
        counterexamples=tuple(inputs),
        way_left=tuple(left.tolist()),
    )
    return found, int((first <= last).sum())
