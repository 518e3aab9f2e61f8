"""A referee of other verifiers: holds what they claim about a property from both sides."""

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from quintain.core.errors import DataError, NotFoundError, QuintainError
from quintain.verify.counterexamples import Counterexample
from quintain.verify.properties import Array, inward_box
from quintain.verify.results import ClaimedResult, PropertyVerdict, read_result
from quintain.verify.verifier import Clock, Instance, decide

Decision = Literal["CONFIRMED", "REFUTED", "UNDECIDED"]

INSTANCES_FILE = "instances.csv"
COLUMNS = ("model", "property", "result")


@dataclass(frozen=True, slots=True, eq=False)
class Ruling:
    """What a referee says about a claimed result.

    Args:
        claimed: The answer that was claimed.
        decision: CONFIRMED where the opposite is excluded by a proof or a counterexample that holds; REFUTED
            where the opposite is shown; UNDECIDED.
        reason: Why, in words.
        counterexample: The one that holds: theirs, or one that was found here.
    """

    claimed: str
    decision: Decision
    reason: str
    counterexample: Counterexample | None = None


def referee(
    model: str | Path,
    prop: str | Path,
    result: str | Path,
    counterexample: str | Path | None = None,
    *,
    seconds: float = 60.0,
    clock: Clock = time.monotonic,
) -> Ruling:
    """Hold another verifier's result about a property from both sides.

    A ``sat`` is replayed: its input has to lie in the box, in numbers of the model's type, and to violate the
    property in onnxruntime, in torch and in float64, all without tolerance. An ``unsat`` is attacked, and
    proven anew where bounds reach. Where a counterexample does not hold the claim itself may: it is decided,
    too.

    Args:
        model: An ONNX file.
        prop: A property in VNN-LIB 1.0.
        result: The file of the result, or the answer itself, such as ``unsat``.
        counterexample: The file of the counterexample, where it is another one.
        seconds: How long to try.
        clock: Seconds.

    Raises:
        NotFoundError, ModelError, DataError: As of ``verify_property`` and ``read_result``.
    """
    instance, claimed = Instance.read(model, prop), read_result(result, counterexample)
    if claimed.answer == "unknown":
        return Ruling("unknown", "UNDECIDED", "it claims nothing")
    about = ""
    if claimed.answer == "sat":
        found, why = replay(instance, claimed)
        if found is not None:
            return Ruling("sat", "CONFIRMED", why, found)
        is_given = claimed.inputs or claimed.problem
        about = f"its counterexample does not hold: {why}; " if is_given else "without a counterexample; "
    return _compare_verdicts(claimed.answer, about, decide(instance, seconds, clock))


def _compare_verdicts(claimed: str, about: str, own: PropertyVerdict) -> Ruling:
    """Return the ruling on a claim by our own verdict."""
    if own.answer == "unknown":
        return Ruling(
            claimed,
            "UNDECIDED",
            f"{about}neither a proof nor a counterexample was found: {own.how}",
        )
    reason = (
        f"a counterexample was found by {own.how}"
        if own.answer == "sat"
        else f"that no input violates it is proven by {own.how}"
    )
    decision: Decision = "CONFIRMED" if own.answer == claimed else "REFUTED"
    return Ruling(claimed, decision, f"{about}{reason}", own.counterexample)


def replay(instance: Instance, claimed: ClaimedResult) -> tuple[Counterexample | None, str]:
    """Replay a counterexample without tolerance.

    Returns:
        The counterexample if it holds, and what was seen.
    """
    wanted = instance.wanted
    if claimed.problem:
        return None, claimed.problem
    if not claimed.inputs:
        return None, "there is none"
    expected = list(range(wanted.num_inputs))
    if sorted(claimed.inputs) != expected:
        others = sorted(set(claimed.inputs) ^ set(expected))
        return None, f"it has {len(claimed.inputs)} inputs, expected {wanted.num_inputs} (X_{others[0]})"
    kind = np.float64 if instance.dtype == torch.float64 else np.float32
    with np.errstate(over="ignore"):
        x = np.array([_number(claimed.inputs[at]) for at in expected]).astype(kind)
    why = instance.checker.reason_against(x)
    if not why:
        found = instance.checker.as_counterexample(x)
        return found, f"its counterexample holds in {found.runtime if found else 'torch'}, torch and float64"
    inner = _clamp_to_box(instance, x)
    if inner is not None:
        found = instance.checker.as_counterexample(inner)
        if found is not None:
            return found, f"{why}; the nearest input of the box violates it, in every runtime"
    return None, why


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")


def _clamp_to_box(instance: Instance, x: Array) -> Array | None:
    """Return the input clipped to the first box that is not empty; None if that does not change it."""
    for violation in instance.wanted.violations:
        low, high = (end.numpy().astype(x.dtype) for end in inward_box(violation, instance.dtype))
        if bool((low <= high).all()) and np.isfinite(x).all():
            inner = np.clip(x, low, high)
            return inner if not np.array_equal(inner, x) else None
    return None


@dataclass(frozen=True, slots=True)
class RefereedInstance:
    """A line of a folder's table.

    Args:
        model, prop: Names of the files.
        ruling: What was ruled; a file that could not be read is UNDECIDED, with the reason.
    """

    model: str
    prop: str
    ruling: Ruling


def referee_folder(
    folder: str | Path, *, seconds: float = 60.0, clock: Clock = time.monotonic
) -> list[RefereedInstance]:
    """Rule on each instance of a folder.

    Its ``instances.csv`` has the columns model, property and result, and may have counterexample; files are
    named relative to the folder.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it lacks a column, or is no text in UTF-8.
    """
    place = Path(folder).expanduser() / INSTANCES_FILE
    if not place.is_file():
        raise NotFoundError(f"there is no file {place}; expected a table with {', '.join(COLUMNS)}")
    try:
        text = place.read_bytes().decode("utf-8-sig")  # a spreadsheet writes a byte-order mark
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is no text in UTF-8: {error}; expected a table in it") from error
    # what a short line lacks is empty
    lines = list(csv.DictReader(io.StringIO(text, newline=""), restval=""))
    missing = [name for name in COLUMNS if lines and name not in lines[0]]
    if missing or not lines:
        lacks = f"no column {missing[0]}" if missing else "no lines"
        raise DataError(f"{place} has {lacks}; expected {', '.join(COLUMNS)}")
    found = []
    for line in lines:
        model, prop, result = (place.parent / line[name] for name in COLUMNS)
        given = result if result.is_file() else line["result"]
        beside = line.get("counterexample")
        try:
            ruling = referee(
                model, prop, given, place.parent / beside if beside else None, seconds=seconds, clock=clock
            )
        except QuintainError as error:
            ruling = Ruling(line["result"], "UNDECIDED", str(error))
        found.append(RefereedInstance(line["model"], line["property"], ruling))
    return found
