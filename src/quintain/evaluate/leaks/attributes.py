"""Measure how well a hidden attribute is inferred from a model's answers, of members and of others."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.inputs import access_of, open_view, require_same_shape
from quintain.evaluate.leaks.job import LeakFindings, LeakJob
from quintain.evaluate.leaks.measurement import to_measurement, unit_of
from quintain.evaluate.leaks.overlap import leave_out_shared
from quintain.leakage.attack import Candidates, Guess, LeakageAttack
from quintain.leakage.attributes.imputer import MIN_EXAMPLES, Imputer, most_frequent, train_imputer
from quintain.leakage.hidden_attribute import HiddenAttribute
from quintain.leakage.judges.attributes import AttributeGuesses, judge_attribute, judge_training_leak
from quintain.leakage.judges.ranked_scores import MAX_EXPOSED
from quintain.leakage.knowledge import Knowledge
from quintain.results.leak_records import LeakMeasurement

IMPUTER = "an imputer trained on the same public data"
MOST_FREQUENT = "the most frequent value"


def measure(job: LeakJob) -> LeakFindings:
    """Measure the attacks of the goal ``attributes``.

    Of the examples that the target never saw, half are public: their values are known, and train an imputer
    without the model, which is the baseline. The others are candidates beside the members. Only what an
    attack gains on members beyond what it gains on those is a leak of the training data.

    Raises:
        SettingError: If no attribute is named, or an attack needs more access or queries than it gets.
        DataError: If members and others overlap or differ in shape, an example has none of the values, all
            have one, or there are too few.
    """
    attribute = job.attribute
    if attribute is None:
        raise SettingError(
            "no attribute is named, so that there is nothing to infer; name one by --attribute 3, or "
            "LeakJob(attribute=feature_attribute(data, 3)), for vectors, and block_attribute(...) for images"
        )
    for attack in job.attacks:
        access_of(job, attack, job.target.model)
    require_same_shape(job.members, job.others)
    others = leave_out_shared(job.members, job.others)
    if len(others) < 2 * MIN_EXAMPLES:
        raise DataError(
            f"{len(others)} examples that the target never saw; expected at least {2 * MIN_EXAMPLES}: "
            "half train an imputer, half are guessed about"
        )
    rows = np.random.default_rng(derive_seed(job.seed, "attributes", "public")).permutation(len(others))
    half = len(rows) // 2
    public = others.subset(rows[:half], name=f"{others.name}, public")
    groups = {
        "members": _sample(job.members, job),
        "others": _sample(others.subset(rows[half:], name=f"{others.name}, guessed about"), job),
    }
    for whose, (data, _) in groups.items():
        if len(attribute.read_all(data).unique()) < 2:
            raise DataError(f"all {len(data)} {whose} have one value of {attribute.name}; expected two")
    imputer = train_imputer(
        public,
        attribute,
        use_label=True,
        seed=derive_seed(job.seed, "attributes", "baseline"),
        progress=job.progress,
    )
    found: list[LeakMeasurement] = []
    for attack in job.attacks:
        found += _measure_attack(job, attack, attribute, public, groups, imputer)
    return LeakFindings(
        tuple(found),
        notes=(
            f"Attribute {attribute.name}: where an attack gains as much on others as on members, the model "
            "teaches the population, and leaks nothing of its training data.",
        ),
    )


def _sample(data: Dataset, job: LeakJob) -> tuple[Dataset, np.ndarray]:
    """Return the candidates of a group, and their ids in it."""
    order = np.random.default_rng(derive_seed(job.seed, "attributes", "candidates")).permutation(len(data))
    ids = np.sort(order[: job.candidates])
    return data.subset(ids, name=data.name), ids


def _measure_attack(
    job: LeakJob,
    attack: LeakageAttack,
    attribute: HiddenAttribute,
    public: Dataset,
    groups: dict[str, tuple[Dataset, np.ndarray]],
    imputer: Imputer,
) -> Iterator[LeakMeasurement]:
    """Yield the measurements of one attack: accuracy on members and on others, and how gains differ."""
    knowledge = Knowledge(public=public, architecture=job.target.build, attribute=attribute)
    access = access_of(job, attack, job.target.model)
    frequent = most_frequent(public, attribute)
    judged: dict[str, tuple[AttributeGuesses, float]] = {}
    for whose, (data, ids) in groups.items():
        x, y = data.tensors
        truth = attribute.read(x)
        guess = attack.guess(
            open_view(job, attack, job.target.model, max_queries=job.budget * len(data)),
            knowledge,
            Candidates(y=y, ids=torch.from_numpy(ids), shape=data.shape, x=attribute.hide(x)),
            budget=job.budget,
            seed=derive_seed(job.seed, "attributes"),
            progress=job.progress,
        )
        labels, scores = _labels(attack, guess, len(data))
        guesses = AttributeGuesses(
            truth.numpy(),
            labels.numpy(),
            {
                IMPUTER: imputer.log_probabilities(x, y).argmax(1).numpy(),
                MOST_FREQUENT: np.full(len(data), frequent),
            },
        )
        judged[whose] = (guesses, guess.queries)
        judgment = judge_attribute(guesses, unit=unit_of(data.shape), whose=whose)
        # Exposed are those of whom the attack knows what no baseline does.
        alone = np.array(judgment.per_example) > 0
        surest = [row for row in scores.argsort(descending=True, stable=True).tolist() if alone[row]]
        yield to_measurement(
            job,
            attack,
            judgment,
            access=access,
            candidates=whose,
            count=len(data),
            queries=guess.queries,
            exposed=tuple(ids[surest[:MAX_EXPOSED]].tolist()) if whose == "members" else (),
        )
    leak = judge_training_leak(judged["members"][0], judged["others"][0], unit=unit_of(public.shape))
    yield to_measurement(
        job,
        attack,
        leak,
        access=access,
        candidates="members and others",
        count=sum(len(data) for data, _ in groups.values()),
        queries=max(queries for _, queries in judged.values()),
    )


def _labels(attack: LeakageAttack, guess: Guess, count: int) -> tuple[Tensor, Tensor]:
    """Return the guessed values, and how sure each is; all alike where the attack does not say."""
    if guess.labels is None or len(guess.labels) != count:
        raise SettingError(f"{attack.name} did not guess a value for each of {count} candidates")
    scores = torch.zeros(count, dtype=torch.float64) if guess.scores is None else guess.scores
    return guess.labels.cpu(), scores.cpu()
