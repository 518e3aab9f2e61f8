"""What leakage attacks find on a plain and on a private model, from scores drawn here."""

from pathlib import Path

import numpy as np

from quintain.evaluate.leaks.claims import leak_claims
from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
from quintain.leakage.membership_rates import MembershipScores, advantage_levels, tpr_levels
from quintain.results.evidence import ConfidenceLevels
from quintain.results.leak_records import CurvePoint, LeakMeasurement, LeakPictures
from quintain.results.privacy_records import LeakResult
from quintain.results.quantity import Metric
from quintain.results.records import Claim
from tests.report.support.pictures import store, xray

PLAIN, PRIVATE = "plain", "private, epsilon 3"
PROTECTED = PrivacyGuarantee.from_claim(3.0, 1e-5)

NATURAL, CANARIES = "natural", "mislabeled canaries"
SHIFTS = {
    (PLAIN, NATURAL): 0.25,
    (PLAIN, CANARIES): 1.9,
    (PRIVATE, NATURAL): 0.0,
    (PRIVATE, CANARIES): 0.15,
}
"""How far the scores of members lie above those of others, in standard deviations."""

COUNT = 400


def measured(attack: str, model: str, candidates: str, shift: float, seed: int) -> list[LeakMeasurement]:
    """The measurements of one attack on one model, of candidates whose scores differ by a shift."""
    rng = np.random.default_rng(seed)
    scores = MembershipScores.from_scores(rng.normal(shift, 1, COUNT), rng.normal(0, 1, COUNT))
    limits = np.sort(scores.others)[::-1]
    curve = tuple(
        CurvePoint(k / COUNT, float((scores.members > limits[k]).mean()))
        for k in (0, 1, 2, 4, 8, 16, 64, 200)
    )
    common = {"goal": "membership", "access": "scores", "unit": "image", "count": COUNT, "queries": 2.0}

    def one(measure: str, value: float, baseline: float, **more: object) -> LeakMeasurement:
        return LeakMeasurement(
            attack=attack,
            model=model,
            candidates=candidates,
            measure=measure,
            value=value,
            low=max(0.0, value - 0.04),
            high=value + 0.04,
            confidence=0.95,
            baseline=baseline,
            baseline_name="guessing",
            curve=(*curve, CurvePoint(1.0, 1.0)),
            exposed=tuple(np.flatnonzero(scores.members > limits[3]).tolist()),
            **common,
            **more,
        )

    advantage: ConfidenceLevels = advantage_levels(scores)
    return [
        one(
            f"TPR at {100 * fpr:g} % FPR",
            curve[place].y,
            fpr,
            metric=Metric.MEMBERSHIP_TPR,
            fpr=fpr,
            lower=tpr_levels(scores, fpr),
        )
        for fpr, place in ((0.001, 0), (0.01, 3))
    ] + [
        one(
            "membership advantage",
            max(point.y - point.x for point in curve),
            0.0,
            metric=Metric.MEMBERSHIP_ADVANTAGE,
            lower=advantage,
        )
    ]


def attacked(folder: Path | None = None) -> LeakResult:
    """Two attacks on two models and two kinds of candidates; with a folder, one reconstruction."""
    measurements = [
        found
        for place, ((model, candidates), shift) in enumerate(SHIFTS.items())
        for attack, strength in (("lira", 1.0), ("loss-threshold", 0.4))
        for found in measured(attack, model, candidates, strength * shift, 10 * place + len(attack))
    ]
    pictures = ()
    if folder is not None:
        image, other = xray(7), xray(8)
        grain = np.random.default_rng(1).standard_normal(image.shape)
        pictures = (
            LeakPictures(
                "person 3",
                store(folder, "person-3", image, "person 3: original"),
                store(folder, "person-3-made", image + 0.08 * grain, "person 3: reconstructed", "bad"),
                store(folder, "person-3-public", other, "person 3: nearest public picture", "reference"),
            ),
        )
    return LeakResult(measurements=tuple(measurements), pictures=pictures, seconds=61.0)


def leak_sides(result: LeakResult) -> tuple[Claim, ...]:
    """The claims on what was measured; privacy is claimed for the private model alone."""
    return leak_claims(
        result.measurements,
        model="plain",
        model_hash="model",
        data_hash="data",
        guarantees={PRIVATE: PROTECTED},
    )
