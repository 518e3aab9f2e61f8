"""Every attack at every size on a model: what is left, and the smallest change that broke each example."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from quintain.attacks.outcome import AttackOutcome
from quintain.core.progress import Progress, silent
from quintain.data.dataset import Batch, Dataset
from quintain.evaluate.examples import ball_of, examples, rising
from quintain.evaluate.gallery import Fooled, gallery
from quintain.evaluate.subject import Subject, answers, tally
from quintain.models.classifier import Classifier
from quintain.results.robustness_records import AttackRow, Attacks
from quintain.threats.ball import Ball

Attack = Callable[..., AttackOutcome]

BATCH = 512


@dataclass(slots=True)
class _Column:
    """What one attack has done at one size, over all batches so far."""

    standing: np.ndarray
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Books:
    """What all attacks have done to each example so far."""

    columns: dict[tuple[str, str], _Column]
    radius: np.ndarray
    failed: np.ndarray
    fooled: list[Fooled] = field(default_factory=list)


def attack_models(
    subject: Subject,
    data: Dataset,
    threats: Sequence[Ball],
    attacks: Mapping[str, Attack],
    *,
    seed: int = 0,
    folder: Path | None = None,
    pictures: int = 0,
    size: int = BATCH,
    progress: Progress = silent,
) -> Attacks:
    """Run every attack at every size on a model.

    An example that an attack broke at one size is broken at every larger one, so that larger sizes are tried on what still stands. One
    that gave no number is asked no more, and counts as standing.

    Args:
        subject: The model.
        data: Labelled examples.
        threats: Balls of one kind.
        attacks: By name.
        seed: Of all draws.
        folder: Where pictures go.
        pictures: How many fooled examples to keep.
        size: Examples at a time.
        progress: Shows a bar of examples.

    Raises:
        SettingError: If the threats are of several kinds, or there are none.
    """
    sizes = rising(threats)
    predicted = answers(subject.model, data, batch=size)
    right = predicted == data.labels
    columns = {(name, threat.token): _Column(right.copy()) for threat in sizes for name in attacks}
    books = _Books(columns, np.where(right, math.inf, 0.0), predicted < 0)
    with progress.loop(f"attack {subject.name}", len(data) * len(columns)) as advance:
        for batch in data.batches(size):
            for name, attack in attacks.items():
                rows = batch.ids.numpy()
                standing = right[rows] & ~books.failed[rows]
                for threat in sizes:
                    standing = _attack_batch(subject.model, books, (name, threat), attack, batch, standing, seed, pictures)
                    advance(len(batch.ids))
    table = tuple(
        AttackRow(
            name,
            token,
            tally(column.standing | books.failed, data.labels, data.classes),
            column.forwards / len(data),
            column.backwards / len(data),
            column.seconds,
        )
        for (name, token), column in columns.items()
    )
    found = examples(data, predicted, np.zeros(len(data)), books.radius, books.failed)
    shown = gallery(folder, subject, data, books.fooled, sizes[-1]) if folder is not None and pictures else ()
    return Attacks(subject.name, subject.file.title, table, found, ball_of(sizes), shown)


def _attack_batch(
    model: Classifier,
    books: _Books,
    place: tuple[str, Ball],
    attack: Attack,
    batch: Batch,
    standing: np.ndarray,
    seed: int,
    pictures: int,
) -> np.ndarray:
    """One attack at one size on what still stands of a batch; gives what stands afterwards."""
    rows = batch.ids.numpy()[standing]
    x, y, ids = (part[torch.from_numpy(standing)] for part in batch)
    name, threat = place
    column = books.columns[name, threat.token]
    clock = time.perf_counter()
    outcome = attack(model, x, y, threat, seed=seed, ids=ids)
    column.seconds += time.perf_counter() - clock
    column.forwards += int(outcome.forwards.sum())
    column.backwards += int(outcome.backwards.sum())
    broken, size, failed = outcome.broken.cpu().numpy(), outcome.size.double().cpu().numpy(), outcome.error.cpu().numpy()
    books.failed[rows] |= failed
    books.radius[rows[broken]] = np.minimum(books.radius[rows[broken]], size[broken])
    new = np.flatnonzero(broken & ~np.isin(rows, [one.id for one in books.fooled]))[: pictures - len(books.fooled)]
    books.fooled.extend(Fooled(int(rows[at]), outcome.adversarial[at].cpu(), float(size[at])) for at in new)
    left = standing.copy()
    left[standing] = ~(broken | failed)
    column.standing[batch.ids.numpy()] = left
    return left
