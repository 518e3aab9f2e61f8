"""One verb on one model: attack, certify or harden, with the brackets that follow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from quintain.certify.smoothing import SmoothedClassifier
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import get_entry
from quintain.data.dataset import Dataset
from quintain.evaluate.attacked import attack_models
from quintain.evaluate.brackets import bracket_claims, clean_claim
from quintain.evaluate.campaign import AttackFn
from quintain.evaluate.outcome import Outcome
from quintain.evaluate.proved import prove
from quintain.evaluate.smoothing import Smoothing, smoothed_bracket
from quintain.evaluate.subject import Subject
from quintain.evaluate.team import ALONE, Team
from quintain.results.robustness_records import AttackResult, CertifyResult
from quintain.threats import L2
from quintain.threats.threat import Threat

UNFINISHED = "unfinished"
"""Where a run folder keeps what is finished of an attack, until its record is whole."""


def attacked_outcome(
    subject: Subject,
    data: Dataset,
    threats: Sequence[Threat],
    attacks: Mapping[str, AttackFn],
    *,
    seed: int = 0,
    folder: Path,
    pictures: int = 6,
    queries: int | None = None,
    target: int | None = None,
    left_out: int = 0,
    team: Team = ALONE,
    progress: Progress = no_progress,
) -> Outcome:
    """Attack a model; nothing is proved of it.

    Args:
        subject, data, threats, attacks, seed, queries, target, team, progress: As ``attack_models`` takes them.
        folder: The run folder: pictures, and under ``UNFINISHED`` what is finished of a run that may be cut off.
        pictures: How many fooled examples to keep.
        left_out: How many examples of the target class are not among ``data``, for the notes.
    """
    attacked = attack_models(
        subject,
        data,
        threats,
        attacks,
        seed=seed,
        folder=folder,
        pictures=pictures,
        queries=queries,
        target=target,
        pieces=folder / UNFINISHED,
        team=team,
        progress=progress,
    )
    _, claims = bracket_claims(subject, data, threats, attacked=attacked, delivered=True)
    notes = []
    if target is not None:
        notes.append(f"Only the answer {data.class_names[target]} counts as a break; {left_out} examples of that class are left out.")
    if attacked.stop_reason:
        notes.append(
            f"The run broke off: {attacked.stop_reason}. {attacked.num_unattacked} examples that were not attacked count as standing."
        )
    clean = clean_claim(subject, data, predicted=np.array(attacked.examples.predicted), delivered=True)
    return Outcome(AttackResult((attacked,)), (clean, *claims), tuple(notes))


def certified_outcome(
    subject: Subject,
    data: Dataset,
    threats: Sequence[Threat],
    certifier: str,
    *,
    sigma: float = 0.25,
    noise_samples: int = 10_000,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Outcome:
    """Prove what can be proved; the upper side is what unchanged examples show, or for a smoothed model, attacks on it.

    Args:
        certifier: A registered name.
        sigma, noise_samples: For ``smoothing``.
    """
    if certifier == "smoothing":
        balls = [threat for threat in threats if isinstance(threat, L2)]
        if len(balls) != len(threats):
            raise SettingError(f"{threats[0].spec}: randomized smoothing proves L2 balls; give sizes such as --threat l2:0.5")
        for ball in balls:
            SmoothedClassifier(subject.model, sigma, noise_samples=noise_samples).require_certifiable(ball)
        _, both, claims = smoothed_bracket(
            subject, data, balls, Smoothing(sigma, noise_samples, examples=0), seed=seed, delivered=True, progress=progress
        )
    else:
        proved = prove(subject, data, threats, get_entry("certifier", certifier).load()(), method=certifier, progress=progress)
        both, claims = bracket_claims(subject, data, threats, proved=proved, delivered=True)
    return Outcome(CertifyResult((both,)), (clean_claim(subject, data, delivered=True), *claims))
