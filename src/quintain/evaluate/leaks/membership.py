"""Measure how surely a model tells who was trained on: the attacks on membership, beside what is allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.evaluate.leaks.job import LeakFindings, LeakJob, LeakTarget
from quintain.evaluate.leaks.membership_trial import MembershipTrial, draw_for_target, own_target
from quintain.evaluate.leaks.untrained import shadow_notes
from quintain.leakage.attack import Candidates, LeakageAttack
from quintain.leakage.judges.membership import (
    ADVANTAGE,
    FALSE_POSITIVE_RATES,
    coarse_rates,
    judge_membership,
    name_of_rate,
)
from quintain.leakage.judges.ranked_scores import most_exposed, rank_scores
from quintain.leakage.judges.trade_off import EpsilonDelta, MaxTPR
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.membership_rates import MembershipScores, advantage_levels, tpr_levels
from quintain.leakage.view import ModelView
from quintain.models.protocol import Access, includes_access
from quintain.results.evidence import ConfidenceLevels
from quintain.results.leak_records import CurvePoint, LeakMeasurement
from quintain.results.quantity import Metric

_METRICS: Mapping[str, tuple[Metric, float | None]] = {
    ADVANTAGE: (Metric.MEMBERSHIP_ADVANTAGE, None),
    **{name_of_rate(rate): (Metric.MEMBERSHIP_TPR, rate) for rate in FALSE_POSITIVE_RATES},
}
"""Measures that requirements are about."""


def measure(job: LeakJob) -> LeakFindings:
    """Run attacks on membership of the candidates of a job, and judge them.

    With ``job.canaries`` a second target is trained as the first one was, on half of the members, some of
    them mislabeled: the worst case, beside the natural examples of the same training.

    Raises:
        DataError: If the other examples overlap the members, or are too few.
        SettingError: If an attack needs more access or knowledge than there is.
    """
    findings = [
        run_trial(
            draw_for_target(job.target, job.members, job.others, candidates=job.candidates, seed=job.seed),
            job.attacks,
            access=job.access,
            budget=job.budget,
            shadows=job.shadows,
            seed=job.seed,
            folder=job.unfinished,
            workers=job.workers,
            progress=job.progress,
        )
    ]
    if job.canaries:
        trial = own_target(
            replace(job.target.training, title=f"{job.target.title}, retrained with canaries"),
            job.members,
            job.others,
            canaries=min(job.canaries, len(job.members) // 10),
            seed=job.seed,
            folder=job.unfinished,
            device=str(job.target.model.device),
            progress=job.progress,
        )
        findings.append(
            run_trial(
                trial,
                job.attacks,
                access=job.access,
                budget=job.budget,
                shadows=job.shadows,
                seed=job.seed,
                folder=job.unfinished,
                workers=job.workers,
                progress=job.progress,
            )
        )
    return LeakFindings(
        measurements=tuple(one for found in findings for one in found.measurements),
        notes=tuple(dict.fromkeys(note for found in findings for note in found.notes)),
    )


def run_trial(
    trial: MembershipTrial,
    attacks: Sequence[LeakageAttack],
    *,
    access: Access | None = None,
    budget: int = 1000,
    shadows: int = 16,
    seed: int = 0,
    folder: Path | None = None,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> LeakFindings:
    """Run attacks on the candidates of a trial, and judge each group of candidates apart.

    Args:
        trial: The target, the candidates and the answer.
        attacks: All on membership; shadow models are trained only where one needs them.
        access: The attacker's level; what the model gives if not given.
        budget: Queries for each candidate, and for each public example.
        shadows: How many shadow models are trained; even.
        seed: Of everything that is drawn.
        folder: Where shadow models are kept, as private as the data.
        workers: Processes that train them at once.
        progress: Shows bars.

    Raises:
        SettingError: If an attack needs more access or knowledge than there is.
    """
    target, level = trial.target, access or trial.target.model.access
    for attack in attacks:
        if not includes_access(level, attack.access):
            raise SettingError(
                f"{attack.name} needs {attack.access} and the attacker has {level}; expected attacks on "
                "no more than that"
            )
    needs_shadows = any("shadows" in attack.needs for attack in attacks)
    knowledge = Knowledge(
        public=trial.public,
        shadows=(
            trial.train_shadows(count=shadows, seed=seed, folder=folder, workers=workers, progress=progress)
            if needs_shadows
            else None
        ),
        architecture=target.build,
    )
    x, y = trial.pool.tensors
    candidates = Candidates(y=y, ids=torch.arange(len(y)), shape=trial.pool.shape, x=x)
    num_examples = len(candidates) + (0 if trial.public is None else len(trial.public))
    measurements: list[LeakMeasurement] = []
    for attack in attacks:
        view_level: Access = attack.access  # type: ignore[assignment]
        view = ModelView(target.model, access=view_level, max_queries=budget * num_examples)
        attack_knowledge = knowledge
        attack_knowledge.require(attack.needs, attack=attack.name)
        guess = attack.guess(view, attack_knowledge, candidates, budget=budget, seed=seed, progress=progress)
        if guess.scores is None:
            raise SettingError(f"{attack.name} gave no scores; expected one for each candidate")
        scores = guess.scores.cpu().double().numpy()
        for group, rows in trial.groups.items():
            measurements += _measure_group(
                trial, attack, group, rows, scores, view.queries / len(candidates), seed
            )
    notes = _notes(trial)
    if any(attack.access == "labels" for attack in attacks):
        right = (target.model.predict(x).cpu() == y).double().numpy()
        notes += [_predicted_right(trial, group, rows, right, seed) for group, rows in trial.groups.items()]
    if knowledge.shadows is not None:
        notes += shadow_notes(knowledge.shadows, target.model, trial.pool, trial.is_member)
    return LeakFindings(measurements=tuple(measurements), notes=tuple(notes))


def ceiling_of(target: LeakTarget) -> MaxTPR | None:
    """Return the largest TPR at each FPR that the claim of a target allows; None where nothing is claimed."""
    if target.max_tpr is not None:
        return target.max_tpr
    if target.epsilon is None:
        return None
    return EpsilonDelta(target.epsilon, target.delta or 0.0)


def _measure_group(
    trial: MembershipTrial,
    attack: LeakageAttack,
    group: str,
    rows: NDArray[np.int64],
    scores: NDArray[np.float64],
    queries: float,
    seed: int,
) -> list[LeakMeasurement]:
    """Return the measurements of one attack on one group of candidates."""
    unit = "image" if len(trial.pool.shape) == 3 else "example"
    truth, ceiling = trial.is_member[rows], ceiling_of(trial.target)
    judged = judge_membership(scores[rows], truth, ids=rows, max_tpr=ceiling, unit=unit, seed=seed)
    ranked = MembershipScores.from_ranked(rank_scores(scores[rows], truth, ids=rows, seed=seed))
    exposed = most_exposed(scores[rows], truth, ids=rows, seed=seed)
    return [
        LeakMeasurement(
            attack=attack.name,
            goal=attack.goal,
            access=attack.access,
            model=trial.target.title,
            candidates=group,
            measure=one.measure,
            value=one.value,
            low=one.low,
            high=one.high,
            confidence=one.confidence,
            baseline=one.baseline,
            baseline_name=one.baseline_name,
            unit=one.unit,
            count=len(rows),
            queries=queries,
            ceiling=one.ceiling,
            curve=tuple(CurvePoint(*point) for point in one.curve),
            exposed=tuple(int(trial.numbers[position]) for position in exposed),
            metric=_METRICS.get(one.measure, (None, None))[0],
            fpr=_METRICS.get(one.measure, (None, None))[1],
            lower=_lower(one.measure, ranked),
        )
        for one in judged
    ]


def _lower(measure: str, scores: MembershipScores) -> ConfidenceLevels | None:
    """Return the lower bounds on a measure that requirements are about, at several confidences."""
    metric, fpr = _METRICS.get(measure, (None, None))
    if metric is None:
        return None
    return advantage_levels(scores) if fpr is None else tpr_levels(scores, fpr)


def _predicted_right(
    trial: MembershipTrial, group: str, rows: NDArray[np.int64], right: NDArray[np.float64], seed: int
) -> str:
    """Say what the simplest attack on labels has (Yeom et al., 2018), which asks the model as others do."""
    judged = judge_membership(right[rows], trial.is_member[rows], ids=rows, seed=seed)
    (found,) = (one for one in judged if one.measure == ADVANTAGE)
    return (
        f"{group}: whoever is predicted right is taken for a member, by one query each: membership advantage "
        f"{100 * found.value:.1f} %; what an attack on labels has beyond it is owed to its other queries"
    )


def _notes(trial: MembershipTrial) -> list[str]:
    """Return what the reader must know of the candidates."""
    found = list(trial.notes)
    for group, rows in trial.groups.items():
        others = int((~trial.is_member[rows]).sum())
        found += [f"{group}: {sentence}" for sentence in coarse_rates(others)]
    return found
