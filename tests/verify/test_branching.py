"""Branch and bound for violations of several rows, against linear programs of all patterns; and mutants."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from torch import nn

from quintain.certify.linear import region_search, rivals
from quintain.certify.linear.half_space import InputHalfSpace
from quintain.certify.linear.joint_rows import JointRows
from quintain.core.errors import ContradictionError, SettingError
from quintain.models import Classifier
from quintain.verify import branching, verify_property
from quintain.verify.boxes import OpenBox
from quintain.verify.branching import split_signs
from quintain.verify.prover import Prover, Rows
from tests.certify.random_nets import inputs, random_net
from tests.certify.split_bugs import lost_halves
from tests.certify.test_branch_and_bound import steps
from tests.verify.nets import write_net, write_property

pytestmark = pytest.mark.rounding

UNITS = 5


def one_layer(seed, outputs=3):
    """A net of two inputs and one hidden layer, with normal weights."""
    net = nn.Sequential(nn.Linear(2, UNITS), nn.ReLU(), nn.Linear(UNITS, outputs)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(generator=generator))
    return net


def random_rows(seed, count, outputs=3):
    """Rows over outputs and inputs."""
    draw = np.random.default_rng(seed)
    parts = (draw.normal(size=(count, outputs)), 0.3 * draw.normal(size=(count, 2)), draw.normal(size=count))
    return Rows(*(torch.from_numpy(part) for part in parts))


def least_worst(net, rows, lower, upper):
    """The least value over a box of the largest row, by a linear program for each pattern of the ReLUs."""
    w1, b1, w2, b2 = (part.detach().double().numpy() for part in net.parameters())
    outputs, inputs, bounds = (part.numpy() for part in (rows.outputs, rows.inputs, rows.bounds))
    least = math.inf
    for pattern in itertools.product((0.0, 1.0), repeat=UNITS):
        mask = np.array(pattern)
        slopes = outputs @ (w2 @ (mask[:, None] * w1)) + inputs
        constant = outputs @ (w2 @ (mask * b1) + b2) - bounds
        signs = 1 - 2 * mask
        # over (x, t): each row at most t, each unit of its sign
        above = np.concatenate([np.c_[slopes, -np.ones(len(slopes))], np.c_[signs[:, None] * w1, 0 * b1]])
        ends = np.concatenate([-constant, -signs * b1])
        found = linprog(
            [0, 0, 1], A_ub=above, b_ub=ends, bounds=[*zip(lower, upper, strict=True), (None, None)]
        )
        if found.success:
            least = min(least, found.fun)
    return least


def left_open(net, cases, lower, upper, ticks=40):
    """The numbers of the cases that are not refuted, by a clock that ticks whenever it is read."""
    prover = Prover.of(net, lower.shape, torch.float32)
    boxes = [OpenBox(number, lower, upper, -math.inf) for number in range(len(cases))]
    clock = itertools.count().__next__
    left = split_signs(prover, boxes, cases, ticks * len(cases), find_violation=lambda *_: None, clock=clock)
    return {box.violation for box in left}


def check(seed, counts, targets, half=0.6):
    """Cases moved so that their largest row is at least 0.1 everywhere are refuted, and others never are."""
    net = one_layer(seed)
    lower, upper = torch.full((2,), -half).double(), torch.full((2,), half).double()
    cases = []
    for number, (count, target) in enumerate(zip(counts, targets, strict=True)):
        rows = random_rows(100 * seed + number, count)
        move = least_worst(net, rows, lower.tolist(), upper.tolist()) - target
        cases.append(replace(rows, bounds=rows.bounds + move))
    left = left_open(net, cases, lower, upper)
    assert left >= {number for number, target in enumerate(targets) if target < 0}
    return left <= {number for number, target in enumerate(targets) if target < 0.1}


@settings(deadline=None, max_examples=3)
@given(
    seed=st.integers(0, 10**6),
    counts=st.sampled_from([(1, 3), (2, 1), (3, 2)]),
    targets=st.sampled_from([(-0.001, 0.1), (0.1, -0.001), (0.01, 0.1)]),
)
def test_cases_are_refuted_only_where_programs_of_all_patterns_have_no_violation(seed, counts, targets):
    check(seed, counts, targets)


def test_cases_that_hold_clearly_are_refuted():
    found = [check(seed, counts, (0.1, 0.1)) for seed, counts in enumerate([(1, 1), (1, 2), (2, 3), (4, 1)])]
    assert sum(found) >= 3


@pytest.mark.parametrize(
    ("name", "seed", "count"),
    [
        ("dense", 1, 2),
        ("conv", 2, 1),
        *(
            pytest.param(name, seed, 1 + seed % 3, marks=pytest.mark.exhaustive)
            for name in ("dense", "conv", "padded", "pool", "smooth", "functions")
            for seed in range(6)
        ),
    ],
)
def test_a_case_that_an_input_violates_is_never_refuted(name, seed, count):
    hold_a_planted_violation(name, seed, count)


def hold_a_planted_violation(name, seed, count, room=1e-3):
    """Rows that hold at one input of the box, which of a thousand has the least sum of them."""
    net, center = random_net(name, seed), inputs(seed, 1)
    draw = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, 2, (1000, *center.shape[1:]), generator=draw)
    z = center + 0.1 * (2 * corners - 1)
    with torch.no_grad():
        outputs = Classifier(net)(z).double()
    slopes = torch.randn(count, outputs.shape[1], generator=draw).double()
    values = outputs @ slopes.T
    bounds = values[int(values.sum(1).argmin())] + room
    rows = Rows(slopes, torch.zeros(count, center.numel()).double(), bounds)
    ends = ((center + side * 0.1).double().flatten() + side * 1e-7 for side in (-1, 1))
    prover, clock = Prover.of(net, center.shape[1:], torch.float32), itertools.count().__next__
    box = OpenBox(0, *ends, -math.inf)
    assert split_signs(prover, [box], [rows], 15, find_violation=lambda *_: None, clock=clock) == [box]


def opposites(gap):
    """Thirty inputs, outputs y and ``gap`` - y: either may be 0 or less, and never both where the gap is."""
    draw = np.random.default_rng(0)
    layers = [
        (draw.normal(size=(8, 30)), draw.normal(size=8)),
        (draw.normal(size=(6, 8)), draw.normal(size=6)),
    ]
    last = draw.normal(size=6)
    return [*layers, (np.stack([last, -last]), [0.0, gap])]


def test_of_rows_that_exclude_each_other_none_is_refuted_by_itself(tmp_path):
    prop = tmp_path / "p.vnnlib"
    for text, expected in (("(and (<= Y_0 0) (<= Y_1 0))", "unsat"), ("(or (<= Y_0 0) (<= Y_1 0))", "sat")):
        net = write_net(tmp_path / "net.onnx", opposites(0.1), (30,))
        write_property(prop, [-0.1] * 30, [0.1] * 30, f"(assert {text})", 2)
        verdict = verify_property(net, prop, seconds=60)
        assert verdict.answer == expected
    net = write_net(tmp_path / "net.onnx", opposites(-0.1), (30,))
    write_property(prop, [-0.1] * 30, [0.1] * 30, "(assert (and (<= Y_0 0) (<= Y_1 0)))", 2)
    assert verify_property(net, prop, seconds=60).answer == "sat"


def check_all():
    for seed in range(4):
        check(seed, (2, 1, 2), (-0.001, 0.1, -0.001))


OF = InputHalfSpace.of


def weights_of_both_signs(self, weights, dtype):
    signs = torch.where(torch.arange(len(weights)) % 2 == 0, 1.0, -1.0).to(dtype)
    return (weights.to(dtype) * signs)[None] @ self.rows.to(dtype)


def turned_round(row, bound, least, most, terms):
    found = OF(row, bound, least, most, terms)
    return InputHalfSpace(-found.slopes, -found.constant)


def rows_of_all_cases(prover, boxes, rows, ends, clock):
    found = CASES_OF(prover, boxes, rows, ends, clock)
    return replace(found, places=[torch.cat(list(found.places))] * len(boxes))


def one_case_less(prover, boxes, rows, ends, clock):
    found = CASES_OF(prover, boxes, rows, ends, clock)
    return replace(found, order=found.order[:-1])


CASES_OF = branching._Cases.of


@pytest.mark.parametrize(
    ("owner", "attribute", "bug"),
    [
        (JointRows, "sum", weights_of_both_signs),
        (InputHalfSpace, "of", staticmethod(turned_round)),
        (branching._Cases, "of", staticmethod(rows_of_all_cases)),
        (branching._Cases, "of", staticmethod(one_case_less)),
    ],
    ids=["a negative weight", "a half-space turned round", "rows of others", "a lost case"],
)
def test_a_planted_bug_refutes_what_is_violated(owner, attribute, bug, monkeypatch):
    monkeypatch.setattr(owner, attribute, bug)
    with pytest.raises((AssertionError, ContradictionError)):
        check_all()


@pytest.mark.parametrize("bug", lost_halves(region_search.halves, "signs"))
def test_a_lost_half_is_an_alarm(bug, monkeypatch):
    """A net that only signs decide: its least difference of outputs is 0.05."""
    net, rows = steps(0.2), Rows(*(torch.tensor(part).double() for part in ([[1, -1]], [[0, 0]], [0])))
    lower, upper = torch.tensor([0.1, 0.05]).double(), torch.tensor([0.9, 0.85]).double()
    assert left_open(net, [rows], lower, upper, ticks=400) == set()
    monkeypatch.setattr(region_search, "halves", bug)
    with pytest.raises(ContradictionError, match="do not make up the whole threat"):
        left_open(net, [rows], lower, upper, ticks=400)


def test_no_case_is_given_up_while_there_is_time(monkeypatch):
    """A case left open leaves the property open, so that nothing else has more of the time."""
    net, rows = steps(0.2), Rows(*(torch.tensor(part).double() for part in ([[1, -1]], [[0, 0]], [0])))
    lower, upper = torch.tensor([0.1, 0.05]).double(), torch.tensor([0.9, 0.85]).double()
    monkeypatch.setattr(region_search.RegionSearch, "_gains_too_little", lambda *_: True)
    monkeypatch.setattr(rivals, "PartSearch", None)
    assert left_open(net, [rows], lower, upper, ticks=400) == set()


def test_after_a_counterexample_nothing_more_is_searched_for():
    """Both cases of a box that are open, and another box, after the first point is said to violate one."""
    net, rows = steps(0.2), Rows(*(torch.tensor(part).double() for part in ([[1, -1]], [[0, 0]], [1])))
    ends = torch.tensor([0.1, 0.05]).double(), torch.tensor([0.9, 0.85]).double()
    prover, asked = Prover.of(net, ends[0].shape, torch.float32), []

    def find_violation(points, violation):
        asked.append(violation)
        return points[0]

    boxes = [OpenBox(0, *ends, -1.0), OpenBox(1, *ends, -2.0), OpenBox(2, ends[0], ends[1] + 0.1, -1.0)]
    left = split_signs(prover, boxes, [rows] * 3, 1e9, find_violation=find_violation, clock=lambda: 0.0)
    assert asked == [0]
    assert {box.violation for box in left} == {0, 1, 2}


def test_a_sum_of_rows_takes_values_of_the_operation_and_no_negative_weight():
    rows = torch.eye(3, dtype=torch.float64)
    made = JointRows(rows[:2])
    assert torch.equal(made.sum(torch.tensor([0.5, -1.0]), torch.float64), 0.5 * rows[:1])
    for wrong in (rows[[0, 0]], rows[:2] * 0.5, rows[:2] + rows[1:], rows[:0]):
        with pytest.raises(SettingError, match="expected one margin, or different values"):
            JointRows(wrong)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 5))
def test_weights_stay_fractions_and_find_the_best_sum_of_linear_rows(seed, count):
    """Of rows a + b . z over [-1, 1], the best sum is the value of a game, by a linear program."""
    draw = torch.Generator().manual_seed(seed)
    slopes, constants = (torch.randn(*shape, generator=draw).double() for shape in ((count, 3), (count,)))
    joint, terms = JointRows(torch.eye(count, dtype=torch.float64)), torch.ones(1, count, dtype=torch.float64)

    def bound(row):
        return row @ constants - (row @ slopes).abs().sum(1)

    weights = joint.first_weights(bound, terms)
    best, moments = float(bound(weights[None])), (torch.zeros(count).double(), torch.zeros(count).double())
    assert best >= float((constants - slopes.abs().sum(1)).max()) - 1e-12
    for number in range(1, 40):
        given_ = weights.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(bound(given_[None]).sum(), given_)
        weights = joint.step(weights, gradient, moments, number, terms)
        assert (weights >= 0).all()
        assert float(weights.sum()) == pytest.approx(1)
        best = max(best, float(bound(weights[None])))
    # the largest a . w - sum |s| with |b . w| <= s
    found = linprog(
        [*(-constants).tolist(), 1, 1, 1],
        A_ub=np.block([[slopes.numpy().T, -np.eye(3)], [-slopes.numpy().T, -np.eye(3)]]),
        b_ub=np.zeros(6),
        A_eq=[[1.0] * count + [0.0] * 3],
        b_eq=[1.0],
    )
    assert best <= -found.fun + 1e-9
    assert best >= -found.fun - 0.5
