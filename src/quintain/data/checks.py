"""What to know about data before anything is believed that was measured on them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from quintain.core.errors import DataError
from quintain.data.dataset import READ_AT_ONCE, Dataset, canonical
from quintain.data.splits import Splits
from quintain.results.robustness_records import Finding

DIM = 2 / 255  # a largest value below this: uint8 over 255, twice
FLAT = 1 / 255  # a standard deviation below this: nothing to see
RARE = 0.1  # a class below this share of an equal one

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one pass over a data set saw.

    Args:
        low, high: Range of all values.
        deviations: Standard deviation of each sample, (N,).
        digests: Hash of each sample's content.
    """

    low: float
    high: float
    deviations: npt.NDArray[np.float64]
    digests: tuple[bytes, ...]


def check_data(splits: Splits) -> list[Finding]:
    """Look at value range, shape, labels, class balance, duplicates within and across parts, and near-constant samples.

    It reads each part once; what cannot be read is an error among the findings, and is not raised.

    Returns:
        Findings in a fixed order, the good ones included; level ``error`` where results would mean nothing, ``warning`` where
        they may mislead.
    """
    parts = splits.parts()
    if not parts:
        return [Finding("data", "error", f"{splits.name} has no parts; expected at least a test part")]
    findings = [Finding("data", "ok", f"{splits.name}: " + ", ".join(f"{name} {len(data):,}" for name, data in parts.items()))]
    seen: dict[str, Seen] = {}
    for name, data in parts.items():
        try:
            seen[name] = look(data)
        except DataError as error:
            findings.append(Finding(f"range {name}", "error", str(error)))
    findings += [_range(name, one) for name, one in seen.items()]
    findings += [_shape(parts), _classes(parts)]
    findings += [_balance(name, data) for name, data in parts.items()]
    findings += [_flat(name, one) for name, one in seen.items()]
    findings += [_within(name, one, parts[name]) for name, one in seen.items()]
    findings += list(_across(seen))
    return findings


def look(data: Dataset) -> Seen:
    """Read a data set once.

    Raises:
        DataError: At the first batch with a value outside [0, 1], or NaN.
    """
    low, high = np.inf, -np.inf
    deviations: list[npt.NDArray[np.float64]] = []
    digests: list[bytes] = []
    for x, _, _ in data.batches(READ_AT_ONCE):
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        deviations.append(x.flatten(1).double().std(1, correction=0).numpy())
        digests += [hashlib.blake2b(canonical(sample), digest_size=16).digest() for sample in x]
    return Seen(low, high, np.concatenate(deviations), tuple(digests))


def _range(name: str, seen: Seen) -> Finding:
    text = f"{name}: values from {seen.low:.4g} to {seen.high:.4g}"
    if seen.high < DIM:
        return Finding(f"range {name}", "warning", f"{text}, almost black; divided by 255 twice?")
    return Finding(f"range {name}", "ok", f"{text}, inside [0, 1]")


def _shape(parts: dict[str, Dataset]) -> Finding:
    shapes = {name: data.shape for name, data in parts.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        return Finding("shape", "error", f"the parts differ in shape: {listed}; expected one shape")
    return Finding("shape", "ok", f"every sample is {' x '.join(map(str, next(iter(shapes.values()))))}")


def _classes(parts: dict[str, Dataset]) -> Finding:
    counts = {data.classes for data in parts.values()}
    if len(counts) > 1:
        return Finding("labels", "error", f"the parts have {' and '.join(map(str, sorted(counts)))} classes; expected the same number")
    classes = counts.pop()
    absent = [
        f"{name} lacks {', '.join(data.class_names[c] for c in gone[:5])}{' ...' if len(gone) > 5 else ''}"
        for name, data in parts.items()
        if len(gone := np.setdiff1d(np.arange(classes), data.labels))
    ]
    if absent:
        return Finding("labels", "warning", f"classes without samples: {'; '.join(absent)}")
    return Finding("labels", "ok", f"{classes} classes, 0 .. {classes - 1}, each with samples in every part")


def _balance(name: str, data: Dataset) -> Finding:
    counts = np.bincount(data.labels, minlength=data.classes)
    most = int(counts.argmax())
    text = f"{name}: always answering {data.class_names[most]!r} is right on {counts[most] / len(data):.1%}"
    rare = int(((counts > 0) & (counts < RARE * len(data) / data.classes)).sum())
    if rare:
        return Finding(f"balance {name}", "warning", f"{text}; {rare} classes have under a tenth of an equal share: read balanced accuracy")
    level: Level = "note" if counts[most] > 1.2 * len(data) / data.classes else "ok"
    return Finding(f"balance {name}", level, text)


def _flat(name: str, seen: Seen) -> Finding:
    flat = np.flatnonzero(seen.deviations < FLAT)
    if len(flat):
        return Finding(f"constant {name}", "warning", f"{name}: {len(flat)} samples are nearly constant, such as number {flat[0]}")
    return Finding(f"constant {name}", "ok", f"{name}: no sample is nearly constant")


def _within(name: str, seen: Seen, data: Dataset) -> Finding:
    labels: dict[bytes, set[int]] = {}
    for digest, label in zip(seen.digests, data.labels.tolist(), strict=True):
        labels.setdefault(digest, set()).add(label)
    extra = len(seen.digests) - len(labels)
    torn = sum(len(given) > 1 for given in labels.values())
    if torn:
        return Finding(
            f"duplicates {name}", "warning", f"{name}: {torn} samples occur with different labels; no answer is right on all of them"
        )
    if extra:
        return Finding(f"duplicates {name}", "note", f"{name}: {extra} samples are exact copies of another")
    return Finding(f"duplicates {name}", "ok", f"{name}: no two samples are the same")


def _across(seen: dict[str, Seen]) -> Iterator[Finding]:
    for (one, first), (other, second) in combinations(seen.items(), 2):
        known = set(first.digests)
        shared = sum(digest in known for digest in second.digests)
        name = f"duplicates {one}/{other}"
        if shared:
            text = f"{shared} samples of {other} are also in {one}: what is measured on {other} flatters; remove them from one of the two"
            yield Finding(name, "warning", text)
        else:
            yield Finding(name, "ok", f"no sample is both in {one} and in {other}")
