"""Measure how far a training memorizes: canaries that it is given, among patterns that it is not."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from quintain.core.errors import DataError, SettingError
from quintain.core.seeds import derive_seed
from quintain.data.values import Labels
from quintain.evaluate.leaks.inputs import access_of, open_view, require_classes
from quintain.evaluate.leaks.job import LeakFindings, LeakJob
from quintain.evaluate.leaks.measurement import to_measurement
from quintain.evaluate.leaks.membership import ceiling_of
from quintain.evaluate.leaks.retraining import train_again
from quintain.evaluate.leaks.untrained import retrained_notes
from quintain.leakage.attack import Candidates, LeakageAttack
from quintain.leakage.judges.exposure import (
    MIN_CANARIES,
    Scores,
    canary_ranks,
    judge_exposure,
    judge_found_canaries,
)
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.memorization.patterns import draw_labels, draw_patterns, with_canaries
from quintain.models.classifier import Classifier
from quintain.results.leak_records import LeakMeasurement

MAX_CANARIES = 100
"""Canaries at most; also at most one in twenty of the training examples, so that they stay a small part."""

REFERENCES = 1023
"""Unused patterns for each label: 10 bits can be seen."""

MAX_NUMBERS = 50_000_000
"""Numbers of patterns that are held at once, under all labels."""


def measure(job: LeakJob) -> LeakFindings:
    """Measure the attacks of the goal ``exposure``.

    Random patterns under random labels, the canaries, come among the members, each once, and a net like the
    target is trained on all of them as the target was: a private recipe is told from a plain one by its
    trainer alone. An attack scores the canaries among as many patterns of the same law that were not used,
    under each label, and knows nothing of which is which.

    Raises:
        SettingError: If the target's training is not known, or an attack needs more access than it gets.
        DataError: If there are fewer than 200 members, so that canaries would be no small part of them, or
            all are of one class.
    """
    _ = job.target.training  # a canary must be trained on, so that its exposure can be measured
    for attack in job.attacks:
        access_of(job, attack, job.target.model)
    count = count_canaries(job)
    require_classes(job.members)
    target = job.target.model
    # Some models know their number of classes only once they were asked something.
    target.predict(job.members.batch([0])[0].to(target.device, target.dtype))
    classes = target.num_classes
    patterns = draw_patterns(count + REFERENCES, job.members.shape, seed=derive_seed(job.seed, "exposure"))
    labels = draw_labels(count, classes, seed=derive_seed(job.seed, "exposure"))
    planted = with_canaries(
        job.members.with_classes(max(classes, job.members.num_classes)),
        patterns[:count],
        labels,
        seed=derive_seed(job.seed, "exposure"),
    )
    net = train_again(job, planted, label="canaries")
    model = Classifier(net, num_classes=classes, name=job.target.title)
    found: list[LeakMeasurement] = []
    for attack in job.attacks:
        found += _measure_attack(job, attack, model, patterns, labels)
    return LeakFindings(
        tuple(found),
        notes=(
            f"{count} canaries (random patterns under random labels), each once among {len(job.members)} "
            f"examples, and {REFERENCES:,} unused patterns for each label: a net like the target was trained "
            "with them for this alone.",
            *retrained_notes(model, planted, name="the net that was trained with canaries"),
        ),
    )


def count_canaries(job: LeakJob) -> int:
    """Return how many canaries a job takes.

    Raises:
        SettingError, DataError: If there are too few candidates or members for the fewest.
    """
    count = min(MAX_CANARIES, job.candidates, len(job.members) // 20)
    if job.candidates < MIN_CANARIES:
        raise SettingError(f"{job.candidates} candidates; expected at least {MIN_CANARIES} canaries")
    if count < MIN_CANARIES:
        raise DataError(
            f"{len(job.members)} members leave room for {count} canaries, one in twenty; expected at least "
            f"{MIN_CANARIES} canaries, so {20 * MIN_CANARIES} members"
        )
    return count


def _measure_attack(
    job: LeakJob, attack: LeakageAttack, model: Classifier, patterns: Tensor, labels: Labels
) -> Iterator[LeakMeasurement]:
    """Yield the measurements of one attack: mean exposure, and canaries before 99 % of unused patterns."""
    count = len(labels)
    canary, references = np.empty(count), np.empty((count, REFERENCES))
    total_queries = candidates = 0.0
    for group in _groups(np.unique(labels), patterns.numel()):
        # Each unused pattern stands under each label, each canary under its own.
        unused = np.arange(count, len(patterns))
        of_each = [np.concatenate([np.flatnonzero(labels == one), unused]) for one in group]
        rows = np.concatenate(of_each)
        under = np.repeat(np.array(group, dtype=np.int64), [len(one) for one in of_each])
        scores, queries = _scores(job, attack, model, patterns, rows, under)
        for one in group:
            mine = labels == one
            canary[mine] = scores[(under == one) & (rows < count)]
            references[mine] = scores[(under == one) & (rows >= count)]
        total_queries, candidates = total_queries + queries * len(rows), candidates + len(rows)
    ranks = canary_ranks(canary, references, seed=derive_seed(job.seed, "exposure", "ties"))
    allowed = ceiling_of(job.target)
    for judgment in (
        judge_exposure(ranks, REFERENCES, max_tpr=allowed),
        judge_found_canaries(ranks, REFERENCES, max_tpr=allowed),
    ):
        yield to_measurement(
            job,
            attack,
            judgment,
            access=access_of(job, attack, model),
            candidates="canaries: random patterns under random labels",
            count=count,
            queries=total_queries / candidates,
        )


def _groups(labels: Labels, numbers: int) -> Iterator[list[int]]:
    """Yield labels that are scored together: as many as fit in memory, since an attack may prepare anew."""
    size = max(1, MAX_NUMBERS // numbers)
    for start in range(0, len(labels), size):
        yield labels[start : start + size].tolist()


def _scores(
    job: LeakJob, attack: LeakageAttack, model: Classifier, patterns: Tensor, rows: Labels, labels: Labels
) -> tuple[Scores, float]:
    """Return an attack's scores (n,) of some patterns under labels, and its queries of each."""
    # Which are canaries does not follow from their place: all stand in random order.
    order = np.random.default_rng(derive_seed(job.seed, "exposure", "order")).permutation(len(rows))
    guess = attack.guess(
        open_view(job, attack, model, max_queries=job.budget * len(rows)),
        Knowledge(public=job.others, architecture=job.target.build),
        Candidates(
            y=torch.from_numpy(labels[order]),
            ids=torch.from_numpy(labels[order] * len(patterns) + rows[order]),
            shape=tuple(patterns.shape[1:]),
            x=patterns[rows[order]],
        ),
        budget=job.budget,
        seed=derive_seed(job.seed, "exposure"),
        progress=job.progress,
    )
    if guess.scores is None or len(guess.scores) != len(rows):
        raise SettingError(f"{attack.name} did not score each of {len(rows)} candidates")
    scores = np.empty(len(rows))
    scores[order] = guess.scores.cpu().double().numpy()
    return scores, guess.queries
