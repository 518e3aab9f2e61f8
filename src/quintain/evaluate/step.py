"""The output of one step of an evaluation, and how it becomes a record."""

import datetime
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import torch

from quintain.core.errors import ContradictionError, MechanismError
from quintain.models.memory import memory_log
from quintain.results.gate import contradictions, mechanism_mismatches
from quintain.results.quantity import Basis, Metric
from quintain.results.records import (
    SCHEMA,
    Claim,
    NamedHash,
    NotDone,
    PackageVersion,
    Provenance,
    Record,
    SizeCut,
    StepResult,
)

_PACKAGES = ("quintain", "torch", "numpy", "scipy", "dp-accounting", "cryptography")


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The results of one step, not yet stored.

    Args:
        result: The step's own results.
        claims: Brackets that it establishes.
        notes: What the reader must know to trust it.
        reproducible: False where noise came from the operating system.
        not_done: Parts that could not be done.
        cuts: What of its work was cut for time.
    """

    result: StepResult
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    reproducible: bool = True
    not_done: tuple[NotDone, ...] = ()
    cuts: tuple[SizeCut, ...] = ()

    def with_notes(self, notes: Iterable[str]) -> "StepOutput":
        """Return the output with further notes before its own."""
        return replace(self, notes=(*notes, *self.notes))


def record_step(
    make: Callable[[], StepOutput], *, command: str, seed: int, data: tuple[str, str], device: str = "cpu"
) -> Record:
    """Run a step and return its record, with how it came about.

    Args:
        make: The step.
        command: The command line.
        seed: The seed of every draw that is not private.
        data: Name and hash of the data set.
        device: Where the model computes, as ``describe_device`` names it.
    """
    started = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    clock = time.perf_counter()
    with memory_log() as memory:
        output = make()
    provenance = Provenance(
        command=command,
        seed=seed,
        data=NamedHash(*data),
        models=_models(output.claims),
        started=started.isoformat(),
        seconds=time.perf_counter() - clock,
        versions=_versions(),
        device=device,
        dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        threads=torch.get_num_threads(),
        platform=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        reproducible=output.reproducible,
    )
    return Record(
        schema=SCHEMA,
        provenance=provenance,
        claims=output.claims,
        result=output.result,
        notes=(*output.notes, *memory.notes),
        not_done=output.not_done,
        cuts=output.cuts,
    )


def raise_if_unsound(record: Record, comparisons: int | None = None) -> None:
    """Raise if a mechanism is not what it claims, or if the two bounds of a claim cross.

    The record is stored before.

    Args:
        record: Of one step.
        comparisons: How many brackets the run has, where it is more than this record's.

    Raises:
        MechanismError: If noise, sampling or sensitivity were measured to differ from the plan.
        ContradictionError: If chance cannot explain a crossing.
    """
    failed = [test.message for test in mechanism_mismatches([record.result])]
    crossed = contradictions(record.claims, comparisons=comparisons or len(record.claims))
    sentence = "; ".join(map(_crossing_text, crossed))
    if failed:
        also = f" The two sides of the claim cross as well: {sentence}." if crossed else ""
        raise MechanismError(
            "; ".join(failed) + f"; the accounted epsilon is void until this is found.{also}"
        )
    claimed = [claim for claim in crossed if claim.bracket.upper.basis is Basis.CLAIMED]
    if crossed and claimed == list(crossed):
        raise ContradictionError(
            f"the claim is contradicted: {sentence}. The code that was audited is less private than it is "
            "claimed to be: look at its noise, clipping, sampling and accounting"
        )
    if crossed:
        raise ContradictionError(
            f"a lower bound lies above the upper bound of the same quantity: {sentence}. "
            "One of the two methods is wrong: the evidence is in the run folder, please report it"
        )


def _crossing_text(claim: Claim) -> str:
    """Return the two bounds of a claim that contradict each other, in words."""
    both = f"{claim.name}: {claim.bracket.lower.value:.4g} > {claim.bracket.upper.value:.4g}"
    if claim.bracket.upper.basis is Basis.CLAIMED:
        return f"{both} (measured above what is claimed, by more than chance explains)"
    if claim.bracket.quantity.metric is Metric.EPSILON:
        return (
            f"{both} (the audit shows more than the accountant allows, each time that it was repeated with "
            "fresh coins)"
        )
    if claim.bracket.quantity.metric.is_leak:
        return f"{both} (an attack finds out more than the claimed epsilon allows)"
    return f"{both} ({claim.bracket.num_contradictory} examples both certified and broken)"


def _models(claims: tuple[Claim, ...]) -> tuple[NamedHash, ...]:
    """Return each model that a claim is about; the subject of an epsilon is a mechanism and no model."""
    quantities = {
        claim.model: claim.bracket.quantity
        for claim in claims
        if claim.bracket.quantity.metric is not Metric.EPSILON
    }
    return tuple(NamedHash(name, quantity.subject_hash) for name, quantity in quantities.items())


def _versions() -> tuple[PackageVersion, ...]:
    found = []
    for package in _PACKAGES:
        try:
            found.append(PackageVersion(package, version(package)))
        except PackageNotFoundError:
            found.append(PackageVersion(package, "not installed"))
    return tuple(found)
