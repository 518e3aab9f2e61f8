"""From what a judge found to what a record keeps."""

import numpy as np

from quintain.evaluate.leaks.job import LeakJob
from quintain.leakage.attack import LeakageAttack, LeakJudgment
from quintain.results.leak_records import CurvePoint, LeakMeasurement


def to_measurement(
    job: LeakJob,
    attack: LeakageAttack,
    judgment: LeakJudgment,
    *,
    access: str,
    candidates: str,
    count: int,
    queries: float,
    exposed: tuple[int, ...] = (),
) -> LeakMeasurement:
    """Return the record of one judgment.

    Args:
        job: What was measured.
        attack: Who guessed.
        judgment: What the judge of its goal found.
        access: What the attack saw.
        candidates: Which candidates it guessed about, in words.
        count: How many trials there were.
        queries: Queries of each candidate, on average.
        exposed: Ids of the candidates that it tells most surely and rightly, the surest first.
    """
    return LeakMeasurement(
        attack=attack.name,
        goal=attack.goal,
        access=access,
        model=job.target.title,
        candidates=candidates,
        measure=judgment.measure,
        value=judgment.value,
        low=judgment.low,
        high=judgment.high,
        confidence=judgment.confidence,
        baseline=judgment.baseline,
        baseline_name=judgment.baseline_name,
        unit=judgment.unit,
        count=count,
        queries=queries,
        ceiling=judgment.ceiling,
        curve=tuple(CurvePoint(float(x), float(y)) for x, y in judgment.curve),
        exposed=exposed,
    )


def unit_of(shape: tuple[int, ...]) -> str:
    """Return what one example is called: an image where it has rows and columns, else an example."""
    return "image" if len(shape) == 3 and int(np.prod(shape[1:])) > 1 else "example"
