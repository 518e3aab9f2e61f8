"""Laplace noise certifies L1 balls: against brute force over all sets, and half-spaces of known radius."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest, laplace

from quintain.certify import SmoothedClassifier, smoothing_noise
from quintain.certify.smoothing_evidence import fixed_radius, radius_at
from quintain.certify.smoothing_noise import LAPLACE, UNIFORM, LaplaceNoise
from quintain.core.errors import SettingError
from quintain.threats import L1, L2
from tests.certify.smoothed_models import halfspace

SIGMA = 0.1
SCALE = SIGMA / math.sqrt(2)
ALPHA = 1e-3
COUNT = 100


def smooth(**words):
    """Along one axis the vote flips at exactly 0.5, whatever the other coordinate is."""
    return SmoothedClassifier(
        halfspace([1.0, 0.0], 0.5), SIGMA, noise="laplace", noise_samples=4_000, alpha=ALPHA, **words
    )


def radii_at(distance, *, seed=0, radii=()):
    x = torch.tensor([[0.5 + distance, 0.5]]).repeat(COUNT, 1)
    return smooth().certify(x, torch.ones(COUNT, dtype=torch.long), radii=radii, seed=seed)


def check_radii(seed=0):
    """No radius beyond the true one, but for a chance of alpha each, and none much below it."""
    for distance, gap in ((0.02, 0.01), (0.08, 0.015), (0.2, 0.04)):
        outcome = radii_at(distance, seed=seed)
        false = int((outcome.radius > distance).sum())
        # of 100 certificates so many are false once in more than 10^8 runs
        assert false <= 4, f"{false} radii beyond the true {distance}"
        assert outcome.radius.mean() > distance - gap


def smallest_probability(p, shift):
    """Of all sets of probability p under Laplace noise in the plane, the least one after a shift (2,).

    The plane is cut into cells, whose probabilities are exact; by Neyman and Pearson the worst set takes
    those that lose most first.
    """
    masses = []
    for one in shift:
        edges = np.union1d([-np.inf, one, np.inf], np.linspace(-8, 8, 321))
        masses.append((np.diff(laplace.cdf(edges)), np.diff(laplace.cdf(edges - one))))
    before, after = (np.outer(masses[0][side], masses[1][side]).ravel() for side in (0, 1))
    before, after = before[before > 0], after[before > 0]
    order = np.argsort(after / before)
    filled = np.clip(p - np.concatenate([[0], np.cumsum(before[order])[:-1]]), 0, before[order])
    return float((filled * (after / before)[order]).sum())


@pytest.mark.parametrize("p", [0.3, 0.5, 0.55, 0.8, 0.99])
@pytest.mark.parametrize("direction", [(1.0, 0.0), (0.5, 0.5), (0.9, -0.1)])
def test_no_set_loses_more_than_the_proof_says_and_one_loses_as_much(p, direction):
    for distance in (0.1, 0.5, 1.0, 3.0):
        shift = [distance * part for part in direction]
        lead = 2 * smallest_probability(p, shift) - 1
        proved = float(LAPLACE.gap(torch.tensor(LAPLACE.ratio(p) - distance, dtype=torch.float64)))
        assert proved <= lead + 1e-9
        if direction == (1.0, 0.0) and LAPLACE.ratio(p) >= distance:
            assert proved == pytest.approx(lead, abs=1e-9)


def test_the_radius_is_where_the_worst_set_reaches_one_half():
    for p in (0.55, 0.8, 0.99):
        radius = LAPLACE.ratio(p)
        assert radius == pytest.approx(-math.log(2 * (1 - p)))
        assert smallest_probability(p, (radius, 0.0)) == pytest.approx(0.5, abs=1e-9)
        assert float(LAPLACE.tail(np.array(radius))) == pytest.approx(1 - p)


@pytest.mark.parametrize(("p", "is_larger"), [(0.6, False), (0.94, False), (0.95, True), (0.999, True)])
def test_at_one_deviation_uniform_noise_proves_more_until_votes_nearly_agree(p, is_larger):
    assert (LAPLACE.unit * LAPLACE.ratio(p) > UNIFORM.unit * UNIFORM.ratio(p)) is is_larger


def test_radii_are_at_most_those_of_half_spaces_and_close_to_them():
    check_radii()


def test_asked_radii_are_certified_below_the_true_one_and_not_above():
    sooner = radii_at(0.1, radii=(0.05,))
    assert (sooner.radius >= 0.05).all()
    assert sooner.forwards.double().mean() < 2_000
    x, y = torch.tensor([[0.6, 0.5]]).repeat(COUNT, 1), torch.ones(COUNT, dtype=torch.long)
    assert smooth().certify(x, y, "l1:0.11").certified.sum() <= 4
    within = smooth().certify(x, y, L1(0.08))
    assert within.certified.all()
    # the gap of the classes at the ball's edge is at most that of the half-space
    assert (within.margin <= -math.expm1(-(0.1 - 0.08) / SCALE) + 0.05).all()


@pytest.mark.parametrize(
    "field",
    [{"unit": 1.15 * LAPLACE.unit}, {"unit": 1.0}],
    ids=["a radius 15 percent larger", "the deviation in place of the scale"],
)
def test_mutant_of_the_radius_is_noticed(monkeypatch, field):
    class Mutant(LaplaceNoise):
        def fill(self, block, generator):
            return LAPLACE.fill(block, generator)

    names = ("name", "title", "ball", "unit", "max_ratio")
    mutant = Mutant(**{name: getattr(LAPLACE, name) for name in names} | field)
    monkeypatch.setitem(smoothing_noise.NOISES, "laplace", mutant)
    with pytest.raises(AssertionError, match="beyond the true"):
        check_radii()


def test_the_noise_is_that_of_the_law_and_finite_at_its_ends(monkeypatch):
    block = LAPLACE.fill(torch.empty(200_000), torch.Generator().manual_seed(3))
    assert kstest(block.double().numpy(), laplace(scale=math.sqrt(0.5)).cdf).pvalue > 1e-6
    assert block.std() == pytest.approx(1, abs=0.02)
    ends = torch.tensor([-1.0, 1 - 2**-23, 0.0, -(2**-23)])
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda block, *_, generator: block.copy_(ends))
    found = LAPLACE.fill(torch.empty(4), torch.Generator())
    assert torch.equal(found[0], -found[1])
    assert found[1] == pytest.approx(LAPLACE.unit * 24 * math.log(2))
    assert torch.equal(found[2], -found[3])
    assert 0 < found[2] < 1e-7


@pytest.mark.parametrize("hits", [2_100, 3_000, 4_000])
def test_the_radius_of_a_fixed_number_of_votes_is_the_closed_one_rounded_down(hits):
    lower = beta.ppf(ALPHA, hits, 4_000 - hits + 1)
    wanted = -SCALE * math.log(2 * (1 - lower)) if lower > 0.5 else SCALE * math.log(2 * lower)
    found = fixed_radius(hits, 4_000, ALPHA, SIGMA, LAPLACE)
    assert found == pytest.approx(wanted, rel=1e-6)
    assert found < wanted + 1e-9 * abs(wanted)
    assert radius_at(0.0, SIGMA, LAPLACE) == -np.inf
    assert radius_at(0.5, SIGMA, LAPLACE) < 0 < radius_at(0.501, SIGMA, LAPLACE)


def test_each_noise_certifies_its_own_ball_and_is_part_of_the_model():
    x, y = torch.tensor([[0.6, 0.5]]), torch.ones(1, dtype=torch.long)
    with pytest.raises(SettingError, match=r"laplace noise proves L1 balls.*noise='gaussian' proves L2"):
        smooth().certify(x, y, L2(0.05))
    with pytest.raises(SettingError, match=r"noise='uniform' proves L1 balls; noise='laplace' proves L1"):
        replace(smooth(), noise="gaussian").certify(x, y, L1(0.05))
    uniform = replace(smooth(), noise="uniform")
    assert len({smooth().hash, uniform.hash, replace(smooth(), noise="gaussian").hash}) == 3
    assert smooth().name.endswith("by Laplace noise")
    # uniform noise ends at its half width
    assert smooth().max_radius > uniform.max_radius
    assert uniform.max_radius < UNIFORM.unit * SIGMA
    assert "Laplace noise" in " ".join(smooth().certify(x, y).assumptions)
