"""What a leakage attack finds, from scores drawn here."""

import numpy as np

from quintain.leakage.membership_rates import MembershipScores, tpr_levels
from quintain.results.leak_records import LeakMeasurement
from quintain.results.quantity import Metric


def found(attack, *, shift=0.0, model="toy model", seed=0, fpr=0.01):
    """What a toy finds whose scores are shifted for members."""
    rng = np.random.default_rng(seed)
    scores = MembershipScores.from_scores(rng.normal(shift, 1, 500), rng.normal(0, 1, 500))
    return LeakMeasurement(
        attack=attack.name,
        goal=attack.goal,
        access=attack.access,
        model=model,
        candidates="natural",
        measure="TPR at 1 % FPR",
        value=0.3,
        low=0.2,
        high=0.4,
        confidence=0.95,
        baseline=fpr,
        baseline_name="guessing",
        unit="example",
        count=1000,
        queries=1.0,
        metric=Metric.MEMBERSHIP_TPR,
        fpr=fpr,
        lower=tpr_levels(scores, fpr),
    )
