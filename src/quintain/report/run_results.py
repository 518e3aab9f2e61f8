"""The records of a run, looked up by what they hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from quintain.results.artifacts import ModelFile
from quintain.results.bounds import Consistency
from quintain.results.gate import mechanism_mismatches
from quintain.results.privacy_records import FederateResult, MechanismTest, PrivatizeResult
from quintain.results.records import (
    Claim,
    DrillResult,
    NamedHash,
    NotDone,
    Record,
    RequirementResult,
    SizeCut,
    SkippedResult,
)
from quintain.results.robustness_records import (
    AttackedModel,
    CertifiedModel,
    CertifyResult,
    CheckResult,
    EvaluateResult,
    HardenResult,
    TrainingRun,
    TrainResult,
)
from quintain.results.under_attack import attacked_models

B = TypeVar("B")


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
        """Return the mechanism tests that failed: the accounted epsilon is void.

        Noise, sampling or sensitivity was measured to differ from what was claimed.
        """
        return mechanism_mismatches(record.result for record in self.records)

    @property
    def requirement_results(self) -> tuple[RequirementResult, ...]:
        """Every requirement with its verdict; of two on one requirement the later."""
        decided = {
            id(record): record.result.requirements
            for record in self.records
            if isinstance(record.result, DrillResult)
        }
        return tuple(
            {
                one.requirement: one
                for record in self.records
                for one in (*record.requirements, *decided.get(id(record), ()))
            }.values()
        )

    @property
    def not_done(self) -> tuple[NotDone, ...]:
        """Every step and part of a step that was not done, with its reason and remedy."""
        return tuple(
            missing
            for record in self.records
            for missing in (
                (NotDone(record.result.step, record.result.reason, record.result.remedy),)
                if isinstance(record.result, SkippedResult)
                else record.not_done
            )
        )

    @property
    def cuts(self) -> tuple[SizeCut, ...]:
        """Everything that was cut for time."""
        return tuple(cut for record in self.records for cut in record.cuts)

    @property
    def trainings(self) -> tuple[TrainingRun, ...]:
        """Every training run."""
        plain = tuple(result.training for result in self.results_of(TrainResult))
        hardened = tuple(
            training for result in self.results_of(HardenResult) for training in result.trainings
        )
        return plain + hardened + tuple(result.training for result in self.results_of(PrivatizeResult))

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """Every model that came out of the run."""
        return tuple(training.model for training in self.trainings) + tuple(
            result.model for result in self.results_of(FederateResult)
        )

    @property
    def attacked_models(self) -> tuple[AttackedModel, ...]:
        """Every model under attack, and every one that stored adversarial examples were run on."""
        return attacked_models(record.result for record in self.records)

    @property
    def certified_models(self) -> tuple[CertifiedModel, ...]:
        """Every model with both sides."""
        both = tuple(one for result in self.results_of(CertifyResult) for one in result.models)
        evaluated = (result.certified for result in self.results_of(EvaluateResult))
        return both + tuple(one for one in evaluated if one is not None)

    def title(self, model: str) -> str:
        """Return a model's name for people."""
        named = {one.model: one.title for one in self.attacked_models}
        named |= {one.model: one.title for one in self.certified_models}
        named |= {one.name: one.title for one in self.models}
        return named.get(model, model)

    def class_names(self, count: int) -> tuple[str, ...]:
        """Return the names of so many classes, by the checked data where there was a check."""
        known = next((result.class_names for result in self.results_of(CheckResult)), ())
        return known if len(known) == count else tuple(f"class {index}" for index in range(count))

    def requirements_of(self, claim: Claim) -> tuple[RequirementResult, ...]:
        """Return the requirements that were decided on a claim."""
        return tuple(one for one in self.requirement_results if one.claim_name == claim.name)
