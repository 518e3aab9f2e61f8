"""Inputs that violate a property: found by gradients, counted only where the file and float64 agree."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from quintain.certify.descent import descend
from quintain.models.onnx_net.session import onnxruntime_function
from quintain.verify.properties import Array, Property, Violation, inward_box
from quintain.verify.prover import FlatOutputs, Rows

RESTARTS = 16
"""Points of a box from which a search begins: its middle, its two ends, and random ones."""

TOGETHER = 32
"""Violations of one box that are searched for at once."""

STEPS = 60
"""Gradient steps from each; the step falls from a quarter of the box to a hundredth of it."""

Ends = tuple[Fraction, ...]

STEPS_FROM_POINTS = 5
"""Steps from a point near a part that bounds leave open."""


@dataclass(frozen=True, slots=True, eq=False)
class Counterexample:
    """An input of the box whose outputs violate the property.

    Args:
        x: The input (n,), in the type of the model.
        y: What it returns (m,): onnxruntime, where it is installed, else torch.
        runtime: Which one of the two.
    """

    x: Array
    y: Array
    runtime: str


@dataclass(frozen=True, slots=True, eq=False)
class Checker:
    """Tells whether an input violates a property, without any tolerance.

    It does where it lies in the box of a violation as written, and all rows hold strictly for the outputs of
    onnxruntime on the original file, of the net in torch, and of the net in float64: what only rounding
    decides is no counterexample.

    Args:
        net: From rows of inputs to rows of outputs, in the model's type.
        exact: The same in float64.
        run: onnxruntime; None where it is not installed.
        shape: Of one input.
        wanted: The property.
    """

    net: nn.Module
    exact: nn.Module
    run: Callable[[Array], Array] | None
    shape: tuple[int, ...]
    wanted: Property

    @staticmethod
    def of(net: nn.Module, shape: tuple[int, ...], path: Path, wanted: Property) -> "Checker":
        """Return the checker of a file's net."""
        flat = FlatOutputs(net, shape).eval()
        return Checker(flat, copy.deepcopy(flat).double(), onnxruntime_function(path), shape, wanted)

    def outputs(self, x: Array) -> dict[str, Array]:
        """Return what each runtime answers to one input (n,), by its name."""
        with torch.no_grad():
            given = torch.from_numpy(x[None])
            found = {
                "torch": self.net(given)[0].numpy(),
                "torch in float64": self.exact(given.double())[0].numpy(),
            }
        if self.run is not None:
            found["onnxruntime"] = self.run(x.reshape(1, *self.shape))[0]
        return found

    def as_counterexample(self, x: Array) -> Counterexample | None:
        """Return an input (n,) as a counterexample; None if it is not one."""
        return None if self.reason_against(x) else self._to_counterexample(x)

    def reason_against(self, x: Array) -> str:
        """Say why an input (n,) in the model's type is no counterexample; empty if it is one."""
        inside = [one for one in self.wanted.violations if is_inside(x, one)]
        if not inside:
            return outside_text(x, self.wanted)
        answers = self.outputs(x)
        missing = {name: _best_miss(x, y, inside) for name, y in answers.items()}
        kept = [one for one in inside if all(_holds(x, y, one) for y in answers.values())]
        if kept:
            return ""
        name = max(missing, key=lambda one: missing[one])
        return f"in {name} its outputs miss the violation by {float(missing[name]):.3g}"

    def _to_counterexample(self, x: Array) -> Counterexample:
        answers = self.outputs(x)
        runtime = "onnxruntime" if "onnxruntime" in answers else "torch"
        return Counterexample(x, answers[runtime], runtime)


def is_inside(x: Array, violation: Violation) -> bool:
    """Tell whether an input lies in the box as written, exactly."""
    values = [Fraction(float(value)) for value in x] if np.isfinite(x).all() else []
    return len(values) == len(violation.lower) and all(
        low <= value <= high
        for low, value, high in zip(violation.lower, values, violation.upper, strict=True)
    )


def outside_text(x: Array, wanted: Property) -> str:
    """Say which input lies outside of the box of the first violation, and by how much."""
    if not wanted.violations:
        return "the property has no input that could violate it"
    first = wanted.violations[0]
    for at, (low, value, high) in enumerate(zip(first.lower, x.tolist(), first.upper, strict=True)):
        if not np.isfinite(value) or not low <= Fraction(value) <= high:
            return f"X_{at} = {value!r} lies outside of its box, {float(low):.9g} to {float(high):.9g}"
    return "it lies in no box of the property"


def _holds(x: Array, y: Array, violation: Violation) -> bool:
    """Tell whether all rows hold, those with outputs strictly."""
    return bool(np.isfinite(y).all()) and all(
        row.excess(x, y) < 0 or (not row.outputs and not row.strict and row.excess(x, y) == 0)
        for row in violation.rows
    )


def _best_miss(x: Array, y: Array, violations: list[Violation]) -> Fraction:
    if not np.isfinite(y).all():
        return Fraction(10**30)
    return min(max((row.excess(x, y) for row in one.rows), default=Fraction(0)) for one in violations)


class _Targets(NamedTuple):
    """What points are moved towards.

    Args:
        rows: Of all violations (R,).
        others: Which rows are of another violation than a point's (N, R).
    """

    rows: Rows
    others: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ViolationSearch:
    """A search by gradients for inputs that violate a property.

    Args:
        checker: Decides what counts.
        dtype: Of the model.
        generator: Of random starts.
    """

    checker: Checker
    dtype: torch.dtype
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def run(
        self, deadline: float, *, rounds: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> Counterexample | None:
        """Search in the box of each violation, so many rounds or until the time is up.

        Violations of one box are searched for together.
        """
        groups: dict[tuple[Ends, Ends], list[Violation]] = {}
        for one in self.checker.wanted.violations:
            groups.setdefault((one.lower, one.upper), []).append(one)
        parts = [
            group[first : first + TOGETHER]
            for group in groups.values()
            for first in range(0, len(group), TOGETHER)
        ]
        for _ in range(rounds):
            for part in parts:
                if clock() >= deadline:
                    return None
                found = self._search(part, deadline, clock)
                if found is not None:
                    return found
        return None

    def run_from(self, points: Tensor, violation: int) -> Counterexample | None:
        """Search from points (N, n), moved into a violation's box, by a few steps."""
        one = self.checker.wanted.violations[violation]
        low, high = (end.to(self.dtype) for end in inward_box(one, self.dtype))
        if not bool((low <= high).all()):
            return None
        begin = torch.minimum(torch.maximum(points.to(self.dtype), low), high)
        return self._descend(
            begin, self._targets([one], len(begin)), (low, high), STEPS_FROM_POINTS, lambda: False
        )

    def _targets(self, violations: Sequence[Violation], count: int) -> _Targets:
        """Return what so many points for each violation are moved towards."""
        wanted = self.checker.wanted
        rows = Rows.of([row for one in violations for row in one.rows], wanted.num_inputs, wanted.num_outputs)
        counts = torch.tensor([len(one.rows) for one in violations])
        numbers = torch.arange(len(violations))
        others = numbers.repeat_interleave(counts)[None] != numbers.repeat_interleave(count)[:, None]
        return _Targets(rows, others)

    def _excess(self, x: Tensor, targets: _Targets) -> Tensor:
        """Return the largest excess of a row at each point (N,): below 0 where its violation holds."""
        y, rows = self.checker.net(x), targets.rows
        left = y @ rows.outputs.to(y.dtype).T + x @ rows.inputs.to(y.dtype).T - rows.bounds.to(y.dtype)
        # a violation without rows holds in all of its box
        return torch.cat([left.masked_fill(targets.others, -1.0e30), y[:, :1] * 0 - 1.0e30], 1).amax(1)

    def _first(self, x: Tensor, excess: Tensor) -> Counterexample | None:
        for row in (excess < 0).nonzero().squeeze(1).tolist():
            found = self.checker.as_counterexample(x[row].numpy())
            if found is not None:
                return found
        return None

    def _search(
        self, violations: Sequence[Violation], deadline: float, clock: Callable[[], float]
    ) -> Counterexample | None:
        """Search in the box of some violations from its middle, its ends, corners and random points."""
        low, high = (end.to(self.dtype) for end in inward_box(violations[0], self.dtype))
        if not bool((low <= high).all()):
            return None
        draws = torch.rand(len(violations), RESTARTS, len(low), generator=self.generator, dtype=self.dtype)
        draws[:, :3] = torch.tensor([0.5, 0.0, 1.0], dtype=self.dtype)[:, None]
        draws[:, 3 : RESTARTS // 2] = draws[:, 3 : RESTARTS // 2].round()
        begin = torch.minimum(torch.maximum(low + draws.flatten(0, 1) * (high - low), low), high)
        targets = self._targets(violations, RESTARTS)
        return self._descend(begin, targets, (low, high), STEPS, lambda: clock() >= deadline)

    def _descend(
        self,
        begin: Tensor,
        targets: _Targets,
        box: tuple[Tensor, Tensor],
        steps: int,
        is_over: Callable[[], bool],
    ) -> Counterexample | None:
        """Take steps against the gradient of the largest excess of a row, from points (N, n) of a box."""
        low, high = box

        def move(x: Tensor, gradient: Tensor, step: int) -> Tensor:
            size = 0.25 * 0.01 ** (step / steps) * (high - low)
            return torch.minimum(torch.maximum(x - size * gradient.sign(), low), high)

        return descend(begin, lambda x: self._excess(x, targets), move, self._first, steps, is_over)
