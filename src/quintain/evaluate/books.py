"""What all pieces say together: of each attack at each size, and of each example."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import from_numpy

from quintain.data.dataset import Dataset
from quintain.evaluate.campaign import Findings, Orders
from quintain.evaluate.gallery import Fooled
from quintain.evaluate.pieces import Piece
from quintain.evaluate.subject import tally
from quintain.results.robustness_records import AttackRow, BreakLog
from quintain.threats.threat import Threat

POINTS = 24
"""At most so many points of a curve of accuracy against queries."""


@dataclass(slots=True)
class Column:
    """What one attack did to each of N examples.

    Args:
        first: The index of the smallest size at which it broke the example; beyond the last where it did not.
        found: Its questions up to that break.
        by: The member that broke it.
        price: (forwards, backwards, seconds) at each size.
    """

    first: np.ndarray
    found: np.ndarray
    by: list[str]
    price: dict[str, tuple[int, int, float]] = field(default_factory=dict)


@dataclass(slots=True)
class Books:
    """What all attacks did to each of N examples.

    Args:
        columns: By attack.
        radius: The smallest change that broke it; 0 where it is wrong as it is.
        failed: Whether the model gave no number.
        by: The first attack that broke it.
        found: That attack's questions.
        forwards, backwards: Of all attacks, bisection included.
        images: The kept ones, in the order in which they were broken.
    """

    columns: dict[str, Column]
    radius: np.ndarray
    failed: np.ndarray
    by: list[str]
    found: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray
    images: dict[int, Fooled] = field(default_factory=dict)


def kept_books(orders: Orders, findings: Findings, right: np.ndarray, failed: np.ndarray) -> Books:
    """The books of N examples, from pieces in the order of batches, attacks and sizes.

    Args:
        orders: What was asked.
        findings: The pieces.
        right: Which examples are answered rightly (N,).
        failed: Which gave no number as they are (N,).
    """
    count, sizes = len(right), orders.sizes
    columns = {name: Column(np.full(count, len(sizes)), np.zeros(count, np.int64), [""] * count) for name in orders.attacks}
    by = ["" if fine or none else "unchanged" for fine, none in zip(right, failed, strict=True)]
    zeros = np.zeros(count, np.int64)
    books = Books(columns, np.where(right, math.inf, 0.0), failed.copy(), by, zeros.copy(), zeros.copy(), zeros.copy())
    order = {(name, threat.spec): place for name in orders.attacks for place, threat in enumerate(sizes)}
    names = list(orders.attacks)
    for place in sorted(findings.pieces, key=lambda one: (one.batch, names.index(one.attack), order[one.attack, one.threat])):
        _enter(books, place.attack, place.threat, sizes, findings.pieces[place])
    return books


def rows_of(orders: Orders, books: Books, data: Dataset, right: np.ndarray) -> tuple[AttackRow, ...]:
    """Size by size and attack by attack."""
    table = []
    for place, threat in enumerate(orders.sizes):
        for name, column in books.columns.items():
            fallen = right & (column.first <= place) & ~books.failed
            standing = (right & ~fallen) | books.failed
            forwards, backwards, seconds = column.price.get(threat.spec, (0, 0, 0.0))
            curve = against_queries(column.found[fallen], int(fallen.sum() + standing.sum()))
            table.append(
                AttackRow(
                    name,
                    threat.spec,
                    tally(standing, data.labels, data.classes),
                    forwards / len(data),
                    backwards / len(data),
                    seconds,
                    threat.eps,
                    int(fallen.sum()),
                    curve,
                )
            )
    return tuple(table)


def breaks_of(books: Books, safe: np.ndarray, largest: Threat) -> BreakLog:
    """How each example fell."""
    proved = (safe >= largest.eps) & (safe > 0)
    return BreakLog(
        tuple(books.by),
        tuple(books.found.tolist()),
        tuple(books.forwards.tolist()),
        tuple(books.backwards.tolist()),
        tuple(proved.tolist()),
    )


def against_queries(found: Sequence[int] | np.ndarray, start: int) -> tuple[tuple[int, int], ...]:
    """(questions, examples left) pairs, from the questions that each break took and how many stood at first."""
    ordered = np.sort(np.asarray(found, dtype=np.int64))
    if not len(ordered):
        return ((0, start),)
    steps = np.unique(ordered)
    if len(steps) > POINTS:
        steps = np.unique(np.ceil(np.geomspace(max(steps[0], 1), steps[-1], POINTS)).astype(np.int64))
    left = start - np.searchsorted(ordered, steps, side="right")
    return ((0, start), *zip(steps.tolist(), left.tolist(), strict=True))


def _enter(books: Books, name: str, token: str, sizes: Sequence[Threat], piece: Piece) -> None:
    """A smallest change is entered at the smallest size that holds it: one run answers for every size."""
    column = books.columns[name]
    forwards, backwards, seconds = column.price.get(token, (0, 0, 0.0))
    column.price[token] = (forwards + int(piece.forwards.sum()), backwards + int(piece.backwards.sum()), seconds + float(piece.seconds))
    rows = piece.rows
    books.failed[rows] |= piece.failed
    books.forwards[rows] += piece.forwards + piece.extra
    books.backwards[rows] += piece.backwards
    hit = rows[piece.broken]
    eps = np.array([threat.eps for threat in sizes])
    column.first[hit] = np.searchsorted(eps, piece.size[piece.broken])
    column.found[hit] = piece.found[piece.broken]
    books.radius[hit] = np.minimum(books.radius[hit], piece.radius[piece.broken])
    for row, member, asked in zip(hit.tolist(), piece.by[piece.broken].tolist(), piece.found[piece.broken].tolist(), strict=True):
        column.by[row] = member
        if not books.by[row]:
            books.by[row] = name if member in ("", "unchanged", name) else f"{name}: {member}"
            books.found[row] = asked
    size = dict(zip(rows.tolist(), piece.size.tolist(), strict=True))
    for row, image in zip(piece.kept.tolist(), piece.images, strict=True):
        books.images.setdefault(row, Fooled(row, from_numpy(image), size[row]))
