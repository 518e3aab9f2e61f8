"""How surely members are told from a net that is trained plainly, and from one that is trained privately."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import nn

from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.choice import default_leaks
from quintain.evaluate.leaks.claims import leak_claims
from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
from quintain.evaluate.leaks.job import TargetTraining
from quintain.evaluate.leaks.membership_trainings import compare_trainings
from quintain.evaluate.leaks.trainers import PrivateTrainer, RecipeTrainer
from quintain.evaluate.privacy_target import PrivacyTarget, ProtectedRecords, plan_record
from quintain.evaluate.step import StepOutput
from quintain.results.leak_records import name_of_title
from quintain.results.privacy_records import LeakResult
from quintain.training import Recipe

CANARIES = 5
"""One in so many candidates has a wrong label."""


def run_membership(
    data: Dataset,
    *,
    build: Callable[[int], nn.Module],
    recipe: Recipe,
    private: PrivacyTarget,
    candidates: int,
    shadows: int,
    seed: int = 0,
    unfinished: Path | None = None,
    device: str = "cpu",
    progress: Progress = no_progress,
) -> StepOutput:
    """Train a net on a random half of some examples, plainly and privately, and attack membership in both.

    One in five candidates is mislabeled: a net can know it only by heart, which is the worst case; the others
    are as they are. The attacks on each net know shadow models that were trained as it was. What the plan of
    the private training allows bounds what can be found out of it from above. These are small trainings of
    their own: they show what the two ways of training give away, and not what a net of all examples does.

    Args:
        data: Examples to draw from.
        build: Builds a fresh net from a seed.
        recipe: Of the plain training.
        private: Epsilon, delta and settings of the private one.
        candidates: How many examples are drawn; half of them are trained on.
        shadows: Shadow models of each net; even.
        seed: Of the candidates, the halves and the plain trainings; noise is the operating system's.
        unfinished: Where trained nets are kept, so that the same call resumes after a kill; as private as the
            data.
        device: Where nets are trained.
        progress: Shows bars.

    Raises:
        DataError: If there are too few examples.
        PrivacyError: If the net cannot be trained privately.
    """
    clock = time.perf_counter()
    rows = np.random.default_rng(derive_seed(seed, "membership", "drawn")).permutation(len(data))
    pool = data.subset(np.sort(rows[:candidates]), name=data.name)
    (entry,), _ = default_leaks("scores", knows=("public", "shadows"), goals=("membership",))
    attack = entry.build(shadows=shadows)
    half = len(pool) // 2
    guarantee = PrivacyGuarantee.of_plan(plan_record(private.plan(half), half))
    plain_title = f"plain, {half} examples"
    private_title = f"private, epsilon {private.epsilon:g}, {half} examples"

    found = compare_trainings(
        (
            TargetTraining(plain_title, build, RecipeTrainer(recipe)),
            TargetTraining(
                private_title,
                build,
                PrivateTrainer(private),
                epsilon=guarantee.epsilon,
                delta=guarantee.delta,
                max_tpr=guarantee.max_tpr,
            ),
        ),
        pool,
        None,
        [attack],
        canaries=len(pool) // CANARIES,
        shadows=shadows,
        seed=seed,
        folder=unfinished,
        workers=1,
        device=device,
        progress=progress,
    )
    claims = leak_claims(
        found.measurements,
        model=name_of_title(plain_title),
        model_hash="",
        data_hash=ProtectedRecords.of_run(pool, unfinished).keyed_hash,
        guarantees={private_title: guarantee},
        primary=False,
    )
    result = LeakResult(measurements=found.measurements, seconds=time.perf_counter() - clock)
    return StepOutput(result, claims, found.notes, reproducible=False)
