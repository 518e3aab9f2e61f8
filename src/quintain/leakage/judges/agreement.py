r"""How far a copy of a model is one: where it predicts the same classes on examples that it never saw."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.statistics import binomial_interval, check_confidence
from quintain.leakage.attack import LeakJudgment

Classes = NDArray[np.int64]


def judge_agreement(
    model: Classes,
    copy: Classes,
    baselines: Mapping[str, Classes],
    *,
    unit: str = "example",
    measure: str = "agreement",
    confidence: float = 0.95,
    curve: Sequence[tuple[float, float]] = (),
) -> LeakJudgment:
    """Judge a copy by the fraction of held-out examples on which it predicts what the model does.

    Args:
        model: Predictions of the model on examples that the copy was not trained on (n,).
        copy: Predictions of the copy (n,).
        baselines: Predictions of copies that took no queries, by name, such as the same net trained on true
            labels; the most frequent prediction is added. The best of them counts, chosen with the answers at
            hand, which favors the baseline.
        unit: What one example is.
        measure: What the record calls it.
        confidence: Of the interval, which is exact (Clopper and Pearson): it speaks of the population that
            the examples were drawn from.
        curve: Points (queries, agreement) on the way.

    Raises:
        SettingError: If there are no examples, or predictions differ in number.
    """
    same = _agreements(model, copy)
    low, high = binomial_interval(int(same.sum()), len(same), confidence)
    everyone = {"the majority class": np.full_like(model, np.bincount(model).argmax()), **baselines}
    values = {name: float(_agreements(model, one).mean()) for name, one in everyone.items()}
    best = max(values, key=lambda name: values[name])
    return LeakJudgment(
        measure=measure,
        value=float(same.mean()),
        low=low,
        high=high,
        baseline=values[best],
        baseline_name=best,
        unit=unit,
        confidence=confidence,
        per_example=tuple(same.astype(float).tolist()),
        curve=tuple(curve),
    )


def judge_kappa(
    model: Classes,
    copy: Classes,
    baselines: Mapping[str, Classes],
    *,
    unit: str = "example",
    confidence: float = 0.95,
) -> LeakJudgment:
    r"""Judge a copy of a model of two classes by Cohen's kappa, agreement beyond what chance gives.

    .. math:: \kappa = \frac{p_o - p_e}{1 - p_e},\quad p_e = p q + (1 - p)(1 - q)

    with the fraction :math:`p_o` of agreement and the fractions p and q of class 1 of the two. Kappa rises
    with :math:`p_o` and falls with :math:`p_e`, which is linear in p and in q, so that its extremes over
    exact intervals of the three (each at a third of the error) are at their ends: together they contain the
    population's kappa with at least the stated confidence.

    Args:
        model, copy, baselines, unit, confidence: As ``judge_agreement`` takes them. A constant answer has
            kappa 0.

    Source: Cohen, 1960.
    """
    same = _agreements(model, copy)
    if max(model.max(), copy.max()) > 1:
        raise SettingError(
            f"classes up to {max(model.max(), copy.max())}; expected two: kappa is taken for those alone"
        )
    third, n = 1 - (1 - check_confidence(confidence)) / 3, len(same)
    agree = binomial_interval(int(same.sum()), n, third)
    ones = [binomial_interval(int(one.sum()), n, third) for one in (model, copy)]
    corners = [_chance(p, q) for p, q in product(*ones)]
    values = {"the majority class": 0.0} | {
        name: _kappa(float(_agreements(model, one).mean()), _chance(float(model.mean()), float(one.mean())))
        for name, one in baselines.items()
    }
    best = max(values, key=lambda name: values[name])
    return LeakJudgment(
        measure="Cohen's kappa",
        value=_kappa(float(same.mean()), _chance(float(model.mean()), float(copy.mean()))),
        # where both may always give one class, kappa may be anything
        low=max(-1.0, min(_kappa(agree[0], chance) if chance < 1 else -1.0 for chance in corners)),
        high=max(_kappa(agree[1], chance) for chance in corners),
        baseline=values[best],
        baseline_name=best,
        unit=unit,
        confidence=confidence,
    )


def _agreements(model: Classes, copy: Classes) -> NDArray[np.bool_]:
    """Return where two models predict the same class (n,)."""
    if len(model) != len(copy) or not len(model):
        raise SettingError(
            f"{len(copy)} predictions of the copy for {len(model)} of the model; expected one for each, of "
            "at least one example"
        )
    return np.asarray(model == copy)


def _chance(p: float, q: float) -> float:
    """Return how often two independent answers agree that are class 1 at rates p and q."""
    return p * q + (1 - p) * (1 - q)


def _kappa(agreement: float, chance: float) -> float:
    """Return kappa; 0 where both always give the same class, so that agreement says nothing."""
    return 0.0 if chance >= 1 else (agreement - chance) / (1 - chance)
