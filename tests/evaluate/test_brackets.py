"""Both sides of a model meet: counts, curves, trivial sides, and the alarm."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.attacks import FGSM, PGD
from quintain.certify import IntervalBounds
from quintain.core.errors import SettingError
from quintain.evaluate.brackets import (
    attack_and_certify,
    clean_accuracy_claim,
    robust_accuracy,
    robustness_claims,
)
from quintain.evaluate.certify import certify_examples
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier
from quintain.results import Basis, Consistency, ExampleState
from quintain.threats import L2, Linf
from tests.evaluate.support.trained_net import SIZES, net, points


@pytest.fixture(scope="module")
def both(subject):
    attacks = {"fgsm": FGSM(), "pgd": PGD(steps=20)}
    return attack_and_certify(
        subject, points(), SIZES, attacks=attacks, certifiers={"interval bounds": IntervalBounds()}
    )


def exact_standing(threat):
    """By a fine grid over the ball: what it breaks is broken, and almost nothing else is."""
    data, model = points(), net()
    x, y = data.batch(np.arange(len(data)))
    steps = torch.linspace(-threat.eps, threat.eps, 101)
    offsets = torch.cartesian_prod(steps, steps)
    with torch.no_grad():
        worst = torch.stack(
            [
                (model((one + offsets).clamp(0, 1)).argmax(1) == label).all()
                for one, label in zip(x, y, strict=True)
            ]
        )
    return worst.numpy()


@pytest.mark.parametrize("threat", SIZES, ids=lambda threat: threat.spec)
def test_certified_below_exact_below_attacked_example_by_example(both, threat):
    _, result, claims = both
    states = result.examples.states(threat.eps)
    exact = exact_standing(threat)
    assert all(exact[row] for row, state in enumerate(states) if state is ExampleState.CERTIFIED)
    assert all(
        not exact[row]
        for row, state in enumerate(states)
        if state in (ExampleState.BROKEN, ExampleState.WRONG)
    )
    claim = next(claim for claim in claims if claim.bracket.quantity.threat == threat.spec)
    assert claim.bracket.lower.value <= exact.mean() <= claim.bracket.upper.value
    assert claim.bracket.consistency is Consistency.CONSISTENT
    assert (claim.bracket.lower.basis, claim.bracket.upper.basis) == (Basis.PROOF, Basis.WITNESS)


def test_curves_pass_through_the_counts(both):
    _, result, claims = both
    for threat, claim in zip(SIZES, claims, strict=True):
        assert result.examples.certified_counts(threat.eps, 2) == claim.lower_counts
        assert result.examples.unbroken_counts(threat.eps, 2) == claim.upper_counts
    assert result.curve_eps[0] == 0
    assert result.curve_eps[-1] == pytest.approx(0.2)


def test_an_attack_alone_breaks_no_more_than_all_together(both):
    attacks, result, _ = both
    for row in attacks.rows:
        eps = next(threat.eps for threat in SIZES if threat.spec == row.threat)
        assert row.unbroken_counts.num_correct >= result.examples.unbroken_counts(eps, 2).num_correct
    assert {row.attack for row in attacks.rows} == {"fgsm", "pgd"}
    assert all(row.forwards > 0 for row in attacks.rows)


def test_batches_change_nothing(subject):
    whole = run_attacks(subject, points(), SIZES, {"pgd": PGD(steps=5)})
    parts = run_attacks(subject, points(), SIZES, {"pgd": PGD(steps=5)}, batch_size=7)
    assert whole.examples == parts.examples
    assert [row.unbroken_counts for row in whole.rows] == [row.unbroken_counts for row in parts.rows]


def test_one_side_alone_leaves_the_other_trivial(subject):
    data = points()
    proved = certify_examples(subject, data, SIZES, IntervalBounds(), method="interval bounds")
    _, claims = robustness_claims(subject, data, SIZES, certification=proved)
    clean = clean_accuracy_claim(subject, data)
    assert {claim.bracket.upper.value for claim in claims} == {clean.bracket.upper.value}
    attacked = run_attacks(subject, data, SIZES, {"fgsm": FGSM()})
    _, claims = robustness_claims(subject, data, SIZES, attacked=attacked)
    assert {(claim.bracket.lower.value, claim.bracket.lower.basis) for claim in claims} == {
        (0.0, Basis.TRIVIAL)
    }
    with pytest.raises(SettingError, match="at least one side"):
        robustness_claims(subject, data, SIZES)


def test_a_point_both_proved_and_broken_is_a_contradiction_even_if_the_counts_do_not_cross(subject):
    data = points()
    attacked = run_attacks(subject, data, SIZES, {"pgd": PGD(steps=20)})
    proved = certify_examples(subject, data, SIZES, IntervalBounds(), method="interval bounds")
    broken = next(row for row, radius in enumerate(attacked.examples.broken_radius) if 0 < radius < 0.1)
    radii = list(proved.examples.certified_radius)
    radii[broken] = 0.1
    mutant = replace(proved, examples=replace(proved.examples, certified_radius=tuple(radii)))
    _, claims = robustness_claims(subject, data, SIZES, certification=mutant, attacked=attacked)
    assert [claim.bracket.num_contradictory for claim in claims][1] == 1
    assert claims[1].bracket.consistency is Consistency.CONTRADICTION


def test_a_proof_of_an_example_that_is_answered_wrongly_is_a_contradiction(subject):
    data = points()
    attacked = run_attacks(subject, data, SIZES, {"fgsm": FGSM()})
    proved = certify_examples(subject, data, SIZES, IntervalBounds(), method="interval bounds")
    wrong = np.flatnonzero(np.array(proved.examples.predicted) != data.labels)
    assert len(wrong)
    radii = [0.1 if row in wrong else radius for row, radius in enumerate(proved.examples.certified_radius)]
    mutant = replace(proved, examples=replace(proved.examples, certified_radius=tuple(radii)))
    for sides in ({"attacked": attacked}, {}):
        _, claims = robustness_claims(subject, data, SIZES, certification=mutant, **sides)
        assert all(claim.bracket.num_contradictory == len(wrong) for claim in claims)
        assert all(claim.bracket.consistency is Consistency.CONTRADICTION for claim in claims)


class Sometimes(nn.Module):
    """No number where the first feature is above 0.9."""

    def __init__(self):
        super().__init__()
        self.inner = net()

    def forward(self, x):
        return torch.where(x[:, :1] > 0.9, torch.nan, self.inner(x))


def test_examples_without_a_number_are_neither_robust_nor_broken():
    data = points()
    subject = named_model(Classifier(Sometimes().eval(), num_classes=2), "sometimes", "model")
    x, _ = data.batch(np.arange(len(data)))
    unchanged = (x[:, 0] > 0.9).numpy()
    asked = []

    def counting(model, x, y, threat, *, seed=0, ids=None):
        asked.append((threat.eps, ids.tolist()))
        return PGD(steps=5)(model, x, y, threat, seed=seed, ids=ids)

    attacked = run_attacks(subject, data, SIZES, {"pgd": counting, "fgsm": FGSM()}, batch_size=17)
    failed = np.array(attacked.examples.invalid)
    assert failed[unchanged].all()
    assert failed.sum() > unchanged.sum() > 0
    for row in attacked.rows:
        eps = next(threat.eps for threat in SIZES if threat.spec == row.threat)
        assert (
            row.unbroken_counts.num_correct
            >= attacked.examples.unbroken_counts(eps, 2).num_correct
            >= failed.sum()
        )
    assert not set(np.flatnonzero(unchanged)) & {one for _, ids in asked for one in ids}
    clean = clean_accuracy_claim(subject, data)
    assert clean.bracket.upper.value - clean.bracket.lower.value == pytest.approx(unchanged.mean())
    assert clean.bracket.num_invalid == unchanged.sum()
    assert (clean.lower_counts.num_correct, clean.upper_counts.num_correct) == (
        round(60 * clean.bracket.lower.value),
        round(60 * clean.bracket.upper.value),
    )


def test_examples_without_a_number_are_errors_and_forbid_a_pass():
    data = points()
    subject = named_model(Classifier(Sometimes().eval(), num_classes=2), "sometimes", "model")
    attacked = run_attacks(subject, data, [Linf(0.01)], {"fgsm": FGSM()})
    _, claims = robustness_claims(subject, data, [Linf(0.01)], attacked=attacked)
    assert claims[0].bracket.num_invalid >= 1
    assert ExampleState.ERROR in attacked.examples.states(0.01)
    assert not claims[0].bracket.at_least(0.0).passed


def test_threats_of_two_kinds_are_refused(subject):
    with pytest.raises(SettingError, match="one type"):
        run_attacks(subject, points(), [Linf(0.1), L2(0.1)], {"fgsm": FGSM()})


def test_wrong_examples_are_broken_at_nothing(both):
    _, result, _ = both
    wrong = [
        row
        for row, (a, b) in enumerate(zip(result.examples.predicted, result.examples.labels, strict=True))
        if a != b
    ]
    assert all(result.examples.broken_radius[row] == 0 for row in wrong)
    assert all(math.isfinite(radius) for radius in result.examples.certified_radius)


def test_robustness_in_one_call(both, subject):
    bracket = robust_accuracy(
        subject.model,
        points(),
        SIZES[1],
        attacks=[FGSM(), PGD(steps=20)],
        certifiers=[IntervalBounds(), IntervalBounds()],
    )
    assert (bracket.lower.value, bracket.upper.value) == (
        both[2][1].bracket.lower.value,
        both[2][1].bracket.upper.value,
    )
    assert bracket.lower.method == "IntervalBounds-0 + IntervalBounds-1"
    alone = robust_accuracy(subject.model, points(), SIZES[1], attacks=[FGSM()], certifiers=[])
    assert alone.lower.basis is Basis.TRIVIAL
    unasked = robust_accuracy(subject.model, points(), SIZES[1], attacks=[], certifiers=[IntervalBounds()])
    assert unasked.upper.method == "unchanged examples"
    assert unasked.upper.value == clean_accuracy_claim(subject, points()).bracket.upper.value
