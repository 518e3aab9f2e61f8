"""Certify what is still open: at each asked size the examples that are neither certified nor broken."""

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
from quintain.evaluate.certify import Certification
from quintain.evaluate.model import EvaluatedModel
from quintain.losses.margin import margin
from quintain.models.classifier import Classifier
from quintain.models.precision import plain_products
from quintain.results.per_example import PerExample
from quintain.threats.sizes import sorted_by_size
from quintain.threats.threat import Threat

COUNTEREXAMPLES = "counterexamples"
"""The folder of inputs that a certifier found, in a run folder."""

CHUNK, CHUNK_SECONDS = 32, 2.0
"""Most examples that are certified at once, and about how long that may take."""


def too_long(subject: EvaluatedModel, data: Dataset, threat: Threat, seconds: float) -> str:
    """Return why linear bounds of the model are not tried in so many seconds; empty where they are.

    Args:
        subject, data: Model and labeled examples, of which the first is looked at.
        threat: The largest that is asked.
        seconds: For all examples.

    Raises:
        ModelError: If its layers are not read.
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
        name: Of the model.
        certification: What was found: rows of the data set (N,) and inputs (N, *S) in one file.
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
    """Certify examples at the asked sizes, but none that is certified there already, or broken.

    Each example is asked for one of its open sizes in the middle, then for larger ones if it is certified
    there, and for smaller ones if it is not. Smaller sizes come first.

    Args:
        subject, data: Model and labeled examples.
        threats: The sizes of one type of threat.
        certifier: The certifier, an expensive one.
        known: What is known of the examples, all of ``data``.
        method: Its name in records.
        hopeful: Whether most are certified where they are asked, so that of two sizes the larger is asked.
        rows: The examples that may be asked; all if not given.
        way_left: How near a proof of each was before, as ``Certification`` says: the nearest come first.
        seconds: No example is asked that would end later, as the ones before tell.
        clock: Tells the time.
        progress: Shows a bar of examples.

    Returns:
        What is known now, the inputs that it found to break examples counted as breaks; and how many examples
        there was no time for at one size at least.
    """
    sizes, started = sorted_by_size(threats), clock()
    eps = np.array([threat.eps for threat in sizes])
    certified, broken, invalid = (
        np.array(column) for column in (known.certified_radius, known.broken_radius, known.invalid)
    )
    hopeless = invalid | (np.array(known.predicted) != np.array(known.labels))
    if rows is not None:
        hopeless |= ~np.isin(np.arange(len(certified)), rows)
    # the open sizes of an example are those from its first to its last place
    first = np.where(hopeless, len(eps), (eps[:, None] <= certified).sum(0))
    last = (eps[:, None] < broken).sum(0) - 1
    assumptions: tuple[str, ...] = ()
    inputs: list[tuple[int, np.ndarray]] = []
    nearest = np.argsort(way_left, kind="stable") if len(way_left) else np.arange(len(certified))
    left = np.ones(len(certified))
    count, pace = 1, 0.0
    certify = tracing(certifier, subject.model)
    with progress.bar(f"certify {subject.name} by {method}", int((first <= last).sum())) as advance:
        while (first <= last).any():
            asked = np.where(first <= last, (first + last + hopeful) // 2, len(eps))
            place = int(asked.min())
            now = nearest[asked[nearest] == place][:count]
            if clock() - started + pace * len(now) > seconds:
                break
            before = clock()
            x, y = data.batch(now)
            with plain_products(subject.model.device), torch.no_grad():
                outcome = certify(x, y, sizes[place])
                clean = -margin(subject.model(x).double(), y)
            pace = (clock() - before) / len(now)
            count = max(1, min(CHUNK, int(CHUNK_SECONDS / max(pace, 1e-9))))
            assumptions = outcome.assumptions
            proved, failed, refuted = (
                flags.cpu().numpy() for flags in (outcome.certified, outcome.failed, outcome.broken)
            )
            low = outcome.margin.cpu().clamp(max=0)
            left[now[~proved]] = (-low / (clean.cpu() - low)).nan_to_num(1.0).numpy()[~proved]
            certified[now[proved]] = eps[place]
            broken[now[refuted]] = eps[place]
            invalid[now[failed]] = True
            if outcome.counterexample is not None:
                points = outcome.counterexample.cpu().numpy()
                inputs += [(int(now[one]), points[one]) for one in np.flatnonzero(refuted)]
            first[now[proved]] = place + 1
            last[now[~proved]] = place - 1
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
