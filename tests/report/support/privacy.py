"""Private trainings, plans and audits."""

import random
from dataclasses import replace
from itertools import pairwise

from quintain.results.bounds import Bound, Bracket
from quintain.results.class_counts import ClassCounts
from quintain.results.evidence import ConfidenceLevels
from quintain.results.privacy_records import (
    AuditResult,
    AuditRun,
    MechanismTest,
    PlanResult,
    PrivacyPlan,
    PrivacyStatement,
    PrivateRun,
    PrivatizeResult,
)
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim
from tests.report.support.claims import TRAIN_HASH, tallies, training_run

SURE = PrivacyStatement(
    2.96,
    0.634,
    "add/remove",
    "record",
    "poisson",
    "float gaussian, AES-256-CTR keyed by the operating system's entropy",
    False,
    (),
    ("a",),
)


def plan(epsilon: float = 2.998, batch: int = 512, noise: float = 1.12) -> PrivacyPlan:
    return PrivacyPlan(noise, 1.0, batch, batch / 4708, 276, 1e-5, epsilon, "PLD (dp-accounting)")


def trial(right: int, **settings: float) -> PrivateRun:
    return PrivateRun(plan(**settings), ClassCounts((right, 300), (234, 390)), 12.0)


CURVE = tuple(
    trial(90 + 20 * place, epsilon=epsilon, noise=9 / epsilon)
    for place, epsilon in enumerate((0.5, 0.999, 1.99, 2.998, 4.0, 7.98))
)


BATCHES = tuple(trial(100 + 10 * place, batch=batch) for place, batch in enumerate((256, 512, 1024)))


PLANNED = PlanResult(
    plan(),
    3.0,
    4708,
    276,
    (128, 512, 2048),
    (69, 276),
    ((0.8, 0.99), (1.6, 2.7), (5.2, 10.1)),
    ((0.32, 0.65), (1.4, 3.0), (6.6, 15.2)),
)


def epsilon_claim() -> Claim:
    of = Quantity(
        Metric.EPSILON,
        "mechanism",
        TRAIN_HASH,
        delta=1e-5,
        adjacency="add/remove",
        privacy_unit="image",
        released="all iterates",
    )
    upper = Bound(
        of,
        Side.UPPER,
        2.998,
        Basis.PROOF,
        None,
        "PLD (dp-accounting)",
        ("Gaussian noise and Poisson sampling as specified",),
    )
    return Claim(
        "private:epsilon audited",
        "Privacy of each record, audited",
        "private",
        Bracket(_audit_bound(0.93), upper),
        primary=True,
    )


def _audit_bound(value: float) -> Bound:
    of = Quantity(
        Metric.EPSILON,
        "mechanism",
        TRAIN_HASH,
        delta=1e-5,
        adjacency="add/remove",
        privacy_unit="image",
        released="all iterates",
    )
    levels = ConfidenceLevels((0.95, 0.99, 0.999, 1 - 1e-6), (value, 0.8 * value, 0.6 * value, 0.3 * value))
    return Bound(of, Side.LOWER, value, Basis.STATISTICAL, levels, "one-run audit, 500 canaries")


def privatized() -> PrivatizeResult:
    return PrivatizeResult(
        training_run("private", "DP-SGD, 276 steps, noise 1.12, clip 1"), tallies()["plain"], plan(), 0.34
    )


def audited() -> AuditResult:
    bins = tuple(-4 + 0.4 * step for step in range(31))

    def counts(centre: float, width: float) -> tuple[int, ...]:
        draw = random.Random(f"{centre}")
        scores = [draw.gauss(centre, width) for _ in range(250)]
        return tuple(sum(low <= score < high for score in scores) for low, high in pairwise(bins))

    run = AuditRun(
        "the plan",
        _audit_bound(0.93),
        5.1,
        500,
        120,
        87,
        0.95,
        bins,
        counts(1.1, 1.0),
        counts(0.0, 1.01),
        gaussian_epsilon=2.31,
    )
    control = AuditRun(
        "control: no noise",
        _audit_bound(4.86),
        5.1,
        500,
        400,
        399,
        0.95,
        bins,
        counts(5.5, 0.8),
        counts(0.02, 0.5),
    )
    tests = (
        MechanismTest("noise", 1.12, 1.1187, 0.61, True, "spread of the noise in 240 steps"),
        MechanismTest("inclusion", 0.1087, 0.1091, 0.43, True, "share of records in a step, over 240 steps"),
    )
    return AuditResult(plan(), run, control, tests)


def swept() -> PrivatizeResult:
    return replace(
        privatized(), statement=SURE, epsilon_sweep=CURVE, batch_size_sweep=BATCHES, composed_epsilon=9.41
    )
