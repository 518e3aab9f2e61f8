"""Whose face nets give away to whoever asks them: one trained plainly, and one trained privately."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torch import nn

from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.choice import default_leaks
from quintain.evaluate.leaks.claims import leak_claims
from quintain.evaluate.leaks.identity import JUDGE, measure_people
from quintain.evaluate.leaks.job import LeakFindings, LeakJob, LeakTarget, TargetTraining
from quintain.evaluate.leaks.people import People
from quintain.evaluate.leaks.trainers import PrivateTrainer, RecipeTrainer
from quintain.evaluate.model import clean_counts
from quintain.evaluate.privacy_target import PrivacyTarget, ProtectedRecords
from quintain.evaluate.step import StepOutput
from quintain.leakage.judges.identity import train_judge
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.models.classifier import Classifier
from quintain.results.leak_records import name_of_title
from quintain.results.privacy_records import LeakResult
from quintain.training import Recipe


def run_identity(
    members: Dataset,
    others: Dataset,
    public: Dataset,
    *,
    build: Callable[[int], nn.Module],
    recipe: Recipe,
    private: PrivacyTarget,
    budget: int = 3200,
    judge: JudgeRecipe = JUDGE,
    seed: int = 0,
    folder: Path | None = None,
    show: bool = False,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Train a net on people, plainly and privately, and make the face of each of them from its scores.

    Both nets begin with the same weights. One judge, a net of its own, ranks what was made of each among all
    people, private and public. Epsilon is that of one picture, of which a person has many: what an attack
    finds of a person is not bounded by it.

    Args:
        members: Pictures to train on, each class a person.
        others: Other pictures of the same people, by which the judge knows them; the accuracy of both nets is
            measured on these.
        public: Pictures of other people, which the attacker has.
        build: Builds a fresh net from a seed.
        recipe: Of the plain training.
        private: Epsilon, delta and settings of the private one.
        budget: Queries of each person, at most.
        judge: How the judge is trained.
        seed: Of first weights, the plain training, the judge and the attack; noise is the operating system's.
        folder: The run folder, for pictures.
        show: Whether pictures of ``members`` may be stored there.
        unfinished: Where the secret is kept under which the pictures are hashed while the run is unfinished.
        progress: Shows bars.

    Raises:
        DataError: If a picture is in two of the groups, or a person has no other picture.
        SettingError: If there are too few people.
        PrivacyError: If the net cannot be trained privately.
    """
    clock = time.perf_counter()
    (entry,), _ = default_leaks("scores", knows=("public",), goals=("identity",))
    of_people = f"{len(set(members.labels.tolist()))} people"
    trainings = (
        TargetTraining(f"plain, {of_people}", build, RecipeTrainer(recipe)),
        TargetTraining(
            f"private, epsilon {private.epsilon:g} a picture, {of_people}", build, PrivateTrainer(private)
        ),
    )
    plain_target = _train(trainings[0], members, seed)
    job = LeakJob(
        plain_target,
        (entry.build(),),
        members,
        others,
        public=public,
        access="scores",
        budget=budget,
        seed=derive_seed(seed, "identity"),
        folder=folder,
        show=show,
        progress=progress,
    )
    people = People.of(job)
    trained_judge = train_judge(
        people.training(),
        people.others(),
        people.public(),
        seed=derive_seed(job.seed, "identity", "judge"),
        train=lambda x, y, judge_seed: judge(x, y, judge_seed, progress=progress),
    )
    targets = (plain_target, _train(trainings[1], members, seed))
    found = [measure_people(replace(job, target=target), people, trained_judge) for target in targets]
    measurements = tuple(one for each in found for one in each.measurements)
    claims = leak_claims(
        measurements,
        model=name_of_title(plain_target.title),
        model_hash=plain_target.model.hash,
        data_hash=ProtectedRecords.of_run(members, unfinished).keyed_hash,
        primary=False,
    )
    result = LeakResult(
        measurements=measurements,
        pictures=tuple(one for each in found for one in each.pictures),
        seconds=time.perf_counter() - clock,
    )
    notes = (
        *(_accuracy_note(target, others) for target in targets),
        f"epsilon {private.epsilon:g} is of one picture; a person has about "
        f"{round(len(members) / len(people.classes))}, and nothing bounds what is found of a person",
        *_merge_notes(found, targets),
    )
    return StepOutput(result, claims, notes, reproducible=False)


def _train(training: TargetTraining, members: Dataset, seed: int) -> LeakTarget:
    """Return a net that was trained on the members."""
    net = training.build(derive_seed(seed, "identity", "weights"))
    training.train(net, members, derive_seed(seed, "identity", "training"))
    return training.target(Classifier(net.eval(), num_classes=members.num_classes))


def _accuracy_note(target: LeakTarget, others: Dataset) -> str:
    """Say how well a net knows its people on pictures that it was not trained on."""
    accuracy = clean_counts(target.model, others).accuracy
    return f"{target.title}: right on {accuracy:.0%} of {len(others)} other pictures of its people"


def _merge_notes(found: list[LeakFindings], targets: tuple[LeakTarget, ...]) -> tuple[str, ...]:
    """Return the notes of all measurements, each once; what is of one target names it."""
    common = [note for note in found[0].notes if all(note in each.notes for each in found)]
    own = [
        f"{target.title}: {note}"
        for each, target in zip(found, targets, strict=True)
        for note in each.notes
        if note not in common
    ]
    return (*common, *own)
