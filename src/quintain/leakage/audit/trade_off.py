r"""Audit with one training run of a whole trade-off curve, such as the one that an accountant proves.

A claim of :math:`(\varepsilon, \delta)` allows much more than the mechanism behind it: of a Gaussian
mechanism of epsilon 8 a guess of one coin is right with probability 80 %, while epsilon 8 alone allows 99.97
%. A curve that is given is refuted by far fewer right guesses.
"""

from collections.abc import Callable

from numpy.typing import ArrayLike

from quintain.core.errors import SettingError
from quintain.core.registry import declare
from quintain.core.statistics import check_confidence
from quintain.leakage.audit.canary_checks import check_canaries
from quintain.leakage.audit.guesses import correct_guesses
from quintain.leakage.audit.one_run import OneRunAudit
from quintain.leakage.audit.profiles import ProfileFamily, gaussian_family, last_refuted
from quintain.leakage.audit.result import epsilon_bound, epsilon_quantity
from quintain.results.quantity import Quantity

CANARIES_PER_GUESS = 4
"""One of so many canaries is guessed, a number fixed beforehand: nothing is to be paid for its choice."""

_ROUNDING = 1e-9


@declare(
    kind="audit",
    name="plan-curve",
    summary="a test of the plan's own trade-off curve, by the canaries of one training run",
    guarantee="crosses a true claim with probability at most 1 - confidence, if the inclusion coins are fair "
    "and independent; below the claim its value is that of the plan with more noise",
    needs=("profiles",),
)
def audit_plan_curve(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
    profiles: ProfileFamily | None = None,
) -> OneRunAudit:
    r"""Compute a lower bound on epsilon from the curves of a plan with more and less noise.

    Args:
        scores, included, confidence, seed, quantity: As in ``audit_one_run``.
        delta: The delta of the epsilon, for which ``profiles`` has its values.
        profiles: The claimed curve among those of the same plan with other noise, as the accountant proves
            them (``evaluate.plan_profiles``). Those of Gaussian mechanisms if not given, which is an
            assumption: see ``audit_gaussian_curve``.

    Guarantee: if the mechanism keeps to a profile of the family, the bound reaches that profile's value with
    probability at most ``1 - confidence``, however scores depend on each other: a value above the claimed
    epsilon refutes the claim that is made. Below the claim it is a bound for mechanisms whose curve is one of
    the family's, and no bound on others (randomized response shows more than it has). It assumes fair and
    independent coins, as in ``audit_one_run``.

    Raises:
        DataError: For what ``check_canaries`` refuses.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.

    Source: Mahloujifar, Melis and Chaudhuri, 2024, arXiv:2410.22235; see ``refutes``.
    """
    _check_delta(delta)
    return _audit(
        scores,
        included,
        gaussian_family(delta) if profiles is None else profiles,
        delta,
        confidence,
        seed,
        quantity,
        "trade-off curve " + ("of a Gaussian" if profiles is None else "of the plan"),
        "the trade-off curve is that of the plan at some noise (a value above the claim needs no such "
        "assumption)",
    )


@declare(
    kind="audit",
    name="gaussian-curve",
    summary="a test of Gaussian trade-off curves, by the canaries of one training run",
    guarantee="exceeds the true epsilon with probability at most 1 - confidence, if the inclusion coins are "
    "fair and independent and the trade-off curve of each canary is a Gaussian's",
    rests_on_assumption=True,
)
def audit_gaussian_curve(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float = 1e-5,
    confidence: float = 0.95,
    seed: int = 0,
    quantity: Quantity | None = None,
) -> OneRunAudit:
    """Compute the lower bound of ``audit_plan_curve`` if the mechanism's curve is that of a Gaussian.

    Canaries may depend on each other, unlike in ``audit_gaussian``. Nothing can prove that the curve is a
    Gaussian's, so that it is no side of a bracket: of randomized response of epsilon 2 it shows more than 2.

    Args:
        scores, included, delta, confidence, seed, quantity: As in ``audit_one_run``.

    Raises:
        DataError: For what ``check_canaries`` refuses.
        SettingError: For a delta or confidence out of range, or a quantity with another delta.
    """
    _check_delta(delta)
    return _audit(
        scores,
        included,
        gaussian_family(delta),
        delta,
        confidence,
        seed,
        quantity,
        "Gaussian trade-off curve",
        "the trade-off between false positives and false negatives of each canary is a Gaussian's",
    )


def refutes(
    least: Callable[[float], float], canaries: int, guesses: int, correct: int, error_probability: float
) -> bool:
    r"""Whether so many right guesses have less than the error probability under a trade-off curve.

    Write N for the right ones among r guesses on m canaries, :math:`X_j = E[N; N \ge j] / m` and
    :math:`W_j = E[r - N; N \ge j] / m`: the probabilities that a given canary's guess is right, or wrong,
    while at least j are right. Turning one coin makes its right guess a wrong one and leaves the others, so
    that :math:`W_{j-1} \ge \mathrm{least}(X_j)`. If :math:`P[N \ge v] = \alpha`, of all laws the one with
    N = v on that event has to meet least of these conditions, and from

    .. math:: X_v = \frac{\alpha v}{m}, \quad W_v = \frac{\alpha (r - v)}{m}, \qquad
        W_i = \max(W_{i+1}, \mathrm{least}(X_{i+1})), \quad
        X_i = X_{i+1} + \frac{i}{r - i} (W_i - W_{i+1})

    each :math:`X_i` and :math:`W_i` is as small as it can be (:math:`i / (r - i)` rises, so that
    :math:`X_i` rises with all :math:`W`). If their sum exceeds :math:`X_0 + W_0 = r / m`, there is no law
    with that probability, and so none with a larger one. Conditions on other events are left out, so that
    this may say no where a linear program over all laws would say yes, and never the other way round.

    Args:
        least: The smallest P'(E) where P(E) is given, for neighbors in either order; rising.
        canaries, guesses, correct: m, r and v; r is fixed beforehand.
        error_probability: The probability alpha.

    Source: Mahloujifar, Melis and Chaudhuri, 2024, arXiv:2410.22235.
    """
    m, r = canaries, guesses
    x, w = error_probability * correct / m, error_probability * (r - correct) / m
    limit = r / m * (1 + _ROUNDING)
    for i in range(correct - 1, -1, -1):
        wrong = max(w, least(x))
        x, w = x + i / (r - i) * (wrong - w), wrong
        if x + w > limit:
            return True
    return False


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise SettingError(f"delta = {delta}; expected a probability far below 1 / canaries, such as 1e-5")


def _audit(
    scores: ArrayLike,
    included: ArrayLike,
    family: ProfileFamily,
    delta: float,
    confidence: float,
    seed: int,
    quantity: Quantity | None,
    method: str,
    assumption: str,
) -> OneRunAudit:
    """Test a family of curves by the guesses on a quarter of the canaries."""
    check_confidence(confidence)
    values, coins = check_canaries(scores, included)
    m = len(coins)
    r = max(1, m // CANARIES_PER_GUESS)
    correct = int(correct_guesses(values, coins, seed=seed)[:r].sum())

    def lower_bound(right: int, level: float) -> float:
        return family.value(
            last_refuted(
                family, lambda place: refutes(lambda p: family.least(place, p), m, r, right, 1 - level)
            )
        )

    bound = epsilon_bound(
        lambda level: lower_bound(correct, level),
        epsilon_quantity(quantity, delta),
        confidence,
        method=f"{method}, {m} canaries",
        assumptions=(
            "inclusion coins fair and independent",
            "scores computed from what is released alone",
            assumption,
        ),
    )
    return OneRunAudit(
        bound=bound,
        max_auditable_epsilon=lower_bound(r, confidence),
        canaries=m,
        confidence=confidence,
        guesses=r,
        correct=correct,
    )
