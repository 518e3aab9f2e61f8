"""Measure how well a model is copied from its answers: agreement on held-out examples, by queries."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from quintain.core.errors import DataError, ModelError
from quintain.core.limits import require_at_least
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.evaluate.leaks.inputs import access_of, open_view, require_classes, require_same_shape
from quintain.evaluate.leaks.job import LeakFindings, LeakJob
from quintain.evaluate.leaks.measurement import to_measurement, unit_of
from quintain.evaluate.leaks.overlap import leave_out_shared
from quintain.evaluate.leaks.retraining import train_again
from quintain.leakage.attack import Candidates, LeakageAttack, LeakJudgment
from quintain.leakage.extraction.student import Student
from quintain.leakage.judges.agreement import judge_agreement, judge_kappa
from quintain.leakage.knowledge import Knowledge
from quintain.models.classifier import Classifier
from quintain.models.protocol import ClassifierLike
from quintain.results.leak_records import LeakMeasurement

BUDGETS = (100, 300, 1_000, 3_000, 10_000)
"""Queries at which the curve of a copy is measured, as far as the job's budget goes."""

MAX_HELD_OUT = 2_000
"""Examples on which copies are judged, at most; a third of what the target never saw, if that is fewer."""

MIN_DIFFERENT = 10
"""Examples on which two trainings of the target must differ, for a copy to be judged there."""


def measure(job: LeakJob) -> LeakFindings:
    """Measure the attacks of the goal ``agreement``.

    Of the examples that the target never saw, an attacker knows two thirds and may query them; on the
    others copies are judged. The budget is that of the whole copy. Where a net like the target can be built
    and trained, a second one is trained on the same examples with another seed: where the two differ, what a
    copy predicts shows this target, and not what any training on such data gives.

    Raises:
        DataError: If there are too few examples that the target never saw, all of one class, of another
            shape, of classes that the target does not have, or many of them among those that it was trained
            on (a few are left out).
        SettingError: If an attack needs more access than it gets, or the budget is below 1.
    """
    require_at_least(1, budget=job.budget)
    for attack in job.attacks:
        access_of(job, attack, job.target.model)
    require_same_shape(job.members, job.others)
    others = leave_out_shared(job.members, job.others)
    require_classes(others)
    public, held_out = split(others, seed=job.seed)
    answers = predictions(job.target.model, held_out)
    classes = job.target.model.num_classes
    if int(others.labels.max()) >= classes:
        raise DataError(
            f"{others.name} has labels up to {others.labels.max()}; expected at most {classes - 1}: "
            f"{job.target.model.name} has {classes} classes"
        )
    twin = _second_training(job, held_out)
    found: list[LeakMeasurement] = []
    notes: list[str] = []
    for attack in job.attacks:
        found += _measure_attack(job, attack, public, held_out, answers, twin)
    if job.budget > len(public):
        notes.append(
            f"There were {len(public)} public examples to query, fewer than the budget of {job.budget} "
            "queries."
        )
    if len(np.unique(answers)) < 2:
        notes.append(
            f"{job.target.title} predicts class {answers[0]} on all held-out examples, so that there is "
            "nothing to copy."
        )
    if twin is None:
        notes.append(
            "The target's training is not known, so that no second one says what any training gives."
        )
    elif (differ := int((twin != answers).sum())) < MIN_DIFFERENT:
        notes.append(
            f"Two trainings of the target differ on {differ} of {len(answers)} held-out examples, too few to "
            "judge a copy there."
        )
    return LeakFindings(measurements=tuple(found), notes=tuple(notes))


def split(others: Dataset, *, seed: int) -> tuple[Dataset, Dataset]:
    """Return the examples that an attacker may query, and the held-out examples on which copies are judged.

    Raises:
        DataError: If there are fewer than three.
    """
    if len(others) < 3:
        raise DataError(
            f"{len(others)} examples that the target never saw; expected at least 3: some to query, and "
            "others to judge a copy by"
        )
    rows = np.random.default_rng(derive_seed(seed, "agreement", "held out")).permutation(len(others))
    count = min(MAX_HELD_OUT, len(others) // 3)
    return (
        others.subset(rows[count:], name=f"{others.name}, public"),
        others.subset(rows[:count], name=f"{others.name}, held out"),
    )


def predictions(model: ClassifierLike, data: Dataset) -> NDArray[np.int64]:
    """Return the classes that a model predicts (n,)."""
    found = [
        model.predict(batch.x.to(model.device, model.dtype)).cpu().numpy()
        for batch in data.batches(READ_BATCH_SIZE)
    ]
    return np.concatenate(found).astype(np.int64)


def _measure_attack(
    job: LeakJob,
    attack: LeakageAttack,
    public: Dataset,
    held_out: Dataset,
    answers: NDArray[np.int64],
    twin: NDArray[np.int64] | None,
) -> Iterator[LeakMeasurement]:
    """Yield the measurements of one attack: agreement, kappa of two classes, and where trainings differ."""
    knowledge = Knowledge(public=public, architecture=job.target.build)
    model, unit, points, queries = job.target.model, unit_of(held_out.shape), [], 0.0
    whole = Candidates(
        y=torch.zeros(1, dtype=torch.long), ids=torch.zeros(1, dtype=torch.long), shape=public.shape
    )
    most = min(job.budget, len(public))
    copied = answers
    for budget in sorted({*(few for few in BUDGETS if few < most), most}):
        guess = attack.guess(
            open_view(job, attack, model, max_queries=budget),
            knowledge,
            whole,
            budget=budget,
            seed=derive_seed(job.seed, "agreement"),
            progress=job.progress,
        )
        if guess.model is None:
            raise ModelError(f"{attack.name} returned no copy; expected a model in its guess")
        copied, queries = predictions(guess.model, held_out), guess.queries
        points.append((queries, float((copied == answers).mean())))

    # What the same net learns from as many examples with their own labels, without a query.
    student = getattr(attack, "student", Student())
    own = _own_labels(job, student, public, knowledge, most)
    name = "the same net, trained on as many true labels"
    baselines = {name: predictions(own, held_out)}

    def record(judgment: LeakJudgment, count: int, candidates: str = "held-out examples") -> LeakMeasurement:
        return to_measurement(
            job,
            attack,
            judgment,
            access=access_of(job, attack, model),
            candidates=candidates,
            count=count,
            queries=queries,
        )

    yield record(judge_agreement(answers, copied, baselines, unit=unit, curve=points), len(answers))
    if model.num_classes == 2:
        yield record(judge_kappa(answers, copied, baselines, unit=unit), len(answers))
    if twin is not None and int((rows := twin != answers).sum()) >= MIN_DIFFERENT:
        there = judge_agreement(
            answers[rows],
            copied[rows],
            {name: baselines[name][rows]},
            unit=unit,
            measure="agreement where two trainings differ",
        )
        yield record(there, int(rows.sum()), "held-out examples where two trainings differ")


def _own_labels(
    job: LeakJob, student: Student, public: Dataset, knowledge: Knowledge, count: int
) -> Classifier:
    """Return the net that an attacker trains on the true labels of as many public examples."""
    order = np.random.default_rng(derive_seed(job.seed, "agreement", "own labels")).permutation(len(public))
    ids = order[:count].tolist()
    labels = torch.from_numpy(public.labels[ids])
    model = job.target.model
    return student.train(
        public,
        ids,
        torch.nn.functional.one_hot(labels, model.num_classes).float(),
        knowledge,
        device=model.device,
        seed=derive_seed(job.seed, "agreement"),
        progress=job.progress,
    )


def _second_training(job: LeakJob, held_out: Dataset) -> NDArray[np.int64] | None:
    """Return what the target's training predicts with another seed; None where that training is not known."""
    if job.target.build is None or job.target.train is None:
        return None
    net = train_again(job, job.members, label="second training")
    return predictions(Classifier(net, num_classes=job.target.model.num_classes), held_out)
