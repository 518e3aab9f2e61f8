"""Decide a property of an ONNX net: attack, linear bounds, and parts of the box, within a time."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from quintain.core.errors import DataError, ModelError, SettingError
from quintain.models.onnx_net.net import OnnxNet
from quintain.models.onnx_net.reader import import_onnx
from quintain.models.onnx_net.same_outputs import require_same_outputs
from quintain.verify.boxes import SPLIT_INPUTS, OpenBox, refute_boxes, split_boxes, whole_boxes
from quintain.verify.branching import split_signs
from quintain.verify.counterexamples import Checker, Counterexample, ViolationSearch
from quintain.verify.parser import read_property
from quintain.verify.properties import Property, inward_box
from quintain.verify.prover import Prover, Rows
from quintain.verify.results import PropertyVerdict

FIRST_ATTACK = 0.2
"""Fraction of the time that the search for a counterexample may take before proofs begin."""

MIN_SECONDS = 0.05
"""How long is tried where the reading of the files took all of the time."""

COMPARED_BOXES = 8
"""Most boxes at whose ends and middles the imported net is held against its file."""

LAST_PROOF = 0.85
"""Fraction of it at which proofs end; the rest is for another search."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """A net and a property of it, read and held against each other.

    Args:
        name: The file's name.
        net: The net of the file.
        wanted: The property.
        checker: Decides which inputs violate it.
    """

    name: str
    net: OnnxNet
    wanted: Property
    checker: Checker

    @property
    def dtype(self) -> torch.dtype:
        """The type of the net."""
        return self.net.dtype

    @staticmethod
    def read(model: str | Path, prop: str | Path) -> "Instance":
        """Read an ONNX file and a property in VNN-LIB 1.0.

        Raises:
            NotFoundError: If a file is not there.
            ModelError: If the net is not imported (``import_onnx``), or answers otherwise than its file.
            DataError: If the property is not read (``read_property``), or of other dimensions than the net.
        """
        wanted, net, path = read_property(prop), import_onnx(model), Path(model).expanduser()
        with torch.no_grad():
            outputs = net(torch.zeros(1, *net.input_shape, dtype=net.dtype)).numel()
        inputs = torch.Size(net.input_shape).numel()
        if (wanted.num_inputs, wanted.num_outputs) != (inputs, outputs):
            raise DataError(
                f"{prop} is about {wanted.num_inputs} inputs and {wanted.num_outputs} outputs; expected "
                f"{inputs} and {outputs}, those of {path.name}"
            )
        if wanted.violations:
            require_same_outputs(net, path, _box_inputs(wanted, net.dtype).reshape(-1, *net.input_shape))
        return Instance(path.name, net, wanted, Checker.of(net, net.input_shape, path, wanted))


def _box_inputs(wanted: Property, dtype: torch.dtype) -> Tensor:
    """Return ends and middles of the first boxes that differ, as rows."""
    different = {(one.lower, one.upper): one for one in wanted.violations}
    boxes = [inward_box(one, dtype) for one in islice(different.values(), COMPARED_BOXES)]
    return torch.cat([torch.stack((low, (low + high) / 2, high)) for low, high in boxes]).to(dtype)


def verify_property(
    model: str | Path, prop: str | Path, *, seconds: float = 60.0, clock: Clock = time.monotonic
) -> PropertyVerdict:
    """Decide whether an input violates a property of an ONNX net.

    ``unsat`` is a proof for every input of the box, for the model that runs and in exact arithmetic, with all
    rounding charged; ``sat`` comes with an input of the box at which onnxruntime, torch and torch in float64
    all violate it, without tolerance; where neither is found it is ``unknown``. Outputs that only touch a row
    are neither: it is not proven, and that is no counterexample.

    Args:
        model: An ONNX file.
        prop: A property in VNN-LIB 1.0.
        seconds: How long to try, the reading of the files included.
        clock: Seconds.

    Raises:
        SettingError: If ``seconds`` is not positive.
        NotFoundError, ModelError, DataError: As of ``Instance.read``.
        ContradictionError: If an operation returns what its bounds exclude.
    """
    if not seconds > 0:
        raise SettingError(f"seconds = {seconds:g}; expected a number above 0")
    deadline = clock() + seconds
    instance = Instance.read(model, prop)
    return decide(instance, max(deadline - clock(), MIN_SECONDS), clock)


def decide(instance: Instance, seconds: float, clock: Clock = time.monotonic) -> PropertyVerdict:
    """Decide the property of an instance: see ``verify_property``."""
    started = clock()
    deadline = started + seconds

    def sat(found: Counterexample, how: str) -> PropertyVerdict:
        return PropertyVerdict("sat", found, how, clock() - started)

    def unsat(how: str) -> PropertyVerdict:
        return PropertyVerdict("unsat", None, how, clock() - started)

    if not instance.wanted.violations:
        return unsat("no input can be in any of its cases")
    search = ViolationSearch(instance.checker, instance.dtype)
    found = search.run(started + FIRST_ATTACK * seconds, clock=clock)
    if found is not None:
        return sat(found, "attack")
    try:
        prover = Prover.of(instance.net, instance.net.input_shape, instance.dtype)
        rows = all_rows(instance.wanted)
        whole = whole_boxes(instance.wanted.violations, instance.dtype)
        end = started + LAST_PROOF * seconds
        boxes = refute_boxes(prover, whole, rows, end, clock=clock)
    except ModelError as error:
        # a net that bounds do not cover can be violated all the same
        found = search.run(deadline, rounds=1000, clock=clock)
        if found is not None:
            return sat(found, "attack")
        return PropertyVerdict("unknown", None, f"not proven: {error}", clock() - started)
    if not boxes:
        return unsat("linear bounds")
    seen: list[Counterexample] = []

    def find_violation(points: Tensor, violation: int) -> Tensor | None:
        met = search.run_from(points, violation)
        seen.extend([met] if met is not None else [])
        return None if met is None else torch.from_numpy(met.x)

    split = split_boxes if instance.wanted.num_inputs <= SPLIT_INPUTS else split_signs
    boxes = split(prover, boxes, rows, end, find_violation=find_violation, clock=clock)
    if seen:
        return sat(seen[0], "a search of parts of the box")
    if not boxes:
        return unsat("linear bounds over parts of the box")
    found = search.run(deadline, rounds=1000, clock=clock)
    if found is not None:
        return sat(found, "attack")
    return PropertyVerdict("unknown", None, _open_text(instance, boxes), clock() - started)


def all_rows(wanted: Property) -> list[Rows]:
    """Return the rows of each violation as matrices."""
    return [Rows.of(one.rows, wanted.num_inputs, wanted.num_outputs) for one in wanted.violations]


def _open_text(instance: Instance, boxes: list[OpenBox]) -> str:
    """Say what is left open."""
    violations = {box.violation for box in boxes}
    low = min(box.bound for box in boxes)
    worst = f"the worst by {low:.3g}" if low > -math.inf else "some not bounded for want of time or numbers,"
    cases = f"{len(violations)} of {len(instance.wanted.violations)} cases are open"
    text = f"{cases}, {worst} in {len(boxes)} parts"
    for number in violations:
        ends = inward_box(instance.wanted.violations[number], instance.dtype)
        if bool((ends[0] > ends[1]).any()):
            at = int((ends[0] > ends[1]).nonzero()[0])
            return f"{text}; no number of {instance.dtype} lies between the ends of X_{at}"
    return text
