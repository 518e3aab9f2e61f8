"""Bounds over regions of a threat: never above what the model answers there, and mutants that are."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from quintain.certify import BranchAndBound
from quintain.certify.crown import LinearMargins, margin_rows
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.linear import half_space, region_search
from quintain.certify.linear.half_space import CutMinimum, InputHalfSpace
from quintain.certify.linear.minimum import linear_minimum
from quintain.certify.linear.region import EmptyRegionError, Region
from quintain.certify.linear.region_search import RegionSearch
from quintain.certify.rounding import rounding_model
from quintain.core.errors import ContradictionError
from quintain.models import Classifier
from quintain.threats import L0, L1, L2, ExampleRNG, Linf
from tests.certify.exact_margins import exact_least_margin, tiny_net
from tests.certify.random_nets import dense, inputs, random_net
from tests.certify.split_bugs import lost_halves
from tests.certify.test_branch_and_bound import steps, two_layers

pytestmark = pytest.mark.rounding


def numbers(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# least values over a threat and a half-space
def cut(seed, threat, share, box=True):
    """Rows, a minimum over a threat's part in a half-space, that over all of it, and points of that part."""
    x = inputs(seed, 1).double()
    rows, slopes = numbers(seed, 6, *x.shape[1:]), numbers(seed + 1, x.numel())
    whole = lambda rows, columns=None: linear_minimum(rows, x, threat, threat.eps, columns)  # noqa: E731
    z = threat.sample(x.expand(4000, *x.shape[1:]), ExampleRNG(seed, torch.arange(4000)))
    values = z.flatten(1) @ slopes
    limit = float(values.quantile(share))
    ends = ((x - threat.eps).clamp(min=0).flatten(), (x + threat.eps).clamp(max=1).flatten())
    minimum = CutMinimum(whole, InputHalfSpace(slopes, -limit), x.shape[1:], ends if box else None)
    return rows, minimum, whole, z[values <= limit], ends, slopes, limit


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5), L1(1.0), L0(3)])
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_no_point_of_a_half_space_lies_below_the_minimum(threat, share):
    hold_points_of_half_space(threat, share)


def hold_points_of_half_space(threat, share):
    rows, minimum, whole, z, *_ = cut(3, threat, share, box=isinstance(threat, Linf))
    found = minimum(rows)
    assert (found <= (z.flatten(1) @ rows.flatten(1).T).amin(0)).all()
    assert (found >= whole(rows) - 1e-9).all()
    assert (found > whole(rows) + 1e-3).any() or isinstance(threat, L0)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_minimum_over_a_box_and_a_half_space_is_that_of_a_linear_program(seed):
    rows, minimum, _, _, (lower, upper), slopes, limit = cut(seed, Linf(0.1), 0.05)
    for row, found in zip(rows.flatten(1), minimum(rows).tolist(), strict=True):
        exact = linprog(
            row.numpy(),
            A_ub=slopes[None].numpy(),
            b_ub=[limit],
            bounds=list(zip(lower.tolist(), upper.tolist(), strict=True)),
        ).fun
        assert exact - 0.01 <= found <= exact + 1e-9


@pytest.mark.parametrize("size", [1e-60, 1e60])
def test_rows_beyond_float32_have_no_worse_a_bound_than_over_the_whole_box(size):
    """Multipliers are looked for in float32, of which only how good they are may depend."""
    rows, minimum, whole, z, *_ = cut(0, Linf(0.1), 0.05)
    found = minimum(rows * size)
    assert (found >= whole(rows * size) - 1e-9 * size).all()
    assert (found <= (z.flatten(1) @ (rows * size).flatten(1).T).amin(0)).all()


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)])
def test_windows_change_no_minimum(threat):
    rows, minimum, *_ = cut(5, threat, 0.1, box=isinstance(threat, Linf))
    columns = torch.stack(
        [torch.randperm(50, generator=torch.Generator().manual_seed(i))[:9] for i in range(6)]
    )
    part = rows.flatten(1).gather(1, columns)
    dense_rows = torch.zeros_like(rows.flatten(1)).scatter_(1, columns, part).view_as(rows)
    torch.testing.assert_close(minimum(part, columns=columns), minimum(dense_rows))


def test_a_half_space_without_slopes_bounds_as_the_threat_does():
    rows, minimum, whole, *_ = cut(1, Linf(0.1), 0.5)
    flat = replace(minimum, half_space=InputHalfSpace(torch.zeros(50, dtype=torch.float64), -1.0))
    torch.testing.assert_close(flat(rows), whole(rows))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_half_space_is_charged_for_what_sums_with_its_slopes_round(seed):
    row, terms = numbers(seed, 1, 2, 5, 5), numbers(seed + 1, 1, 2, 5, 5).abs()
    made = InputHalfSpace.of(row, -0.3, -2.1, 0.125, terms)
    exact = Fraction(-0.3) + Fraction(2.1) - Fraction(0.125)
    sizes = sum(map(Fraction, (row.abs() * terms).flatten().tolist()))
    assert Fraction(made.constant) <= exact - (50 + 3) * Fraction(2) ** -53 * sizes
    assert float(exact) - made.constant < 1e-9


# searches over regions: what is proven to be above a limit is, whatever the limit
def region_search_of(net, x, y, threat, rival, limit):
    """A search for a proof that the margin to a class is above a limit, and what it begins with."""
    traced, rounding = TracedNetwork.trace(net), rounding_model(torch.float32)
    margins, at = LinearMargins(narrow=True), x.double()

    def propagate(region):
        backward, logits, narrowed = margins.region_bounds(traced, at, threat, threat.eps, rounding, region)
        return backward, logits.operation, narrowed.build_region(backward.recording)

    with torch.no_grad():
        _, logits, narrowed = margins.region_bounds(traced, at, threat, threat.eps, rounding, Region())
        plain, _ = LinearMargins(narrow=False).backward_bounds(traced, x, threat, threat.eps, rounding)
    row = margin_rows(logits, y)[rival : rival + 1]
    searched = RegionSearch(propagate, plain, rows=row, limit=limit, refute=lambda _: None)
    return searched, narrowed.build_region(logits.operation.recording)


def search(net, x, y, threat, rival, limit):
    """Search regions for a proof that the margin to a class is above a limit."""
    searched, root = region_search_of(net, x, y, threat, rival, limit)
    with torch.no_grad():
        return searched.run(root, 60, math.inf)


def check_two_layers(seed, eps=0.5):
    """Bounds of both layers hold for all points of a small margin, in the whole threat and in its halves."""
    net, x = two_layers(seed), torch.full((1, 3), 0.5)
    y = Classifier(net).predict(x)
    with torch.no_grad():
        z = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(seed))
        given = [net[:count](z) for count in (1, 3)]
        logits = net(z).double()
    margins = logits[:, int(y)] - logits[:, 1 - int(y)]
    limit = float(margins.quantile(0.2))
    searched, root = region_search_of(net, x, y, Linf(eps), 1 - int(y), limit)
    whole = region_search.Branch(root)

    def hold(branch):
        inside = margins <= limit
        places = sorted(branch.region.bounds)
        for (place, unit), sign in branch.signs:
            inside &= given[places.index(place)][:, unit] * sign >= 0
        with torch.no_grad():
            is_proven = searched._narrow(branch, 3, lambda: False)
        assert not (is_proven and inside.any())
        for place, values in zip(places, given, strict=True):
            lower, upper = branch.region.bounds[place]
            assert is_proven or ((lower <= values[inside]) & (values[inside] <= upper)).all()
        return not is_proven

    assert hold(whole)
    assert whole.bound <= margins.min()
    if whole.next_split is not None:
        assert sum(hold(half) for half in region_search.halves(whole))


def test_bounds_of_layers_hold_where_the_margin_is_small():
    for seed in range(4):
        check_two_layers(seed)


def check_tiny(seed, eps=0.3):
    """The margin is proven to be above a little less than its exact minimum, and not above a little more."""
    net, x = tiny_net(seed, classes=2), torch.full((2,), 0.45)
    y = Classifier(net).predict(x[None])
    exact = float(exact_least_margin(net, x, int(y), eps)[0])
    for limit in (exact + 1e-5, exact + 0.05, exact + 0.5):
        assert not search(net, x[None], y, Linf(eps), 1 - int(y), limit).is_proven
    return search(net, x[None], y, Linf(eps), 1 - int(y), exact - 1e-3).is_proven


def test_margins_of_tiny_nets_are_proven_up_to_their_exact_minimum():
    assert sum(check_tiny(seed) for seed in range(3)) >= 2


@pytest.mark.exhaustive
@settings(deadline=None, max_examples=3)
@given(
    name=st.sampled_from(["dense", "conv", "residual", "pool", "smooth"]),
    threat=st.sampled_from([Linf(0.05), L2(0.4), L1(0.8)]),
    seed=st.integers(0, 10**6),
    share=st.sampled_from([0.0, 0.1, 0.6]),
)
def test_no_limit_that_a_point_of_the_threat_stays_below_is_proven(name, threat, seed, share):
    hold_points_below(name, threat, seed, share)


def hold_points_below(name, threat, seed, share):
    net, x = random_net(name, seed), inputs(seed, 1)
    model = Classifier(net)
    y = model.predict(x)
    z = threat.sample(x.expand(200, *x.shape[1:]), ExampleRNG(seed, torch.arange(200)))
    logits = model(z).double()
    rival = (int(y) + 1) % logits.shape[1]
    margins = (logits[:, int(y)] - logits[:, rival]).detach()
    assert not search(net, x, y, threat, rival, float(margins.quantile(share))).is_proven


def check_all():
    hold_points_of_half_space(Linf(0.1), 0.5)
    for seed in range(12):
        check_tiny(seed)
        check_two_layers(seed)


OF, SPLIT = InputHalfSpace.of, Region.split


def too_far(row, bound, least, most, terms):
    found = OF(row, bound, least, most, terms)
    return InputHalfSpace(found.slopes, found.constant + 0.1)


def other_way(row, bound, least, most, terms):
    found = OF(row, bound, least, most, terms)
    return InputHalfSpace(-found.slopes, -found.constant)


def wrong_end(self, place, unit, _):
    return SPLIT(self, place, unit, -1)


def negative_multipliers(size, of_slopes):
    return -GUESS(size, of_slopes)


GUESS = half_space._guess


@pytest.mark.parametrize(
    ("owner", "attribute", "bug"),
    [
        (InputHalfSpace, "of", staticmethod(too_far)),
        (InputHalfSpace, "of", staticmethod(other_way)),
        (Region, "split", wrong_end),
        (half_space, "_guess", negative_multipliers),
    ],
    ids=["a half-space moved in", "a half-space turned round", "the wrong end", "negative multipliers"],
)
def test_a_planted_bug_proves_what_is_false(owner, attribute, bug, monkeypatch):
    monkeypatch.setattr(owner, attribute, bug)
    with pytest.raises((AssertionError, ContradictionError)):
        check_all()


@pytest.mark.parametrize("bug", lost_halves(region_search.halves, "signs"))
def test_a_lost_region_is_an_alarm(bug, monkeypatch):
    monkeypatch.setattr(region_search, "halves", bug)
    x = torch.tensor([[0.5, 0.45]])
    with pytest.raises(ContradictionError, match="do not make up the whole threat"):
        search(steps(0.2), x, torch.tensor([0]), Linf(0.4), 1, 1e-3)


def test_a_search_that_excludes_the_example_itself_is_an_alarm(monkeypatch):
    x, y = torch.tensor([[0.5, 0.45]]), torch.tensor([0])
    certify = BranchAndBound(max_bounds=60).trace(Classifier(steps(0.2)))
    assert certify(x, y, Linf(0.4)).certified.all()
    monkeypatch.setattr(InputHalfSpace, "of", staticmethod(other_way))
    with pytest.raises(ContradictionError, match="but the model's own is"):
        BranchAndBound(max_bounds=60)(Classifier(steps(0.2)), x, y, Linf(0.4))


def test_bounds_that_exclude_each_other_leave_an_empty_region():
    net, x = tiny_net(1, classes=2), torch.full((1, 2), 0.45)
    margins, rounding = LinearMargins(narrow=True), rounding_model(torch.float32)
    traced = TracedNetwork.trace(net)
    backward, _, narrowed = margins.region_bounds(traced, x.double(), Linf(0.3), 0.3, rounding, Region())
    region = narrowed.build_region(backward.recording)
    ((place, (_, upper)),) = region.bounds.items()
    empty = Region(
        {place: (upper + 1, upper + 2)},
        region.relus,
        InputHalfSpace(torch.zeros(2, dtype=torch.float64), -1.0),
    )
    with pytest.raises(EmptyRegionError):
        margins.region_bounds(traced, x.double(), Linf(0.3), 0.3, rounding, empty)


def test_a_bound_that_is_not_finite_proves_nothing():
    last = dense([[1.0, 1.0], [0.0, 0.0]], [math.inf, 0.0])
    net = torch.nn.Sequential(dense([[1.0], [1.0]], [0.0, 0.0]), torch.nn.ReLU(), last).eval()
    x, y = torch.tensor([[0.5]]), torch.tensor([0])
    assert not BranchAndBound(max_bounds=20)(Classifier(net), x, y, Linf(0.1)).certified.any()


def test_an_example_is_given_up_where_splits_gain_too_little():
    """It is told from how the bound of the worst region grows, so that time is left for others."""
    searched = RegionSearch(None, None, rows=torch.ones(1, 2), limit=0.0, refute=None)
    searched.num_bounds = 20
    whole, signs = region_search.Branch(Region(), bound=-1.0), (((0, 0), 1), ((0, 1), 1), ((0, 2), 1))
    slow = region_search.Branch(Region(), signs, bound=-0.97)
    fast = region_search.Branch(Region(), signs, bound=-0.3)
    assert searched._gains_too_little(whole, slow, 0.5)
    assert not searched._gains_too_little(whole, fast, 0.5)
    assert not searched._gains_too_little(whole, replace(slow, signs=signs[:2]), 0.5)


def test_all_rivals_have_to_be_above_the_limit():
    net, x = tiny_net(7), torch.full((1, 2), 0.45)
    y = Classifier(net).predict(x)
    for eps in (0.05, 0.2, 0.5):
        outcome = BranchAndBound(max_bounds=200)(Classifier(net), x, y, Linf(eps))
        exact = exact_least_margin(net, x[0], int(y), eps)[0]
        assert outcome.certified.item() is bool(exact > 0)
        if outcome.certified.item():
            assert Fraction(float(outcome.margin)) <= exact
