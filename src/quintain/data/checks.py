"""Checks of a data set before anything is measured on it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from quintain.core.errors import DataError
from quintain.data.dataset import READ_BATCH_SIZE, Dataset, canonical_bytes
from quintain.data.splits import Splits
from quintain.results.robustness_records import Finding

BLACK_BELOW = 2 / 255  # a largest value below this: uint8 over 255, twice
CONSTANT_BELOW = 1 / 255  # a standard deviation below this: nothing to see
RARE_BELOW = 0.1  # a class with fewer samples than this fraction of an equal share

Level = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class DataScan:
    """Statistics of one pass over a data set.

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
    """Check value range, shape, labels, class balance, duplicates, and near-constant samples.

    Each split is read once, and duplicates are looked for within and across splits. What cannot be read is an
    error among the findings, and is not raised.

    Returns:
        Findings in a fixed order, the good ones included; level ``error`` where results would mean nothing,
        ``warning`` where they may mislead.
    """
    by_name = splits.as_dict()
    if not by_name:
        return [Finding("data", "error", f"{splits.name} has no splits; expected at least a test split")]
    findings = [
        Finding(
            "data",
            "ok",
            f"{splits.name}: " + ", ".join(f"{name} {len(data):,}" for name, data in by_name.items()),
        )
    ]
    scans: dict[str, DataScan] = {}
    for name, data in by_name.items():
        try:
            scans[name] = scan(data)
        except DataError as error:
            findings.append(Finding(f"range {name}", "error", str(error)))
    findings += [_range(name, one) for name, one in scans.items()]
    findings += [_shape(by_name), _classes(by_name)]
    findings += [_balance(name, data) for name, data in by_name.items()]
    findings += [_near_constant(name, one) for name, one in scans.items()]
    findings += [_duplicates_within(name, one, by_name[name]) for name, one in scans.items()]
    findings += list(_duplicates_across(scans))
    return findings


def scan(data: Dataset) -> DataScan:
    """Read a data set once, and return its statistics.

    Raises:
        DataError: At the first batch with a value outside [0, 1], or NaN.
    """
    low, high = np.inf, -np.inf
    deviations: list[npt.NDArray[np.float64]] = []
    digests: list[bytes] = []
    for x, _, _ in data.batches(READ_BATCH_SIZE):
        low, high = min(low, float(x.min())), max(high, float(x.max()))
        deviations.append(x.flatten(1).double().std(1, correction=0).numpy())
        digests += [hashlib.blake2b(canonical_bytes(sample), digest_size=16).digest() for sample in x]
    return DataScan(low, high, np.concatenate(deviations), tuple(digests))


def _range(name: str, found: DataScan) -> Finding:
    text = f"{name}: values from {found.low:.4g} to {found.high:.4g}"
    if found.high < BLACK_BELOW:
        return Finding(f"range {name}", "warning", f"{text}, almost black; divided by 255 twice?")
    return Finding(f"range {name}", "ok", f"{text}, inside [0, 1]")


def _shape(splits: dict[str, Dataset]) -> Finding:
    shapes = {name: data.shape for name, data in splits.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        return Finding("shape", "error", f"the splits differ in shape: {listed}; expected one shape")
    return Finding("shape", "ok", f"every sample is {' x '.join(map(str, next(iter(shapes.values()))))}")


def _classes(splits: dict[str, Dataset]) -> Finding:
    counts = {data.num_classes for data in splits.values()}
    if len(counts) > 1:
        return Finding(
            "labels",
            "error",
            f"the splits have {' and '.join(map(str, sorted(counts)))} classes; expected the same number",
        )
    classes = counts.pop()
    absent = [
        f"{name} lacks {', '.join(data.class_names[c] for c in gone[:5])}{' ...' if len(gone) > 5 else ''}"
        for name, data in splits.items()
        if len(gone := np.setdiff1d(np.arange(classes), data.labels))
    ]
    if absent:
        from_one = min(int(data.labels.min()) for data in splits.values()) == 1
        hint = "; labels start at 1: subtract 1" if from_one else ""
        return Finding("labels", "warning", f"classes without samples: {'; '.join(absent)}{hint}")
    return Finding("labels", "ok", f"{classes} classes, 0 .. {classes - 1}, each with samples in every split")


def _balance(name: str, data: Dataset) -> Finding:
    counts = np.bincount(data.labels, minlength=data.num_classes)
    most = int(counts.argmax())
    text = f"{name}: always answering {data.class_names[most]!r} is right on {counts[most] / len(data):.1%}"
    rare = int(((counts > 0) & (counts < RARE_BELOW * len(data) / data.num_classes)).sum())
    if rare:
        return Finding(
            f"balance {name}",
            "warning",
            f"{text}; {rare} class{' has' if rare == 1 else 'es have'} under a tenth of an equal share: read "
            "balanced accuracy",
        )
    level: Level = "note" if counts[most] > 1.2 * len(data) / data.num_classes else "ok"
    return Finding(f"balance {name}", level, text)


def _near_constant(name: str, found: DataScan) -> Finding:
    flat = np.flatnonzero(found.deviations < CONSTANT_BELOW)
    if len(flat):
        return Finding(
            f"constant {name}",
            "warning",
            f"{name}: {len(flat)} samples are nearly constant, such as number {flat[0]}",
        )
    return Finding(f"constant {name}", "ok", f"{name}: no sample is nearly constant")


def _duplicates_within(name: str, found: DataScan, data: Dataset) -> Finding:
    labels: dict[bytes, set[int]] = {}
    for digest, label in zip(found.digests, data.labels.tolist(), strict=True):
        labels.setdefault(digest, set()).add(label)
    extra = len(found.digests) - len(labels)
    conflicting = sum(len(given) > 1 for given in labels.values())
    if conflicting:
        return Finding(
            f"duplicates {name}",
            "warning",
            f"{name}: {conflicting} samples occur with different labels; no answer is right on all of them",
        )
    if extra:
        return Finding(f"duplicates {name}", "note", f"{name}: {extra} samples are exact copies of another")
    return Finding(f"duplicates {name}", "ok", f"{name}: no two samples are the same")


def _duplicates_across(scans: dict[str, DataScan]) -> Iterator[Finding]:
    for (one, first), (other, second) in combinations(scans.items(), 2):
        known = set(first.digests)
        shared = sum(digest in known for digest in second.digests)
        name = f"duplicates {one}/{other}"
        if shared:
            text = (
                f"{shared} samples of {other} are also in {one}: what is measured on {other} flatters; "
                "remove them from one of the two"
            )
            yield Finding(name, "warning", text)
        else:
            yield Finding(name, "ok", f"no sample is both in {one} and in {other}")
