"""Brackets on what attackers find out: attacks from below, what a claimed privacy allows from above."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from quintain.core.files import sha256
from quintain.core.statistics import binomial_lower
from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
from quintain.leakage.membership_rates import CONFIDENCES
from quintain.results.bounds import Bound, Bracket
from quintain.results.evidence import ConfidenceLevels
from quintain.results.leak_records import LeakMeasurement, name_of_title, title_of_claim
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim

INDEPENDENT = "candidates were members or not independently of each other, and so are their scores"
FIRST_WEIGHTS = "the weights that private training started from were not learned from these records"
PERSON_UNCLAIMED = "a claim about single examples says nothing of a person's many; nothing limits it"
NOTHING_CLAIMED = "no privacy is claimed, so that nothing limits it"


def leak_claims(
    measurements: Iterable[LeakMeasurement],
    *,
    model: str,
    model_hash: str,
    data_hash: str,
    guarantee: PrivacyGuarantee | None = None,
    guarantees: Mapping[str, PrivacyGuarantee | None] | None = None,
    primary: bool = True,
) -> tuple[Claim, ...]:
    """Return a claim for each quantity that attacks bound, on each model and kind of candidates.

    Where several attacks bound one quantity the best counts, each at its part of the error.

    Args:
        measurements: Those without a metric bound no claim.
        model: The name of the model that was attacked first, as requirements name it; others go by what
            measurements call them.
        model_hash: Its hash.
        data_hash: Of its training examples, under a secret salt.
        guarantee: The privacy that is claimed for it, if any.
        guarantees: That of other models that were tried, by what measurements call them; ``guarantee`` is
            that of all that are missing.
        primary: Whether requirements that name no model mean these.
    """
    found: dict[tuple[str, str, Metric, float | None], list[LeakMeasurement]] = {}
    for one in measurements:
        if one.metric is not None and one.lower is not None:
            found.setdefault((one.model, one.candidates, one.metric, one.fpr), []).append(one)
    titles = list(dict.fromkeys(title for title, *_ in found))
    return tuple(
        _claim(
            metric,
            fpr,
            attacks,
            model=model if title == titles[0] else name_of_title(title),
            model_hash=model_hash if title == titles[0] else sha256(f"{model_hash} {title}".encode()),
            data_hash=sha256(f"{data_hash} {candidates}".encode()),
            guarantee=(guarantees or {}).get(title, guarantee),
            primary=primary and title == titles[0],
            of_model=f", {title}" if len(titles) > 1 else "",
        )
        for (title, candidates, metric, fpr), attacks in found.items()
    )


def count_levels(hits: int, trials: int) -> ConfidenceLevels:
    """Return Clopper-Pearson lower limits of a rate, at several confidences."""
    return ConfidenceLevels(
        CONFIDENCES, tuple(binomial_lower(hits, trials, confidence) for confidence in CONFIDENCES)
    )


def above(levels: ConfidenceLevels, baseline: float) -> ConfidenceLevels:
    """Return the levels that lie above what needs no access; the others show nothing, and are 0."""
    return ConfidenceLevels(
        levels.confidences, tuple(value if value > baseline else 0.0 for value in levels.values)
    )


def _claim(
    metric: Metric,
    fpr: float | None,
    attacks: Sequence[LeakMeasurement],
    *,
    model: str,
    model_hash: str,
    data_hash: str,
    guarantee: PrivacyGuarantee | None,
    primary: bool,
    of_model: str,
) -> Claim:
    quantity = Quantity(
        metric,
        model_hash,
        data_hash,
        privacy_unit=attacks[0].unit,
        released="the model",
        fpr=fpr,
    )
    upper = _upper(quantity, guarantee)
    levels = _best(attacks)
    lower = Bound(
        quantity=quantity,
        side=Side.LOWER,
        value=levels.at(0.95, 0.0),
        basis=Basis.STATISTICAL,
        evidence=levels,
        method=", ".join(dict.fromkeys(one.attack for one in attacks)),
        assumptions=(INDEPENDENT,) if metric is not Metric.REIDENTIFIED else (),
    )
    candidates = attacks[0].candidates
    return Claim(
        name=f"{model}:{quantity.text}:{candidates}",
        title=f"{title_of_claim(quantity, candidates)}{of_model}",
        model=model,
        bracket=Bracket(lower, upper),
        primary=primary,
    )


def _upper(quantity: Quantity, guarantee: PrivacyGuarantee | None) -> Bound:
    """Return what the guarantee allows; trivial where there is none, or it says nothing of the quantity."""
    if guarantee is None or quantity.metric is Metric.REIDENTIFIED:
        reason = PERSON_UNCLAIMED if guarantee is not None else NOTHING_CLAIMED
        return replace(Bound.trivial(quantity, Side.UPPER), method=reason)
    value = guarantee.max_advantage if quantity.fpr is None else guarantee.max_tpr(quantity.fpr)
    return Bound(
        quantity=quantity,
        side=Side.UPPER,
        value=value,
        basis=Basis.CLAIMED if guarantee.curve is None else Basis.PROOF,
        method=f"limited by {guarantee.source}",
        assumptions=(
            "the privacy that is claimed holds",
            *((FIRST_WEIGHTS,) if guarantee.curve is not None else ()),
            INDEPENDENT,
        ),
    )


def _best(attacks: Sequence[LeakMeasurement]) -> ConfidenceLevels:
    """Return the best bound of several attacks at each confidence, each at its part of the error."""
    levels = [one.lower for one in attacks if one.lower is not None]
    values = [
        max(one.at(1 - (1 - confidence) / len(levels), 0.0) for one in levels) for confidence in CONFIDENCES
    ]
    return ConfidenceLevels(CONFIDENCES, tuple(values))
