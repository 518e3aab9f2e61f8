"""Branch and bound against exact answers: enumeration, linear programs of each pattern, models' answers."""

import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

from quintain.certify import CROWN, BranchAndBound
from quintain.certify.crown import LinearMargins, margin_rows
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.linear import search
from quintain.certify.linear.parts import Part, covers
from quintain.certify.linear.region_search import RegionSearch, RegionSearchResult
from quintain.certify.linear.sign_splits import SignSplits
from quintain.certify.rounding import NO_ROUNDING, rounding_model
from quintain.core.errors import ContradictionError, SettingError
from quintain.losses import margin
from quintain.models import Classifier
from quintain.threats import L1, L2, Linf
from quintain.threats.threat import contains
from tests.certify.exact_margins import exact_least_margin, tiny_net
from tests.certify.random_nets import dense, inputs, points, random_net
from tests.certify.split_bugs import lost_halves

pytestmark = pytest.mark.rounding

FAST = BranchAndBound(seconds=60.0, max_bounds=400)
"""What decides is the number of parts, whatever the machine."""


def check_against_enumeration(seed, eps, certifier=FAST):
    """What is certified is true, what is broken is false, and only next to nothing stays open."""
    net = tiny_net(seed)
    model, x = Classifier(net), torch.rand(3, 2, generator=torch.Generator().manual_seed(seed))
    y = model.predict(x)
    outcome = certifier(model, x, y, Linf(eps))
    for row in range(3):
        exact, _ = exact_least_margin(net, x[row], int(y[row]), eps)
        if outcome.certified[row]:
            assert 0 < Fraction(float(outcome.margin[row])) <= exact
        if outcome.broken[row]:
            assert exact <= 1e-5
        if not outcome.certified[row] and not outcome.broken[row]:
            assert abs(exact) < 1e-4
    z = torch.where(outcome.counterexample.isnan(), x, outcome.counterexample)
    assert contains(Linf(eps), z, x).all()
    assert torch.equal(model.predict(z) != y, outcome.broken)
    return outcome


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10**6), eps=st.sampled_from([0.02, 0.15, 0.4, 0.9]))
def test_tiny_nets_are_decided_as_enumeration_in_rational_numbers_does(seed, eps):
    check_against_enumeration(seed, eps)


def exact_by_programs(net, x, label, eps):
    """The least margin of a net of two hidden layers, over all patterns of its ReLUs, by linear programs."""
    weights = [
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in net[::2]
    ]
    box = [(max(0.0, c - eps), min(1.0, c + eps)) for c in x.double().tolist()]
    (w1, b1), (w2, b2), (w3, b3) = weights
    least = math.inf
    for first in product((0.0, 1.0), repeat=len(b1)):
        # over x: what the first layer is given, then what the second is given
        mask1 = np.array(first)
        in2, at2 = w2 @ (mask1[:, None] * w1), w2 @ (mask1 * b1) + b2
        for second in product((0.0, 1.0), repeat=len(b2)):
            mask2 = np.array(second)
            out, at = w3 @ (mask2[:, None] * in2), w3 @ (mask2 * at2) + b3
            signs = np.concatenate([1 - 2 * mask1, 1 - 2 * mask2])
            rows, ends = np.concatenate([w1, in2]), np.concatenate([b1, at2])
            for j in range(len(b3)):
                if j == label:
                    continue
                found = linprog(
                    out[label] - out[j], A_ub=signs[:, None] * rows, b_ub=-signs * ends, bounds=box
                )
                if found.success:
                    least = min(least, found.fun + at[label] - at[j])
    return least


def two_layers(seed):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(generator=generator))
    return net


@pytest.mark.parametrize(
    ("seed", "eps"),
    [(1, 0.5), *(pytest.param(seed, 0.3, marks=pytest.mark.exhaustive) for seed in range(2, 12))],
)
def test_two_hidden_layers_are_decided_as_linear_programs_of_all_patterns_do(seed, eps):
    net = two_layers(seed)
    model, x = Classifier(net), torch.tensor([[0.3, 0.6, 0.5]])
    y = model.predict(x)
    outcome, exact = FAST(model, x, y, Linf(eps)), exact_by_programs(net, x[0], int(y), eps)
    assert float(outcome.margin) <= exact + 1e-9
    assert outcome.certified.item() is bool(exact > 0)
    assert outcome.broken.item() is bool(exact <= 0)


@pytest.mark.exhaustive
@settings(deadline=None, max_examples=3)
@given(
    name=st.sampled_from(["dense", "conv", "residual", "one logit"]),
    threat=st.sampled_from([Linf(0.03), Linf(0.1), L2(0.3), L1(0.8)]),
    seed=st.integers(0, 10**6),
)
def test_no_point_of_the_threat_is_answered_below_what_is_proven(name, threat, seed):
    model, x = Classifier(random_net(name, seed)), inputs(seed)
    y = model.predict(x)
    outcome, crown = replace(FAST, max_bounds=60)(model, x, y, threat), CROWN()(model, x, y, threat)
    for z in points(model, x, y, threat, seed):
        assert (-margin(model(z).double(), y) >= outcome.margin).all()
    assert not (outcome.certified & outcome.broken).any()
    assert (outcome.certified | ~crown.certified).all()
    assert torch.equal(outcome.margin[crown.certified], crown.margin[crown.certified])


def steps(offset):
    """A net of margin ``offset + sum relu(h) - relu(h + 0.05)``, three sums h; its least is offset - 0.15.

    No line below the one and above the other is near enough: only signs decide it.
    """
    sums = [[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]
    shifts = [-0.5, -0.5, 0.0]
    first = dense(sums + sums, shifts + [shift + 0.05 for shift in shifts])
    return nn.Sequential(first, nn.ReLU(), dense([[1.0] * 3 + [-1.0] * 3, [0.0] * 6], [offset, 0.0])).eval()


def decide(offset):
    net, x = steps(offset), torch.tensor([[0.5, 0.45]])
    return FAST(Classifier(net), x, torch.tensor([0]), Linf(0.4)), exact_least_margin(net, x[0], 0, 0.4)[0]


def test_signs_decide_what_linear_bounds_cannot_and_the_same_again():
    (proven, exact), (again, _), (refuted, least) = decide(0.2), decide(0.2), decide(0.14)
    assert proven.certified.all()
    assert 0 < Fraction(proven.margin.item()) <= exact
    assert torch.equal(proven.margin, again.margin)
    assert proven.forwards.item() > 10
    assert least < 0
    assert refuted.broken.all()
    assert not CROWN()(
        Classifier(steps(0.2)), torch.tensor([[0.5, 0.45]]), torch.tensor([0]), Linf(0.4)
    ).certified


# parts: bounds over the part, whatever slopes and multipliers, and mutants of what makes them sound
def bounds_of_parts(seed, slopes, multipliers, rounding=None):
    """Bounds over the parts of random signs of a tiny net's ReLUs, and the least margin sampled in each."""
    net, generator = tiny_net(seed), torch.Generator().manual_seed(seed)
    x, y = torch.full((1, 2), 0.5, dtype=torch.float64), torch.tensor([0])
    backward, logits = LinearMargins(narrow=True).backward_bounds(
        TracedNetwork.trace(net), x, Linf(0.5), 0.5, rounding or rounding_model(torch.float32)
    )
    (relu,) = [one for one in backward.recording.operations if one.lines is not None]
    units = relu.lines.loose.flatten().nonzero().squeeze(1)
    signs = torch.randint(-1, 2, (12, len(units)), generator=generator, dtype=torch.int8)
    rows = margin_rows(logits, y)[1:2].expand(12, -1)
    splits = SignSplits(units, signs, slopes(signs), multipliers(signs))
    bounds = backward.lower_in_parts(logits.operation, rows, {relu: splits})
    z = torch.rand(4000, 2, generator=generator, dtype=torch.float64)
    given, answered = net[0].double()(z)[:, units], net.double()(z)
    inside = ((given[None] * signs[:, None]) >= 0).all(2)
    gap = (answered[:, 0] - answered[:, 1]).expand(12, -1)
    return bounds, torch.where(inside, gap, math.inf).amin(1)


def drawn(low, high):
    generator = torch.Generator().manual_seed(0)
    return lambda signs: torch.empty(signs.shape, dtype=torch.float64).uniform_(
        low, high, generator=generator
    )


def check_parts():
    for seed in range(4):
        bounds, least = bounds_of_parts(seed, drawn(-2, 3), drawn(-1, 1))
        assert (bounds <= least).all()


def test_bounds_of_parts_hold_for_whatever_slopes_and_multipliers():
    check_parts()


CARRY = SignSplits.carry


def steep(self, lines, positive, negative):
    wide = replace(self, slopes=torch.zeros_like(self.slopes))
    rows, beside = CARRY(wide, lines, positive, negative)
    free = positive[:, self.units] * self.slopes * (self.signs == 0)
    return rows.index_add(1, self.units, free), beside


def pulled_the_other_way(self, lines, positive, negative):
    return CARRY(replace(self, signs=-self.signs), lines, positive, negative)


@pytest.mark.parametrize("bug", [steep, pulled_the_other_way])
def test_a_planted_bug_in_parts_lies_above_what_is_sampled(bug, monkeypatch):
    monkeypatch.setattr(SignSplits, "carry", bug)
    with pytest.raises(AssertionError):
        check_parts()


@pytest.mark.parametrize("bug", lost_halves(search.children, "path"))
def test_a_lost_child_is_an_alarm(bug, monkeypatch):
    monkeypatch.setattr(search, "children", bug)
    monkeypatch.setattr(
        RegionSearch, "run", lambda self, root, *_: RegionSearchResult(False, None, 0, root, torch.ones(1))
    )
    with pytest.raises(ContradictionError, match="do not make up the whole threat"):
        decide(0.2)


def test_parts_cover_the_threat_only_with_both_sides_of_each_split():
    assert covers([()])
    assert covers([((1, 1),), ((1, -1), (0, 1)), ((1, -1), (0, -1))])
    assert not covers([])
    assert not covers([((1, 1),)])
    assert not covers([((1, 1),), ((1, 1),), ((1, -1),)])
    assert not covers([((1, 1),), ((0, -1),)])
    assert not covers([(), ((1, 1),), ((1, -1),)])


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_bound_that_is_not_finite_proves_nothing(value, monkeypatch):
    monkeypatch.setattr(
        search.PartSearch, "_bound", lambda self, backward, rows, *_: rows.new_full((len(rows),), value)
    )
    part = Part(0, (), torch.zeros(2), torch.zeros(2))
    made = object.__new__(search.PartSearch)
    made.rows, made._slopes, made.backward, made.limit = torch.ones(1, 2), torch.zeros(2), None, 0.0
    assert made._prove([part]) == []


def test_what_softmax_rounds_is_taken_off_too():
    """Logits that differ by a millionth keep their order, where float32's softmax of them may tie."""
    torch.manual_seed(26)
    head = nn.Linear(20, 2)
    net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), head).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(1.5)
        for weight in head.parameters():
            weight.mul_(2e-6)
    scores = Classifier(nn.Sequential(net, nn.Softmax(1)).eval())
    x = torch.rand(6, 6)
    y = scores.predict(x)
    certify = BranchAndBound(max_bounds=100)
    assert certify(Classifier(net), x, y, Linf(0.3)).certified.any()
    outcome = certify(scores, x, y, Linf(0.3))
    assert not outcome.certified.any()
    assert (outcome.margin[outcome.margin.isfinite()] < 1e-6).all()


def test_the_models_own_rounding_is_taken_off_in_parts():
    charged, exact = (
        bounds_of_parts(1, drawn(0, 1), drawn(0, 1), rounding)[0]
        for rounding in (rounding_model(torch.float32), NO_ROUNDING)
    )
    assert (charged < exact).all()
    net = nn.Sequential(dense([[1.0]], [1e8]), nn.ReLU(), dense([[1.0], [0.0]], [-1e8, 0.0])).eval()
    x = torch.tensor([[0.9]])
    assert not FAST(Classifier(net), x, torch.tensor([0]), Linf(0.0)).certified.any()


def test_an_example_without_a_number_is_neither_certified_nor_broken():
    net = nn.Sequential(dense([[1.0], [0.0]], [math.nan, 0.0])).eval()
    outcome = FAST(Classifier(net), torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.1))
    assert outcome.failed.all()
    assert not outcome.certified.any()
    assert not outcome.broken.any()


def test_a_budget_that_runs_out_leaves_open_and_says_no_more():
    net, x = random_net("dense", 2), inputs(2, 8)
    model = Classifier(net)
    y = model.predict(x)
    short, crown = BranchAndBound(max_bounds=1)(model, x, y, Linf(0.12)), CROWN()(model, x, y, Linf(0.12))
    assert (~short.certified & ~short.broken).any()
    assert (short.margin >= crown.margin).all()


@pytest.mark.parametrize("settings_", [{"seconds": 0.0}, {"max_bounds": 0}, {"seconds": math.nan}])
def test_limits_that_allow_nothing_are_refused(settings_):
    with pytest.raises(SettingError, match="expected numbers above 0"):
        BranchAndBound(**settings_)


def test_what_is_misclassified_is_neither():
    model, x = Classifier(random_net("dense", 2)), inputs(2)
    outcome = FAST(model, x, (model.predict(x) + 1) % 3, Linf(0.05))
    assert not outcome.certified.any()
    assert not outcome.broken.any()
