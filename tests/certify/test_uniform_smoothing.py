"""Uniform noise certifies L1 balls: against half-spaces, whose true radius is known, and never beyond it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from quintain.certify import SmoothedClassifier, smoothing_noise
from quintain.certify.smoothing_evidence import fixed_radius, radius_at
from quintain.certify.smoothing_noise import GAUSSIAN, LAPLACE, UNIFORM
from quintain.core.errors import SettingError
from quintain.threats import L1, L2
from tests.certify.smoothed_models import halfspace

SIGMA = 0.1
HALF_WIDTH = math.sqrt(3) * SIGMA
ALPHA = 1e-3
COUNT = 100


def smooth(**words):
    """Along one axis the vote flips at exactly 0.5, whatever the other coordinate is."""
    return SmoothedClassifier(
        halfspace([1.0, 0.0], 0.5), SIGMA, noise="uniform", noise_samples=4_000, alpha=ALPHA, **words
    )


def inputs(distance):
    return torch.tensor([[0.5 + distance, 0.5]]).repeat(COUNT, 1)


def radii_at(distance, *, seed=0, radii=()):
    return smooth().certify(inputs(distance), torch.ones(COUNT, dtype=torch.long), radii=radii, seed=seed)


def check_radii(seed=0):
    """No radius beyond the true one, but for a chance of alpha each, and none much below it."""
    for distance in (0.02, 0.08, 0.15):
        outcome = radii_at(distance, seed=seed)
        false = int((outcome.radius > distance).sum())
        # of 100 certificates so many are false once in more than 10^8 runs
        assert false <= 4, f"{false} radii beyond the true {distance}"
        assert outcome.radius.mean() > distance - 0.015


def test_radii_are_at_most_those_of_half_spaces_and_close_to_them():
    check_radii()


def test_asked_radii_are_certified_below_the_true_one_and_not_above():
    sooner = radii_at(0.1, radii=(0.05,))
    assert (sooner.radius >= 0.05).all()
    assert sooner.forwards.double().mean() < 2_000
    beyond = smooth().certify(inputs(0.1), torch.ones(COUNT, dtype=torch.long), "l1:0.11")
    assert beyond.certified.sum() <= 4
    within = smooth().certify(inputs(0.1), torch.ones(COUNT, dtype=torch.long), L1(0.08))
    assert within.certified.all()
    # the gap of the classes at the ball's edge, of which a half-space reaches 2 p - 1 at most
    assert (within.margin <= (0.1 - 0.08) / HALF_WIDTH + 0.05).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("unit", 1.1 * UNIFORM.unit), ("unit", 2.0)],
    ids=["a radius a tenth larger", "a wider cube in the proof alone"],
)
def test_mutant_of_the_radius_is_noticed(monkeypatch, name, value):
    check_radii()

    class Narrow(smoothing_noise.UniformNoise):
        def fill(self, block, generator):
            return UNIFORM.fill(block, generator)

    fields = {one: getattr(UNIFORM, one) for one in ("name", "title", "ball", "unit", "max_ratio")}
    monkeypatch.setitem(smoothing_noise.NOISES, "uniform", Narrow(**{**fields, name: value}))
    with pytest.raises(AssertionError, match="beyond the true"):
        check_radii()


def test_noise_has_the_stated_deviation_and_stays_in_the_cube():
    block = UNIFORM.fill(torch.empty(100_000), torch.Generator().manual_seed(3))
    assert block.std() == pytest.approx(1, abs=0.01)
    assert block.abs().max() <= UNIFORM.unit * (1 + 1e-6)
    assert block.abs().max() > 1.7


@pytest.mark.parametrize("hits", [2_100, 3_000, 4_000])
def test_the_radius_of_a_fixed_number_of_votes_is_the_linear_one_rounded_down(hits):
    from scipy.stats import beta

    lower = beta.ppf(ALPHA, hits, 4_000 - hits + 1)
    wanted = 2 * HALF_WIDTH * (lower - 0.5)
    found = fixed_radius(hits, 4_000, ALPHA, SIGMA, UNIFORM)
    assert found == pytest.approx(wanted, rel=1e-6)
    assert found < wanted * (1 + 1e-9)
    assert radius_at(0.0, SIGMA, UNIFORM) == -np.inf
    assert radius_at(0.5, SIGMA, UNIFORM) < 0 < radius_at(0.501, SIGMA, UNIFORM)


def test_each_noise_certifies_its_own_ball_and_says_which_other_does():
    x, y = inputs(0.1)[:2], torch.ones(2, dtype=torch.long)
    with pytest.raises(SettingError, match=r"uniform noise proves L1 balls.*noise='gaussian'"):
        smooth().certify(x, y, L2(0.05))
    with pytest.raises(SettingError, match=r"gaussian noise proves L2 balls.*noise='uniform'"):
        replace(smooth(), noise="gaussian").certify(x, y, L1(0.05))
    with pytest.raises(SettingError, match="expected 'gaussian' or 'uniform' or 'laplace'"):
        replace(smooth(), noise="cauchy")
    with pytest.raises(SettingError, match="can never be certified"):
        smooth().certify(x, y, L1(HALF_WIDTH))
    assert smooth().max_radius < HALF_WIDTH


def test_the_noise_is_part_of_the_model_and_predictions_and_gradients_follow_it():
    gaussian = replace(smooth(), noise="gaussian")
    assert gaussian.hash != smooth().hash
    assert smoothing_noise.NOISES == {"gaussian": GAUSSIAN, "uniform": UNIFORM, "laplace": LAPLACE}
    x = torch.tensor([[0.5 - 1.01 * HALF_WIDTH, 0.5], [0.5 + 1.01 * HALF_WIDTH, 0.5]])
    assert smooth().predict(x).tolist() == [0, 1]
    # beyond the cube no copy is on the other side
    assert smooth().count_votes(x, noise_samples=500).tolist() == [[500, 0], [0, 500]]
    assert gaussian.count_votes(x, noise_samples=500)[0, 1] > 0
    assert not torch.equal(smooth()(x), gaussian(x))
    assumptions = " ".join(smooth().certify(x, torch.tensor([0, 1])).assumptions)
    assert "uniform noise" in assumptions
