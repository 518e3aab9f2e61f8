"""The records of a run, looked up by what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from quintain.core.registry import entries
from quintain.core.threat_specs import threat_name, threat_type
from quintain.report import format as fmt
from quintain.results.artifacts import ModelFile
from quintain.results.bounds import Consistency
from quintain.results.privacy_records import AuditResult, FederateResult, MechanismTest, PrivatizeResult
from quintain.results.quantity import Basis, Metric, Quantity
from quintain.results.records import Claim, DrillResult, NamedHash, Record, RequirementResult
from quintain.results.robustness_records import (
    AttackedModel,
    AttackResult,
    CertifiedModel,
    CertifyResult,
    CheckResult,
    HardenResult,
    TrainingRun,
    TrainResult,
)

B = TypeVar("B")

_METRICS = (Metric.ROBUST_ACCURACY, Metric.EPSILON, Metric.CLEAN_ACCURACY)
"""In the order of their cards."""


@dataclass(frozen=True, slots=True)
class RunResults:
    """The results of a run folder, whichever of its steps are there.

    Args:
        records: In the order of their steps.
        folder: The run folder, where the pictures lie that the records name.
    """

    records: tuple[Record, ...]
    folder: Path = Path()

    @classmethod
    def of(cls, records: Sequence[Record], folder: Path = Path()) -> "RunResults":
        """Return the run that these records make up."""
        return cls(tuple(records), folder)

    @property
    def data(self) -> NamedHash:
        """The data set of the run; without a name where no record names one."""
        every = (record.provenance.data for record in self.records)
        return next((data for data in every if data.name), NamedHash("", ""))

    def results_of(self, kind: type[B]) -> tuple[B, ...]:
        """The results of one kind of step."""
        return tuple(record.result for record in self.records if isinstance(record.result, kind))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Every claim; of two with one name the later."""
        return tuple({claim.name: claim for record in self.records for claim in record.claims}.values())

    @property
    def inconsistencies(self) -> tuple[tuple[Claim, Consistency], ...]:
        """Claims whose two bounds cross, among all comparisons of the run."""
        every = {(claim.name, claim.bracket): claim for record in self.records for claim in record.claims}
        states = ((claim, claim.bracket.consistency_among(len(every))) for claim in every.values())
        return tuple((claim, status) for claim, status in states if status is not Consistency.CONSISTENT)

    @property
    def failed_mechanism_tests(self) -> tuple[MechanismTest, ...]:
        """Noise, sampling or sensitivity measured to differ from what was claimed: the accounted epsilon is
        void.
        """
        return tuple(
            test for body in self.results_of(AuditResult) for test in body.mechanism_tests if not test.passed
        )

    @property
    def requirement_results(self) -> tuple[RequirementResult, ...]:
        """Every requirement with its verdict; of two on one requirement the later."""
        bodies = {
            id(record): record.result.requirements
            for record in self.records
            if isinstance(record.result, DrillResult)
        }
        return tuple(
            {
                one.requirement: one
                for record in self.records
                for one in (*record.requirements, *bodies.get(id(record), ()))
            }.values()
        )

    @property
    def trainings(self) -> tuple[TrainingRun, ...]:
        """Every training run."""
        plain = tuple(body.training for body in self.results_of(TrainResult))
        hardened = tuple(training for body in self.results_of(HardenResult) for training in body.trainings)
        return plain + hardened + tuple(body.training for body in self.results_of(PrivatizeResult))

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """Every model that came out of the run."""
        return tuple(training.model for training in self.trainings) + tuple(
            body.model for body in self.results_of(FederateResult)
        )

    @property
    def attacked_models(self) -> tuple[AttackedModel, ...]:
        """Every model under attack."""
        return tuple(
            one
            for body in self.results_of(AttackResult) + self.results_of(HardenResult)
            for one in body.models
        )

    @property
    def certified_models(self) -> tuple[CertifiedModel, ...]:
        """Every model with both sides."""
        return tuple(one for body in self.results_of(CertifyResult) for one in body.models)

    def title(self, model: str) -> str:
        """Return a model's name for people."""
        named = {one.model: one.title for one in self.attacked_models}
        named |= {one.model: one.title for one in self.certified_models}
        named |= {one.name: one.title for one in self.models}
        return named.get(model, model)

    def class_names(self, count: int) -> tuple[str, ...]:
        """Return the names of so many classes, by the checked data where there was a check."""
        known = next((body.class_names for body in self.results_of(CheckResult)), ())
        return known if len(known) == count else tuple(f"class {index}" for index in range(count))

    def requirements_of(self, claim: Claim) -> tuple[RequirementResult, ...]:
        """Return the requirements that were decided on a claim."""
        return tuple(one for one in self.requirement_results if one.claim_name == claim.name)

    def key_claims(self) -> tuple[Claim, ...]:
        """Return the claims at the top of the report.

        Every epsilon; every claim that a requirement was decided on or whose bounds cross; and per model and
        threat type one eps: the required one, else the one that the registered threat names as usual, else
        the middle one. Clean accuracy only if there is nothing else.
        """
        asked = {one.claim_name for one in self.requirement_results}
        crossed = {claim.name for claim, _ in self.inconsistencies}
        best = self._best()
        threats = self._key_threats(best, asked)
        chosen = [
            claim
            for claim in best
            if claim.name in asked | crossed
            or claim.bracket.quantity.metric is Metric.EPSILON
            or claim.bracket.quantity.threat in threats
        ]
        shown = chosen or list(best)
        types = [threat_type(claim.bracket.quantity.threat) for claim in _primary_first(shown)]

        def order(claim: Claim) -> tuple[int, int]:
            quantity = claim.bracket.quantity
            return _METRICS.index(quantity.metric), types.index(threat_type(quantity.threat))

        return tuple(sorted(shown, key=order))

    @property
    def primary_threat(self) -> str:
        """The threat that accuracies under attack are compared at: that of the first primary key claim, else
        of the first one; empty without any.
        """
        threats = (claim.bracket.quantity.threat for claim in _primary_first(self.key_claims()))
        return next(filter(None, threats), "")

    def _best(self) -> tuple[Claim, ...]:
        """Return one claim for each model and quantity: the one with fewer trivial bounds, of equals the
        later.
        """
        best: dict[tuple[str, Quantity], Claim] = {}
        crossed = {claim.name for claim, _ in self.inconsistencies}
        asked = {one.claim_name for one in self.requirement_results}
        for claim in self.claims:
            key = (claim.model, claim.bracket.quantity)
            known = best.get(key)
            if known is None or _trivial_sides(claim) <= _trivial_sides(known):
                best[key] = claim
        kept = {claim.name for claim in best.values()} | crossed | asked
        return tuple(claim for claim in self.claims if claim.name in kept)

    @staticmethod
    def _key_threats(claims: Sequence[Claim], asked: set[str]) -> set[str]:
        chosen: set[str] = set()
        robust = [claim for claim in claims if claim.bracket.quantity.threat]
        for ball in {threat_type(claim.bracket.quantity.threat) for claim in robust}:
            tokens = sorted(
                {c.bracket.quantity.threat for c in robust if threat_type(c.bracket.quantity.threat) == ball},
                key=fmt.eps_of,
            )
            wanted = [
                c.bracket.quantity.threat
                for c in robust
                if c.name in asked and c.bracket.quantity.threat in tokens
            ]
            usual = [token for token in tokens if token == _usual_spec(token)]
            chosen.add((wanted or usual or [tokens[(len(tokens) - 1) // 2]])[0])
        return chosen


def _trivial_sides(claim: Claim) -> int:
    return [claim.bracket.lower.basis, claim.bracket.upper.basis].count(Basis.TRIVIAL)


def _primary_first(claims: Sequence[Claim]) -> list[Claim]:
    return sorted(claims, key=lambda claim: not claim.primary)


def _usual_spec(spec: str) -> str:
    """Return the usual threat of the same kind, by its registered entry; empty where it names none."""
    entry = entries("threat").get(threat_name(spec))
    return entry.fact("usual") if entry else ""
