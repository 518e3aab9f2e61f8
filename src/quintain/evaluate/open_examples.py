"""Certifies open examples: those that are neither certified nor broken at a requested size."""

import io
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintain.certify.crown import expected_seconds
from quintain.certify.outcome import CertificateOutcome, Certifier, takes_seconds, tracing
from quintain.core.files import write_atomically
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.bisection import Bisection, Trial
from quintain.evaluate.certify import Certification
from quintain.evaluate.certify_workers import (
    CertifierAnswer,
    CertifierTask,
    CertifyWorkers,
    Sharing,
    share_out,
)
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.pacing import Pace
from quintain.losses.margin import margin
from quintain.models.classifier import Classifier
from quintain.models.precision import plain_products
from quintain.results.per_example import PerExample
from quintain.threats.sizes import sorted_by_size
from quintain.threats.threat import Threat

COUNTEREXAMPLES = "counterexamples"
"""The folder, in a run folder, of inputs that a certifier found to break an example."""

BATCH_SIZE, CALL_SECONDS = 32, 2.0
"""Most examples in one call of the certifier, and about how many seconds a call may take."""

LAST_BATCH_SIZE = 8
"""Examples in the last calls where several processes share them."""


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
    rows: np.ndarray | None = None,
    way_left: Sequence[float] = (),
    seconds: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
    workers: CertifyWorkers | None = None,
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
        rows: The examples that may be tried; all if not given.
        way_left: How near each example was to a certificate before, as ``Certification`` says: the nearest
            are tried first, and of two middle sizes the smaller one. If it is empty, the larger one: nothing
            has failed yet.
        seconds: Time for all tries. A try is not begun if it would end later, by the time of the one before.
        clock: Tells the time.
        workers: Other processes that try examples, too.
        progress: Shows a bar of examples.

    Returns:
        What is known now, with inputs that the certifier found to break examples; and the number of examples
        that are left open at some size for want of time.
    """
    sizes, started = sorted_by_size(threats), clock()
    state = Bisection(subject.model, data, sizes, known, rows=rows, way_left=way_left)
    assumptions: tuple[str, ...] = ()
    certify = tracing(certifier, subject.model)
    pace = Pace(1, CALL_SECONDS)
    # one example of a search may take much longer than the one before
    batch_size = 1 if takes_seconds(certifier) else BATCH_SIZE

    def seconds_of(examples: int) -> float:
        return examples * (pace.seconds_per_example or 0.0)

    def next_try(waiting: int) -> Trial | None:
        size = min(batch_size, pace.next_size(state.num_free))
        if workers is not None:
            size = workers.part_size(size, state.num_free, smallest=LAST_BATCH_SIZE)
        one = state.next_try(size)
        if one is None or clock() - started + seconds_of(len(one.rows)) * (1 + waiting) > seconds:
            return None
        state.begin(one)
        return one

    def task(one: Trial) -> CertifierTask:
        return CertifierTask(certifier, sizes[one.size_index])

    def examples(one: Trial) -> tuple[Tensor, Tensor]:
        return data.batch(one.rows)

    def here(one: Trial) -> None:
        before = clock()
        outcome = task(one).run(subject.model, certify, *examples(one))
        record(one, outcome, clock() - before)

    def finish(one: Trial, answer: CertifierAnswer) -> None:
        record(one, answer.outcome, answer.seconds)

    def record(one: Trial, outcome: CertificateOutcome, spent: float) -> None:
        nonlocal assumptions
        assumptions = outcome.assumptions
        pace.record(len(one.rows), spent)
        x, y = examples(one)
        with plain_products(subject.model.device), torch.no_grad():
            clean = -margin(subject.model(x).double(), y)
        advance(state.record(one, outcome, clean))

    def seconds_left() -> float:
        return min(seconds_of(state.num_open), seconds - (clock() - started))

    sharing = None if workers is None else Sharing(workers, subject, certifier, task, examples)
    with progress.bar(f"certify {subject.name} by {method}", state.num_open) as advance:
        share_out(next_try, here, finish, seconds_left=seconds_left, sharing=sharing)
    found = Certification(
        state.examples,
        method,
        assumptions,
        clock() - started,
        counterexamples=tuple(sorted(state.counterexamples, key=lambda pair: pair[0])),
        way_left=tuple(state.way_left.tolist()),
    )
    return found, state.num_open
