import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from quintain.certify import CertificateOutcome, IntervalBounds, largest_certified_radius
from quintain.certify.radius_search import MAX_SHRINK, STEPS_PER_DOUBLING
from quintain.models import Classifier
from quintain.threats import L2, Linf
from tests.certify.random_nets import NAMES, inputs, random_net

pytestmark = pytest.mark.rounding


class Ideal:
    """Certifies up to a known limit of each example, with margins of a chosen shape; remembers what it was
    asked.
    """

    def __init__(self, limits, shape):
        self.limits, self.shape, self.asked = torch.tensor(limits, dtype=torch.float64), shape, []

    def __call__(self, model, x, y, threat, *, eps=None):
        rows = x[:, 0].round().long()
        self.asked.append((rows.tolist(), eps.tolist()))
        margin = self.shape(self.limits[rows], eps)
        certified = eps <= self.limits[rows]
        assert ((margin > 0) <= certified).all()
        error = torch.zeros_like(certified)
        return CertificateOutcome(certified, margin, None, torch.full_like(y, 2), ("ideal",), error)


SHAPES = {
    "straight": lambda limit, eps: limit - eps,
    "bent": lambda limit, eps: limit**3 - eps**3,
    "steep": lambda limit, eps: 1 - ((eps - limit) * 50).exp(),
    "flat": lambda limit, eps: torch.where(eps <= limit, 1e-12, -1e12).double(),
    "none": lambda limit, eps: torch.where(eps <= limit, 1.0, -torch.inf).double(),
    "endless": lambda limit, eps: torch.where(eps <= limit, torch.inf, -torch.inf).double(),
}
LIMITS = [-1.0, 0.0, 1e-9, 1e-4, 0.0099, 0.01, 0.0101, 0.2, 0.999, 5.0]


def searched(certifier, threat, sizes=(), **settings):
    x = torch.arange(len(certifier.limits), dtype=torch.float64)[:, None]
    return largest_certified_radius(
        certifier, None, x, torch.zeros(len(x), dtype=torch.long), threat, radii=sizes, **settings
    )


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threat", [Linf(0.01), Linf(0.0), Linf(1.0), L2(0.3), L2(7.0)])
def test_a_known_limit_is_found_from_below_whatever_the_margins_say(shape, threat):
    certifier = Ideal(LIMITS, SHAPES[shape])
    radius = searched(certifier, threat).radius
    end = max(1.0, threat.eps)
    least = (threat.eps or 1 / 256) / MAX_SHRINK
    for limit, found in zip(LIMITS, radius.tolist(), strict=True):
        assert found <= max(limit, 0.0)
        if limit > least * 1.01:
            assert found >= min(limit, end) / 1.006
    assert torch.equal(radius >= threat.eps, certifier.limits >= threat.eps) or threat.eps == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_asked_sizes_are_decided_exactly(shape):
    sizes = [1e-4, 0.0099, 0.00990001, 0.2, 0.2000001, 3.0]
    certifier = Ideal(LIMITS, SHAPES[shape])
    radius = searched(certifier, Linf(0.01), sizes).radius
    for size in sizes:
        assert torch.equal(radius >= size, certifier.limits >= size)


def test_without_a_search_only_the_asked_radii_are_decided():
    certifier, sizes = Ideal(LIMITS, SHAPES["straight"]), [0.0099, 0.2]
    radius = searched(certifier, Linf(0.01), sizes, search=False).radius
    assert set(radius.tolist()) == {0.0, 0.0099, 0.01, 0.2}
    for size in (*sizes, 0.01):
        assert torch.equal(radius >= size, certifier.limits >= size)
    assert {eps for _, asked in certifier.asked for eps in asked} == {0.0, *sizes, 0.01}


def test_what_is_not_proven_as_it_is_is_asked_once_and_the_rest_seldom():
    certifier = Ideal(LIMITS, SHAPES["straight"])
    outcome = searched(certifier, Linf(0.01))
    asks = torch.bincount(torch.tensor([row for rows, _ in certifier.asked for row in rows]))
    assert asks[0] == 1
    assert asks.max() <= 14
    assert torch.equal(outcome.forwards, 2 * asks)
    assert outcome.certified.tolist() == [limit >= 0 for limit in LIMITS]
    assert outcome.assumptions == ("ideal",)


def test_a_certifier_that_is_not_monotone_is_believed_where_it_speaks():
    class Holed(Ideal):
        def __call__(self, *args, eps=None):
            outcome = super().__call__(*args, eps=eps)
            good = outcome.certified & ~((eps > 0.02) & (eps < 0.05))
            return CertificateOutcome(good, outcome.margin, None, outcome.forwards, (), outcome.failed)

    certifier = Holed(LIMITS, SHAPES["none"])
    radius = searched(certifier, Linf(0.01), [0.03, 0.1]).radius
    proven = {(row, eps) for rows, sizes in certifier.asked for row, eps in zip(rows, sizes, strict=True)}
    for row, found in enumerate(radius.tolist()):
        assert found == 0 or ((row, found) in proven and not 0.02 < found < 0.05)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threat", [Linf(0.01), L2(0.05)])
def test_a_radius_is_the_largest_of_the_grid_that_is_certified(name, threat):
    model, x = Classifier(random_net(name, 7)), inputs(7, 12)
    y = model.predict(x)
    y[0] = (y[0] + 1) % model.num_classes
    radius = largest_certified_radius(IntervalBounds(), model, x, y, threat).radius
    assert (radius[1:] > 0).any()
    assert radius[0] == 0
    prove = IntervalBounds().trace(model)
    assert prove(x, y, threat, eps=radius).certified[radius > 0].all()
    assert (
        not prove(x, y, threat, eps=radius * 2 ** (1.001 / STEPS_PER_DOUBLING))
        .certified[(radius > 0) & (radius < 0.99)]
        .any()
    )
    assert torch.equal(radius >= threat.eps, prove(x, y, threat).certified)


@pytest.mark.parametrize("shape", SHAPES)
def test_radii_are_numbers_of_the_grid_however_the_batch_is_cut(shape):
    limits = torch.logspace(-4, 0, 20, dtype=torch.float64).tolist()
    whole = searched(Ideal(limits, SHAPES[shape]), Linf(0.01)).radius
    assert set(whole.tolist()) <= {
        2.0 ** (place / STEPS_PER_DOUBLING) for place in range(-30 * STEPS_PER_DOUBLING, STEPS_PER_DOUBLING)
    } | {0.01}
    for size in (1, 7):
        parts = [limits[start : start + size] for start in range(0, 20, size)]
        found = torch.cat([searched(Ideal(part, SHAPES[shape]), Linf(0.01)).radius for part in parts])
        assert torch.equal(found, whole)


@pytest.mark.parametrize("threat", [Linf(0.01), L2(0.05)])
def test_how_a_batch_is_cut_changes_no_radius_but_where_the_verdict_is_rounding(threat):
    """Margins follow the size of a matrix product in their last digits, so that a radius may move by one step
    of the grid, no more.
    """
    model, x = Classifier(random_net("residual", 3)), inputs(3, 9)
    y = model.predict(x)
    whole = largest_certified_radius(IntervalBounds(), model, x, y, threat).radius
    parts = torch.tensor([4, 8, 0, 2, 6, 1, 3, 7, 5]).split([1, 2, 4, 2])
    found = torch.cat(
        [largest_certified_radius(IntervalBounds(), model, x[part], y[part], threat).radius for part in parts]
    )
    found = found[torch.cat(parts).argsort()]
    moved = found != whole
    assert (found[moved] / whole[moved]).log2().abs().le(1.001 / STEPS_PER_DOUBLING).all()
    assert (
        moved <= IntervalBounds()(model, x, y, threat, eps=torch.maximum(found, whole)).margin.abs().lt(1e-9)
    ).all()


def test_radii_of_a_linear_model_are_its_margins_over_the_dual_norm():
    model, x = (
        Classifier(random_net("linear", 5)),
        torch.full((6, 2, 5, 5), 0.5) + 0.05 * torch.randn(6, 2, 5, 5),
    )
    y = model.predict(x)
    weight = model.net[1].weight.double()
    lead = weight[y][:, None] - weight
    value = (lead @ x.double().flatten(1)[:, :, None])[:, :, 0]
    for threat, dual in ((Linf(0.01), 1), (L2(0.05), 2)):
        exact = (value / lead.norm(dual, dim=2)).nan_to_num(torch.inf).amin(1)
        found = largest_certified_radius(IntervalBounds(), model, x, y, threat).radius
        assert (found <= exact).all()
        inside = exact < 0.4
        assert inside.any()
        assert (found >= 0.99 * exact - 1e-4)[inside].all()


@pytest.mark.parametrize(
    ("threat", "end"), [(Linf(0.01), 1.0), (Linf(1.0), 1.0), (L2(0.01), math.sqrt(2)), (L2(9.0), 9.0)]
)
def test_a_constant_model_reaches_the_end_of_the_box(threat, end):
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
    y = torch.zeros(3, dtype=torch.long)
    radius = largest_certified_radius(
        IntervalBounds(), Classifier(layer.eval()), torch.rand(3, 2), y, threat
    ).radius
    assert (radius > 0.99 * end).all()
    assert (radius <= end).all()


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1), L2(0.0)])
def test_an_empty_batch_has_no_radii(threat):
    x, y = torch.zeros(0, 2, 5, 5), torch.zeros(0, dtype=torch.long)
    assert largest_certified_radius(
        IntervalBounds(), Classifier(random_net("pool", 0)), x, y, threat, radii=[0.2]
    ).radius.shape == (0,)


class Refuting(Ideal):
    """Certifies as ``Ideal`` does, and from a breaking radius on returns an input that tells the radius."""

    def __init__(self, limits, breaks, *, silent=()):
        super().__init__(limits, SHAPES["straight"])
        self.breaks, self.silent = torch.tensor(breaks, dtype=torch.float64), silent

    def __call__(self, model, x, y, threat, *, eps=None):
        outcome = super().__call__(model, x, y, threat, eps=eps)
        if set(eps.tolist()) <= set(self.silent):
            return outcome
        broken = self.breaks[x[:, 0].round().long()] <= eps
        return replace(outcome, counterexample=torch.where(broken, eps, torch.nan)[:, None])


@pytest.mark.parametrize("silent", [(), (0.0,), (0.0, 0.1)])
def test_the_counterexample_is_that_of_the_smallest_radius(silent):
    limits, breaks = [0.5, 0.0, 0.03, 0.0, 0.0], [math.inf, 0.01, 0.04, 0.2, math.inf]
    certifier = Refuting(limits, breaks, silent=silent)
    outcome = searched(certifier, Linf(0.3), [0.02, 0.05, 0.1, 0.3], search=False)
    assert outcome.broken.tolist() == [False, True, True, True, False]
    assert outcome.counterexample[1:4, 0].tolist() == [0.02, 0.05, 0.3]
    assert outcome.radius.tolist() == [0.3, 0.0, 0.02, 0.0, 0.0]


def test_a_search_among_all_radii_keeps_one_just_above_the_limit():
    outcome = searched(Refuting([0.03, 0.2, -1.0], [0.03001, math.inf, math.inf]), Linf(0.1))
    assert outcome.broken.tolist() == [True, False, False]
    assert 0.03001 <= outcome.counterexample[0, 0] <= 0.0303
    assert searched(Ideal([0.03], SHAPES["straight"]), Linf(0.1)).counterexample is None
