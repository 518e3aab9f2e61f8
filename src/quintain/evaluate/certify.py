"""Certify every example of a data set: the largest radius within which no change alters its prediction."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from quintain.certify.outcome import CertificateOutcome, Certifier, is_expensive, takes_seconds, tracing
from quintain.core.errors import ModelError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.certificate_chunks import CertificateStore, certify_in_chunks
from quintain.evaluate.certify_workers import CertifierTask, CertifyWorkers, Sharing
from quintain.evaluate.model import EvaluatedModel, per_example, predictions
from quintain.evaluate.pacing import Pace, smallest_batch, work_clock
from quintain.losses.margin import margin
from quintain.models.precision import plain_products
from quintain.models.protocol import ClassifierLike
from quintain.results.per_example import PerExample
from quintain.threats.sizes import sorted_by_size
from quintain.threats.threat import Threat, contains

BATCH_SIZE = 512

SEARCH_BATCH_SIZE = 8
"""Most examples in a saved chunk of a certifier that may take some seconds for each, such as a search."""

TRIAL_SIZE = 4
"""Examples in the first chunk of another expensive one, whose time for one hardly depends on the others."""


@dataclass(frozen=True, slots=True)
class Certification:
    """Certified radii of the examples of a data set.

    Args:
        examples: Certified radii; broken is what is misclassified without a change or has a counterexample.
        method: What certified them.
        assumptions: What must be true for the certificates to hold.
        seconds: Wall time.
        alpha: Probability that one certificate is wrong; 0 for proofs in the strict sense.
        noise_samples: Noisy copies of each example that were classified; empty where none were.
        counterexamples: Inputs that it found to break an example, each with the example's row.
        way_left: The part below 0 of the distance from an example's margin down to its lower bound (N,), at
            the last size that was tried and not certified: near 0 if it was almost certified, 1 if it was
            far from it, or if there is no such size.
    """

    examples: PerExample
    method: str
    assumptions: tuple[str, ...]
    seconds: float
    alpha: float = 0.0
    noise_samples: tuple[int, ...] = ()
    counterexamples: tuple[tuple[int, np.ndarray], ...] = ()
    way_left: tuple[float, ...] = ()


def certify_examples(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    certifier: Certifier,
    *,
    method: str,
    batch_size: int = BATCH_SIZE,
    checkpoint_dir: Path | None = None,
    processes: int = 1,
    progress: Progress = no_progress,
) -> Certification:
    """Certify each example: return the largest eps at which no change alters its prediction.

    Each requested eps is decided by a certificate at exactly that eps; between them the radius is the largest
    certified one of a fine grid, unless the certifier is an expensive one.

    An example that the certifier found a counterexample of is broken at the smallest requested eps that
    allows this input, if the model gets it wrong once more.

    Args:
        subject: The model.
        data: Labeled examples.
        threats: Threats of one type.
        certifier: The certifier.
        method: Its name in records.
        batch_size: Examples at a time.
        checkpoint_dir: A folder for finished certificates, so that the same call resumes after an
            interruption. Batches are then split where they take long, as those of an expensive certifier are
            in any case.
        processes: How many certify at once where that takes long, as ``CertifyWorkers`` says.
        progress: Shows a bar of examples.
    """
    sizes = sorted_by_size(threats)
    predicted = predictions(subject.model, data, batch_size=batch_size)
    radii = [threat.eps for threat in sizes]
    store = pace = None
    if checkpoint_dir is not None:
        store = CertificateStore(
            checkpoint_dir,
            {
                "model": subject.file.model_hash,
                "data": data.hash,
                "certifier": repr(certifier),
                "threats": [threat.spec for threat in sizes],
                "batch_size": batch_size,
            },
        )
    if takes_seconds(certifier):
        batch_size, pace = min(batch_size, SEARCH_BATCH_SIZE), Pace(1)
    elif is_expensive(certifier):
        pace = Pace(TRIAL_SIZE)
    elif store is not None:
        smallest = smallest_batch(subject.model, data.batch(range(min(batch_size, len(data))))[0])
        pace = Pace(batch_size if smallest is None else smallest)
    task = CertifierTask(certifier, sizes[-1], tuple(radii), search=not is_expensive(certifier))
    with (
        progress.bar(f"certify {subject.name}", len(data)) as advance,
        CertifyWorkers([subject], processes) as workers,
    ):

        @cache
        def traced() -> Callable[..., CertificateOutcome]:
            return tracing(certifier, subject.model)

        def certify(rows: np.ndarray) -> CertificateOutcome:
            outcome = task.run(subject.model, traced(), *data.batch(rows))
            advance(len(rows))
            return outcome

        found = certify_in_chunks(
            certify,
            len(data),
            batch_size=batch_size,
            store=store,
            pace=pace,
            advance=advance,
            clock=work_clock(subject.model),
            sharing=Sharing(workers, subject, certifier, lambda _rows: task, data.batch),
        )
    broken, counterexamples = confirm_counterexamples(
        subject.model,
        data,
        sizes,
        found.counterexamples,
        np.where(predicted == data.labels, math.inf, 0.0),
    )
    return Certification(
        examples=per_example(data, predicted, found.radius, broken, (predicted < 0) | found.failed),
        method=method,
        assumptions=tuple(found.assumptions.tolist()),
        seconds=found.seconds,
        counterexamples=counterexamples,
    )


def confirm_counterexamples(
    model: ClassifierLike,
    data: Dataset,
    sizes: Sequence[Threat],
    found: Iterable[tuple[int, np.ndarray]],
    broken: np.ndarray,
) -> tuple[np.ndarray, tuple[tuple[int, np.ndarray], ...]]:
    """Check inputs that a certifier says break examples, whatever it says, and return what they break.

    An input breaks its example at the smallest size that allows it, in float64 and without tolerance, and
    only if the model gets it wrong by itself.

    Args:
        model, data: Model and labeled examples.
        sizes: Threats of one type, rising.
        found: Rows of examples, each with an input (*S).
        broken: The smallest eps at which each example is known to be broken (N,).

    Returns:
        The same with these inputs (N,), and those of them that break an example at a smaller eps than known.
    """
    broken, confirmed = broken.copy(), []
    for row, point in found:
        eps = _smallest_breaking_eps(model, data, sizes, row, point)
        if eps < broken[row]:
            broken[row] = eps
            confirmed.append((row, point))
    return broken, tuple(confirmed)


@torch.no_grad()
def _smallest_breaking_eps(
    model: ClassifierLike, data: Dataset, sizes: Sequence[Threat], row: int, point: np.ndarray
) -> float:
    """Return the eps of the smallest size at which an input breaks an example; infinite if there is none."""
    x, y = data.batch([row])
    z = torch.from_numpy(point)[None]
    with plain_products(model.device):
        is_wrong = bool(margin(model(z), y) > 0)
    return next((size.eps for size in sizes if is_wrong and bool(contains(size, z, x))), math.inf)


def refusal_reason(certifier: Certifier, model: ClassifierLike, data: Dataset, threat: Threat) -> str:
    """Return why a certifier refuses a model, tried on the first example; empty where it does not."""
    x, y = data.batch([0])
    try:
        with plain_products(model.device):
            certifier(model, x, y, threat)
    except ModelError as error:
        return str(error)
    return ""


def best_certification(proofs: Sequence[Certification]) -> Certification | None:
    """Return each example's largest radius that a method certified and smallest at which a method broke it.

    It is None if there is no method.
    """
    if not proofs:
        return None
    first = proofs[0]
    radii = tuple(
        max(column) for column in zip(*(one.examples.certified_radius for one in proofs), strict=True)
    )
    broken = tuple(
        min(column) for column in zip(*(one.examples.broken_radius for one in proofs), strict=True)
    )
    invalid = tuple(any(column) for column in zip(*(one.examples.invalid for one in proofs), strict=True))
    return Certification(
        examples=replace(first.examples, certified_radius=radii, broken_radius=broken, invalid=invalid),
        method=" + ".join(dict.fromkeys(name for one in proofs for name in one.method.split(" + "))),
        assumptions=tuple(dict.fromkeys(line for one in proofs for line in one.assumptions)),
        seconds=sum(one.seconds for one in proofs),
        alpha=sum(one.alpha for one in proofs),
        counterexamples=tuple(pair for one in proofs for pair in one.counterexamples),
    )
