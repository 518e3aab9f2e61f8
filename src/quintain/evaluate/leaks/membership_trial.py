"""A target model, candidates of which it was trained on some, and the answer, which no attack sees."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import DataError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.data.joined import join, relabel
from quintain.evaluate.leaks.job import LeakTarget, TargetTraining
from quintain.evaluate.leaks.overlap import class_shares, first_of_each, leave_out_shared, near_duplicates
from quintain.evaluate.leaks.untrained import retrained_notes
from quintain.leakage.shadow_models import InPlaceTrainer, ShadowModels, train_or_load, train_shadows
from quintain.models.classifier import Classifier

NATURAL, MISLABELED = "natural", "mislabeled canaries"
"""Names of the candidates as they are, and of those whose labels were changed before training."""


@dataclass(frozen=True, slots=True)
class MembershipTrial:
    """What a measurement of membership is about.

    Args:
        target: The model, and how such a model is trained.
        pool: The candidates (N,), members and others.
        is_member: The truth (N,).
        groups: Positions in the pool of each kind of candidate, judged apart.
        numbers: Number of each candidate in the data set that it comes from, (N,).
        train_size: Examples that the target was trained on.
        rest: Those of them that are no candidates; None for none.
        public: Further examples that the target never saw; None for none.
        notes: What was noticed about the data.
    """

    target: LeakTarget
    pool: Dataset
    is_member: NDArray[np.bool_]
    groups: Mapping[str, NDArray[np.int64]]
    numbers: NDArray[np.int64]
    train_size: int
    rest: Dataset | None = None
    public: Dataset | None = None
    notes: tuple[str, ...] = field(default=())

    def train_shadows(
        self,
        *,
        count: int,
        seed: int,
        folder: Path | None = None,
        workers: int | None = None,
        progress: Progress = no_progress,
    ) -> ShadowModels:
        """Train shadow models of the candidates as the target was trained, each on as many examples.

        Raises:
            SettingError: If it is not known how the target was trained, or the sizes cannot be equal.
        """
        training = self.target.training
        shadows = train_shadows(
            InPlaceTrainer(training.build, training.train, str(self.target.model.device)),
            training.build(0),
            self.pool,
            rest=self.rest,
            count=count,
            seed=seed,
            folder=folder,
            workers=workers,
            progress=progress,
        )
        shadows.require_apart(self.target.model.hash, self.train_size)
        return shadows


def draw_for_target(
    target: LeakTarget, members: Dataset, others: Dataset, *, candidates: int, seed: int
) -> MembershipTrial:
    """Draw candidates for a target that was trained elsewhere, as many members as others.

    Equal numbers let each shadow model be trained on as many examples as the target was: on half of the
    candidates, and on all other members. Half of the others, at least, are left as public examples.

    Raises:
        DataError: If more than one in ten of the others is a member, or they differ in shape or are too few.
    """
    apart = leave_out_shared(members, others)
    notes = _count_note(len(others) - len(apart), f"examples of {others.name} are also members")
    # repeated candidates would count as several independent ones
    distinct = first_of_each(members)
    others = apart.subset(first_of_each(apart), name=apart.name)
    repeats = len(members) - len(distinct) + len(apart) - len(others)
    notes = (*notes, *_count_note(repeats, f"examples of {members.name} and {others.name} are repeated"))
    count = min(candidates, len(distinct), len(others) // 2)
    if count < 2:
        raise DataError(
            f"{len(members)} members and {len(others)} others; expected at least 2 members and 4 others, of "
            "which half are candidates"
        )
    mine, theirs = (
        np.random.default_rng(derive_seed(seed, "membership", "candidates", name)).permutation(positions)
        for name, positions in (("members", distinct), ("others", np.arange(len(others))))
    )
    chosen = np.sort(mine[:count])
    left = np.setdiff1d(np.arange(len(members)), chosen)
    tried = np.sort(theirs[:count])
    pool = join([members.subset(chosen), others.subset(tried)], name=members.name)
    near = near_duplicates(members.subset(chosen), others)
    return MembershipTrial(
        target=target,
        pool=pool,
        is_member=np.arange(2 * count) < count,
        groups={NATURAL: np.arange(2 * count)},
        numbers=np.concatenate([chosen, tried]),
        train_size=len(members),
        rest=members.subset(left) if len(left) else None,
        public=others.subset(np.sort(theirs[count:])),
        notes=(*notes, *near, *class_shares(members.subset(chosen), others.subset(tried))),
    )


def own_target(
    training: TargetTraining,
    data: Dataset,
    public: Dataset | None,
    *,
    canaries: int = 100,
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> MembershipTrial:
    """Train a target on a random half of the examples, some of them mislabeled canaries: the worst case.

    All examples are candidates. A canary has another label than its own, drawn by the seed: a model can know
    it only by heart. Natural candidates and canaries are judged apart; half of each are members.

    Args:
        training: How the target and its shadow models are made, such as with privacy.
        data: The candidates, of which repeated ones are left out.
        public: Further examples that no net here is trained on; those that are candidates are left out.
        canaries: How many examples are mislabeled; 0 for none.
        seed: Of the canaries, the half and the training.
        folder: Where the target's weights are kept, as private as the data.
        device: Where nets are trained.
        progress: Shows a bar.

    Raises:
        DataError: If more than one in ten of the public examples is a candidate, or there are too few.
    """
    numbers = first_of_each(data)
    notes = [*_count_note(len(data) - len(numbers), f"examples of {data.name} are repeated")]
    data = data.subset(numbers, name=data.name)
    if public is not None:
        apart = leave_out_shared(data, public)
        notes += _count_note(len(public) - len(apart), f"examples of {public.name} are also candidates")
        public = apart
    if not 0 <= canaries <= len(data) - 2 or canaries == 1:
        raise DataError(
            f"{canaries} canaries among {len(data)} examples; expected 0 or at least 2, and 2 natural ones"
        )
    rng = np.random.default_rng(derive_seed(seed, "membership", "canaries"))
    order = rng.permutation(len(data))
    wrong, natural = np.sort(order[:canaries]), np.sort(order[canaries:])
    labels = data.labels.copy()
    labels[wrong] = (labels[wrong] + rng.integers(1, data.num_classes, len(wrong))) % data.num_classes
    pool = relabel(data, labels, name=data.name)
    is_member = np.zeros(len(data), dtype=np.bool_)
    for group in (wrong, natural):
        is_member[rng.permutation(group)[: len(group) // 2]] = True
    net = train_or_load(
        InPlaceTrainer(training.build, training.train, device),
        training.build(0),
        pool,
        is_member,
        seed=seed,
        folder=folder,
        progress=progress,
    )
    model = Classifier(net.to(device), num_classes=data.num_classes, name=training.title)
    notes += retrained_notes(model, pool.subset(np.flatnonzero(is_member)), name=training.title)
    return MembershipTrial(
        target=training.target(model),
        pool=pool,
        is_member=is_member,
        groups={NATURAL: natural, **({MISLABELED: wrong} if len(wrong) else {})},
        numbers=numbers,
        train_size=int(is_member.sum()),
        public=public,
        notes=tuple(notes),
    )


def _count_note(count: int, what: str) -> tuple[str, ...]:
    """Return a sentence on examples that were left out, if any were."""
    return (f"{count} {what}, and are left out",) if count else ()
