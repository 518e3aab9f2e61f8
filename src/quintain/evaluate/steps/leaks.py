"""Attack what a model gives away, goal by goal, and say what each attack found beside its baseline."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from quintain.core.errors import (
    DataError,
    ModelError,
    PrivacyError,
    QuintainError,
    SettingError,
    TrainingFailedError,
)
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.choice import GOALS, OTHER_EXAMPLES, REMEDIES, REMEDY
from quintain.evaluate.leaks.claims import leak_claims
from quintain.evaluate.leaks.exposure import count_canaries
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
from quintain.evaluate.leaks.inputs import SharedExamplesError, access_of
from quintain.evaluate.leaks.job import LeakFindings, LeakJob, LeakTarget
from quintain.evaluate.leaks.people import People
from quintain.evaluate.leaks.trainers import RecipeTrainer
from quintain.evaluate.privacy_target import ProtectedRecords
from quintain.evaluate.step import StepOutput
from quintain.leakage.attack import LeakageAttack
from quintain.leakage.hidden_attribute import HiddenAttribute
from quintain.models.protocol import ACCESS, Access
from quintain.results.leak_records import LeakPictures
from quintain.results.privacy_records import LeakResult
from quintain.results.records import NotDone

IMPOSSIBLE = (ModelError, DataError, PrivacyError, SettingError)
"""What is raised where a goal cannot be attacked on this model or these data."""

PRIVATE_PICTURES = (
    "pictures of private examples were neither stored nor shown: --show-private puts them into the report"
)


@dataclass(frozen=True, slots=True)
class LeakPlan:
    """Who is attacked, by what, and with how much.

    Args:
        target: The model.
        model_hash: Its hash.
        members: Examples that it was trained on.
        others: Examples of the same kind that it never saw.
        guarantee: The privacy that is claimed for it, if any.
        access: The attacker's level; what the model gives if not given.
        budget: Queries for each candidate.
        candidates: How many members are guessed about, at most.
        shadows: How many shadow models are trained where an attack needs some.
        canaries: How many mislabeled examples a second target is trained on; 0 for none.
        seed: Of all that is drawn.
        public: Pictures of people who are no class of the target, under labels of their own, where given.
        held_out: Other pictures of the members' people, where ``others`` are not those; for ``identity``.
        attribute: What is sensitive of each example; for ``attributes``.
    """

    target: LeakTarget
    model_hash: str
    members: Dataset
    others: Dataset
    guarantee: PrivacyGuarantee | None = None
    access: Access | None = None
    budget: int = 1000
    candidates: int = 1000
    shadows: int = 16
    canaries: int = 0
    seed: int = 0
    public: Dataset | None = None
    held_out: Dataset | None = None
    attribute: HiddenAttribute | None = None


def run_leaks(
    plan: LeakPlan,
    attacks: Sequence[LeakageAttack],
    *,
    folder: Path,
    show: bool,
    skip_impossible: bool = False,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Attack a model, and return what each attack found, beside baselines and what a claim allows.

    Each goal is measured by itself, with the members and the others at hand. What attacks find bounds the
    claims on the true-positive rate, the advantage and on who is identified from below; the claimed privacy
    bounds them from above. Where nothing is claimed, that side stays trivial: an attack that fails proves
    nothing. A training that fails, such as that of shadow models, ends its goal alone, and so does a goal
    that turns out to be impossible once another is done: what else is found is in the result, with the
    reason in its ``failure_reason``.

    Args:
        plan: The model and the data.
        attacks: In any order; those of one goal are measured together.
        folder: The run folder, for pictures.
        show: Whether private pictures may be stored there.
        skip_impossible: Say what cannot be attacked here in place of raising.
        unfinished: Where finished parts are kept, so that the same call resumes after a kill; as private as
            the data.
        progress: Shows bars.

    Raises:
        SettingError, DataError, ModelError: As the measure of a goal does, unless ``skip_impossible`` or
            something was found before.
        TrainingFailedError: If a training fails and nothing else is found.
    """
    clock = time.perf_counter()
    found: list[LeakFindings] = []
    missing: list[NotDone] = []
    failures: list[QuintainError] = []
    for goal in GOALS:
        chosen = [attack for attack in attacks if attack.goal == goal]
        if not chosen:
            continue
        names = ", ".join(attack.name for attack in chosen)
        job = _job(plan, chosen, goal, folder=folder, show=show, unfinished=unfinished, progress=progress)
        try:
            found.append(_measure(goal, job))
        except TrainingFailedError as error:
            failures.append(error)
            missing.append(NotDone(f"{goal} ({names})", str(error), RETRY))
        except IMPOSSIBLE as error:
            if not (skip_impossible or found):
                raise
            if not skip_impossible:
                failures.append(error)
            shared = isinstance(error, SharedExamplesError)
            remedy = OTHER_EXAMPLES if shared else REMEDIES.get(goal, REMEDY)
            missing.append(NotDone(f"{goal} ({names})", str(error), remedy))
    if failures and not found:
        raise failures[0]
    measurements = tuple(one for each in found for one in each.measurements)
    pictures = tuple(one for each in found for one in each.pictures)
    kept, notes = _checked_pictures(pictures, folder, show=show)
    claims = leak_claims(
        measurements,
        model="model",
        model_hash=plan.model_hash,
        data_hash=ProtectedRecords.of_run(plan.members, unfinished).keyed_hash,
        guarantee=plan.guarantee,
    )
    result = LeakResult(
        measurements=measurements,
        pictures=kept,
        seconds=time.perf_counter() - clock,
        failure_reason="; ".join(dict.fromkeys(map(str, failures))),
    )
    leak_notes = tuple(
        dict.fromkeys((*(note for each in found for note in each.notes), *_plan_notes(plan, attacks)))
    )
    return StepOutput(result, claims, (*leak_notes, *notes), not_done=tuple(missing))


def check_leaks(plan: LeakPlan, attacks: Sequence[LeakageAttack], *, folder: Path) -> None:
    """Raise what attacks would find wrong with model or data, as far as that is known before any work.

    Args:
        plan, attacks, folder: As of ``run_leaks``.

    Raises:
        SettingError, DataError: As the measure of a goal does.
    """
    for goal in dict.fromkeys(attack.goal for attack in attacks):
        chosen = [attack for attack in attacks if attack.goal == goal]
        job = _job(plan, chosen, goal, folder=folder, show=False, unfinished=None, progress=no_progress)
        for attack in chosen:
            if attack.access in ACCESS:
                access_of(job, attack, plan.target.model)
        if goal == "identity":
            People.of(job)
        if goal == "exposure":
            count_canaries(job)


def merge_leaks(first: StepOutput, *rest: StepOutput) -> StepOutput:
    """Return what was found from a model and from updates as one result.

    Args:
        first: Of ``run_leaks``, or of ``run_leak`` alone.
        rest: Of ``run_leak``, if both were run.
    """
    merged = first
    for output in rest:
        model, update = merged.result, output.result
        assert isinstance(model, LeakResult)
        assert isinstance(update, LeakResult)
        merged = StepOutput(
            replace(
                update,
                measurements=(*model.measurements, *update.measurements),
                pictures=(*model.pictures, *update.pictures),
                failure_reason=model.failure_reason or update.failure_reason,
            ),
            merged.claims,
            tuple(dict.fromkeys((*merged.notes, *output.notes))),
            reproducible=merged.reproducible and output.reproducible,
            not_done=(*merged.not_done, *output.not_done),
        )
    return merged


RETRY = "correct the training, and run the command again with the same --out: what is finished is kept"


def _job(
    plan: LeakPlan,
    attacks: Sequence[LeakageAttack],
    goal: str,
    *,
    folder: Path,
    show: bool,
    unfinished: Path | None,
    progress: Progress,
) -> LeakJob:
    others = plan.others
    if goal == "identity" and plan.public is not None and plan.held_out is not None:
        others = plan.held_out
    return LeakJob(
        plan.target,
        attacks,
        plan.members,
        others,
        access=plan.access,
        budget=plan.budget,
        candidates=plan.candidates,
        shadows=plan.shadows,
        canaries=plan.canaries,
        public=plan.public,
        attribute=plan.attribute,
        seed=derive_seed(plan.seed, "leak", goal),
        folder=folder,
        show=show,
        unfinished=None if unfinished is None else unfinished / goal,
        progress=progress,
    )


def _plan_notes(plan: LeakPlan, attacks: Sequence[LeakageAttack]) -> tuple[str, ...]:
    """Say where shadow models are weaker than they could be."""
    uses_shadows = any("shadows" in attack.needs for attack in attacks)
    if plan.guarantee is None or not uses_shadows or not isinstance(plan.target.train, RecipeTrainer):
        return ()
    return (
        "shadow models were trained without the privacy that is claimed for the model, so that attacks with "
        "them are weaker than they could be; --train mine.py:train trains them as it was",
    )


def _measure(goal: str, job: LeakJob) -> LeakFindings:
    """Measure one goal.

    Raises:
        SettingError: If there is no measure of it.
    """
    if goal not in MEASURES:
        raise SettingError(
            f"{job.attacks[0].name} guesses {goal}, which nothing measures here; expected an attack on "
            f"{', '.join(MEASURES)}"
        )
    return MEASURES[goal](job)


def _checked_pictures(
    pictures: Sequence[LeakPictures], folder: Path, *, show: bool
) -> tuple[tuple[LeakPictures, ...], tuple[str, ...]]:
    """Return the pictures if they may be shown; else delete what a measure stored, and say so."""
    if show:
        return tuple(pictures), ()
    for one in pictures:
        for picture in (one.original, one.reconstructed, one.baseline):
            if picture is not None:
                (folder / picture.path).unlink(missing_ok=True)
    return (), (PRIVATE_PICTURES,) if pictures else ()
