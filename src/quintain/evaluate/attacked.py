"""Every attack at every size on a model: what is left, the smallest change that broke each example, and how far to trust it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from quintain.core.errors import DataError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.books import breaks_of, kept_books, rows_of
from quintain.evaluate.campaign import AttackFn, Orders, carried_out, together
from quintain.evaluate.examples import ball_of, examples, rising
from quintain.evaluate.gallery import gallery
from quintain.evaluate.pieces import Pieces
from quintain.evaluate.subject import Subject, answers
from quintain.evaluate.team import ALONE, Team
from quintain.evaluate.trust import EXAMPLES, probed, trust_of
from quintain.results.per_example import PerExample
from quintain.results.robustness_records import AttackedModel
from quintain.threats.threat import Threat
from quintain.version import __version__

BATCH = 512


def attack_models(
    subject: Subject,
    data: Dataset,
    threats: Sequence[Threat],
    attacks: Mapping[str, AttackFn],
    *,
    seed: int = 0,
    folder: Path | None = None,
    pictures: int = 0,
    size: int = BATCH,
    queries: int | None = None,
    target: int | None = None,
    safe: PerExample | None = None,
    transferred: np.ndarray | None = None,
    probes: int = EXAMPLES,
    pieces: Path | None = None,
    team: Team = ALONE,
    progress: Progress = no_progress,
) -> AttackedModel:
    """Run every attack at every size on a model.

    An example that an attack broke at one size is broken at every larger one, so that larger sizes are tried on what still stands; an
    attack that seeks the smallest change is run once, at the largest size. One that gave no number is asked no more, and counts as
    standing. What broke an example is then drawn back towards it by bisection, so that the radii make a curve.

    Args:
        subject: The model.
        data: Labelled examples.
        threats: Of one kind.
        attacks: By name.
        seed: Of all draws.
        folder: Where pictures go.
        pictures: How many fooled examples to keep.
        size: Examples at a time.
        queries: How often each attack may ask about an example at each size; nothing else is then asked either, so that there is no
            bisection, and trust is judged by what the attacks found.
        target: The class to be answered; no example may be of that class.
        safe: Proved radii of these examples, by their ids: they are left alone at every size that is proved.
        transferred: Which examples points made on another model break (N,), if that was tried.
        probes: How many examples are asked more, to tell a strong model from a weak attack.
        pieces: A folder for what is finished, so that the same call goes on after it was cut off.
        team: The processes that share the work; each has the result in the end, the first one with pictures and trust.
        progress: Shows a bar of examples.

    Raises:
        SettingError: If the threats are of several kinds, there are none, or an attack cannot do what is asked.
        DataError: If an example is of the target class.
        RunFolderError: If ``pieces`` holds those of a run of other settings.

    Guarantee: a model that fails half way gives the result so far, with why in ``stop_reason``; what was not attacked counts as unbroken.
    """
    if target is not None and (data.labels == target).any():
        raise DataError(f"{int((data.labels == target).sum())} examples are of the target class {target}; leave them out")
    sizes, first = tuple(rising(threats)), team.rank == 0
    Orders(sizes, attacks, seed, size, queries, target).require()
    predicted = answers(subject.model, data, batch=size)
    right, proved = predicted == data.labels, _proved(safe, len(data))
    orders = Orders(sizes, attacks, seed, size, queries, target, pictures, frozenset(probed(right, seed, probes).tolist()))
    known = {"quintain": __version__, "model": subject.file.model_hash, "data": data.hash, "proved": float(proved.sum()), "probes": probes}
    store = Pieces(pieces, {**known, **orders.told}) if pieces is not None else None
    label = f"attack {subject.name}"
    own = carried_out(orders, subject.model, data, right, proved, store=store, team=team, progress=progress, label=label)
    findings = together(team, own)
    books = kept_books(orders, findings, right, predicted < 0)
    fooled = list(books.images.values())[:pictures]
    unmet = [number for number in range(math.ceil(len(data) / size)) if number not in findings.whole]
    return AttackedModel(
        subject.name,
        subject.file.title,
        rows_of(orders, books, data, right),
        examples(data, predicted, np.zeros(len(data)), books.radius, books.failed),
        ball_of(sizes),
        gallery(folder, subject, data, fooled, sizes[-1]) if folder is not None and first and not findings.halted else (),
        breaks_of(books, proved, sizes[-1]),
        trust_of(orders, books, subject.model, data, right, transferred=transferred) if probes and first and not findings.halted else None,
        target,
        findings.halted,
        sum(int(right[number * size : (number + 1) * size].sum()) for number in unmet),
    )


def _proved(safe: PerExample | None, count: int) -> np.ndarray:
    """Proved radii by row; an example without an entry, or whose answer or proof failed, has none."""
    radii = np.zeros(count)
    for row, radius, failed in zip(safe.ids, safe.certified_radius, safe.invalid, strict=True) if safe else ():
        if row < count and not failed:
            radii[row] = radius
    return radii
