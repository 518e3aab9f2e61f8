"""The smoothed model is the subject of its own bracket."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.certify.randomized_smoothing import RandomizedSmoothing
from quintain.certify.smoothing import SmoothedClassifier
from quintain.data.dataset import from_arrays
from quintain.evaluate import smoothing
from quintain.evaluate.estimated_gradients import NOISE_PAIRS
from quintain.evaluate.model import named_model
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed, smoothed_sample_notes
from quintain.evaluate.steps.certify import run_certify
from quintain.models.blackbox import BlackBox
from quintain.models.classifier import Classifier
from quintain.results import Basis, Consistency, ExampleState
from quintain.threats import L1, L2
from tests.evaluate.support.halfspace import halfspace, points

PLAN = SmoothingSettings(RandomizedSmoothing(0.25, 2000), num_examples=30, vote_samples=500, steps=15)


def test_certified_below_exact_below_attacked_on_a_half_space():
    base, data = halfspace(), points()
    attacks, result, claims = certify_smoothed(base, data, [L2(0.05), L2(0.2)], PLAN, seed=4)
    assert len(result.examples.ids) == 30
    rows = np.sort(np.random.default_rng(_seed()).permutation(len(data))[:30])
    x, _ = data.batch(rows)
    distance = (x.sum(1) - 1).abs().double() / 2**0.5
    safe, broken = torch.tensor(result.examples.certified_radius), torch.tensor(result.examples.broken_radius)
    assert (safe <= distance + 1e-9).float().mean() >= 0.95
    assert (broken >= distance - 1e-6).all()
    for claim, eps in zip(claims, (0.05, 0.2), strict=True):
        exact = float((distance > eps).float().mean())
        assert claim.bracket.lower.value <= exact <= claim.bracket.upper.value + 1e-9
        assert claim.bracket.consistency is Consistency.CONSISTENT
        assert claim.bracket.lower.basis is claim.bracket.upper.basis is Basis.STATISTICAL
        assert claim.bracket.lower.evidence.alpha == 0.001
        assert claim.bracket.upper.evidence.alpha == 3 * 0.001
    assert claims[1].bracket.upper.value - claims[1].bracket.lower.value <= 0.2
    assert {claim.bracket.quantity.subject_hash for claim in claims} != {base.file.model_hash}
    assert attacks.rows[0].backwards > 0


@pytest.mark.parametrize("law", ["uniform", "Laplace"])
def test_noise_of_other_laws_brackets_l1_balls(law):
    base, data = halfspace(), points()
    certifier = f"{law.lower()}-smoothing"
    output = run_certify(base, data, [L1(0.05), L1(0.2)], certifier, noise_samples=2000, seed=4)
    (model,) = output.result.models
    x, _ = data.batch(range(len(data)))
    distance = (x.sum(1) - 1).abs().double()
    safe = torch.tensor(model.examples.certified_radius)
    assert (safe <= distance + 1e-9).float().mean() >= 0.95
    for claim, eps in zip(output.claims[1:], (0.05, 0.2), strict=True):
        assert claim.bracket.lower.value <= float((distance > eps).float().mean())
        assert claim.bracket.lower.value > 0.3
        assert claim.bracket.upper.value - claim.bracket.lower.value < 0.4
        assert claim.bracket.consistency is Consistency.CONSISTENT
        assert claim.bracket.lower.method == f"randomized smoothing by {law} noise"


def test_what_the_samples_do_not_decide_is_a_state_of_its_own():
    x = np.array([[0.9, 0.9], [0.505, 0.505], [0.64, 0.64], [0.1, 0.1]], dtype=np.float32)
    data = from_arrays(x, [1, 1, 1, 0], name="four")
    few = replace(PLAN, certifier=RandomizedSmoothing(0.25, 200), num_examples=0)
    _, result, _ = certify_smoothed(halfspace(), data, [L2(0.05), L2(0.2)], few, seed=4)
    assert len(result.noise_samples) == 4
    assert 200 < max(result.noise_samples) <= 230
    assert min(result.noise_samples) < 100
    assert result.examples.states(0.2)[2] is ExampleState.ABSTAIN
    assert result.examples.abstained_radius[2] == 0.2
    assert [result.examples.states(0.2)[row] for row in (0, 3)] == [ExampleState.CERTIFIED] * 2


def test_each_size_and_each_purpose_has_noise_of_its_own(monkeypatch):
    seeds = []
    for name in ("certify", "predict"):
        real = getattr(SmoothedClassifier, name)

        def told(self, *args, real=real, seed, **words):
            seeds.append(seed)
            return real(self, *args, seed=seed, **words)

        monkeypatch.setattr(SmoothedClassifier, name, told)
    certify_smoothed(halfspace(), points(), [L2(0.05), L2(0.1), L2(0.2)], PLAN, seed=2)
    assert len(seeds) == len(set(seeds)) == 5


def _seed():
    from quintain.core.seeds import derive_seed

    return derive_seed(4, "examples")


def test_the_same_seed_gives_the_same_bracket():
    first, again = (certify_smoothed(halfspace(), points(), [L2(0.1)], PLAN, seed=2)[2] for _ in range(2))
    assert first == again


class Cliff(nn.Module):
    """No number where the first feature is above 0.95, noise included."""

    def __init__(self):
        super().__init__()
        self.inner = halfspace().model.net

    def forward(self, x):
        return torch.where(x[:, :1] > 0.95, torch.nan, self.inner(x))


def test_an_example_whose_vote_gives_no_number_is_an_error_and_the_others_are_judged():
    x = np.array([[0.1, 0.2], [0.2, 0.1], [0.9, 0.9], [0.15, 0.2]], dtype=np.float32)
    data = from_arrays(x, [0, 0, 1, 1], name="cliff")
    base = named_model(Classifier(Cliff().eval(), num_classes=2), "cliff", "cliff")
    _, result, claims = certify_smoothed(
        base, data, [L2(0.05)], replace(PLAN, certifier=RandomizedSmoothing(0.05, 2000)), seed=1
    )
    assert result.examples.invalid == (False, False, True, False)
    assert result.examples.states(0.05) == (
        ExampleState.CERTIFIED,
        ExampleState.CERTIFIED,
        ExampleState.ERROR,
        ExampleState.WRONG,
    )
    assert claims[0].bracket.num_invalid == 1
    assert (claims[0].bracket.lower.value, claims[0].bracket.upper.value) == (0.5, 0.75)


def test_a_point_outside_the_ball_breaks_nothing(monkeypatch):
    monkeypatch.setattr(smoothing, "maximize_loss", lambda model, x, *_args, **_words: 1 - x)
    attacks, _, _ = certify_smoothed(halfspace(), points(), [L2(0.05)], PLAN, seed=4)
    assert set(attacks.examples.broken_radius) <= {0.0, np.inf}


def test_mutant_a_certificate_against_a_clear_vote_is_a_crossing(monkeypatch):

    real = SmoothedClassifier.certify

    def boasting(self, *args, **words):
        outcome = real(self, *args, **words)
        return replace(outcome, radius=torch.full_like(outcome.radius, 0.3))

    monkeypatch.setattr(SmoothedClassifier, "certify", boasting)
    x = np.random.default_rng(1).random((40, 2)).astype(np.float32)
    flipped = from_arrays(x, (x.sum(1) <= 1).astype(int), name="flipped")
    _, _, claims = certify_smoothed(halfspace(), flipped, [L2(0.05)], PLAN, seed=4)
    assert claims[0].bracket.num_contradictory > 10
    assert claims[0].bracket.consistency is Consistency.CONTRADICTION


def test_a_base_that_only_answers_is_certified_and_attacked_by_estimates():
    plain = halfspace()
    data = points(30)
    for access, most in (("scores", 0.1), ("labels", 0.1)):
        asked = BlackBox(answers(plain, access), access=access, num_classes=2)
        attacks, result, claims = certify_smoothed(
            named_model(asked, "half", "half-space"), data, [L2(0.1)], PLAN, seed=4
        )
        _, whole, _ = certify_smoothed(plain, data, [L2(0.1)], PLAN, seed=4)
        assert result.examples.certified_radius == whole.examples.certified_radius
        assert (attacks.rows[0].backwards, attacks.rows[0].forwards) == (0, 2 * NOISE_PAIRS * PLAN.steps)
        assert "estimated from answers" in attacks.rows[0].attack
        x, _ = data.batch(torch.tensor(result.examples.ids))
        distance = (x.sum(1) - 1).abs().double() / 2**0.5
        assert (torch.tensor(result.examples.broken_radius) >= distance - 1e-6).all()
        assert claims[0].bracket.upper.value <= float((distance > 0.1).float().mean()) + most


def test_a_sample_says_how_many_examples_and_which_classes_it_leaves_out():
    few, own = replace(PLAN, num_examples=2), from_arrays(points(20).batch(range(20))[0], [0] * 19 + [1])
    (note,) = smoothed_sample_notes(own, few, seed=0)
    assert note == (
        "the smoothed model was certified and attacked on 2 of the 20 examples, a random sample, with no "
        "example of class 1"
    )
    (note,) = smoothed_sample_notes(own, replace(PLAN, num_examples=19), seed=0)
    assert note.startswith("the smoothed model was certified and attacked on 19 of the 20 examples")
    assert smoothed_sample_notes(own, replace(PLAN, num_examples=0), seed=0) == ()


def answers(subject, access):
    """What a server gives of the model: its scores, or its labels."""

    def of(x):
        scores = subject.model(torch.from_numpy(x)).detach()
        return (scores.argmax(1) if access == "labels" else scores).numpy()

    return of
