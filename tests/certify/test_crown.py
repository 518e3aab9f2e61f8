"""Linear bounds against exact answers: enumeration, closed forms, rational numbers, what models answer."""

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quintain.certify import CROWN, CROWNIBP, IntervalBounds
from quintain.certify import crown as module
from quintain.certify.interval import domain, layer_bounds, relaxations
from quintain.certify.interval.domain import Interval, input_interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.recording import Recording
from quintain.certify.linear import backward
from quintain.certify.linear.minimum import allowed_box, linear_minimum
from quintain.certify.rounding import NO_ROUNDING, rounding_model
from quintain.core.errors import ContradictionError, ModelError, SettingError
from quintain.losses import margin
from quintain.models import Classifier
from quintain.testing.closed_forms import best_linear_gain
from quintain.threats import L0, L1, L2, ExampleRNG, Linf, Mask, Patch
from tests.certify.exact_margins import exact_least_margin, tiny_net
from tests.certify.random_nets import NAMES, dense, inputs, points, random_net

pytestmark = pytest.mark.rounding

FLOAT32 = rounding_model(torch.float32)

BALLS = st.sampled_from(
    [
        *(Linf(0.0), Linf(0.01), Linf(0.1), L2(0.05), L2(0.5), L2(20.0)),
        *(L1(0.3), L1(3.0), L0(1), Mask("border", 0.1)),
    ]
)
CERTIFIERS = st.sampled_from([CROWN(), CROWNIBP()])


any_net = given(
    name=st.sampled_from(NAMES),
    threat=BALLS,
    certifier=CERTIFIERS,
    seed=st.integers(0, 10**6),
    size=st.sampled_from([0.1, 1.0, 5.0]),
)


@settings(deadline=None, max_examples=6)
@any_net
def test_bounds_hold_what_the_float32_model_answers_inside_the_threat(name, threat, certifier, seed, size):
    hold_what_the_model_answers(name, threat, certifier, seed, size)


@pytest.mark.exhaustive
@settings(deadline=None, max_examples=60)
@any_net
def test_bounds_of_many_more_nets_hold_what_the_model_answers(name, threat, certifier, seed, size):
    hold_what_the_model_answers(name, threat, certifier, seed, size)


def hold_what_the_model_answers(name, threat, certifier, seed, size):
    model, x = Classifier(random_net(name, seed, size)), inputs(seed)
    y = model.predict(x)
    outcome = certifier(model, x, y, threat)
    for z in points(model, x, y, threat, seed):
        assert (-margin(model(z).double(), y) >= outcome.margin).all()
    if isinstance(threat, Linf | L2):
        assert (outcome.certified | ~IntervalBounds()(model, x, y, threat).certified).all()


def linear_margins(net, x, y, threat, bound=None):
    """Linear bounds alone of the least margin (B,), also where intervals certify."""
    bound, traced = bound or module.LinearMargins(narrow=True), TracedNetwork.trace(net)
    found = [
        bound._margins_of_one(traced, one[None], label[None], threat, threat.eps, FLOAT32, points=None)
        for one, label in zip(x.double(), y, strict=True)
    ]
    return torch.cat(found).scatter(1, y[:, None], math.inf).amin(1)


def check_certified_at_most_exact(seed, eps=0.15):
    """No bound lies above the exact least margin of a tiny net, nor above what the model answers there."""
    net = tiny_net(seed)
    model, x = Classifier(net), torch.rand(3, 2, generator=torch.Generator().manual_seed(seed))
    y = model.predict(x)
    bounds = linear_margins(net, x, y, Linf(eps))
    for row in range(3):
        exact, point = exact_least_margin(net, x[row], int(y[row]), eps)
        assert Fraction(bounds[row].item()) <= exact
        z = torch.tensor([[float(c) for c in point]], dtype=torch.float64)
        assert bounds[row] <= -margin(model(z).double(), y[row : row + 1])[0]


@settings(deadline=None, max_examples=6)
@given(seed=st.integers(0, 10**6), eps=st.sampled_from([0.0, 0.02, 0.15, 0.6]))
def test_certified_is_at_most_exact_by_enumeration_in_rational_numbers(seed, eps):
    check_certified_at_most_exact(seed, eps)


@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 10**6))
def test_a_radius_a_millionth_above_the_exact_one_is_refused(seed):
    net = tiny_net(seed)
    model, x = Classifier(net), torch.full((1, 2), 0.5)
    y = model.predict(x)
    low, high = 0.0, 0.5
    for _ in range(25):
        middle = (low + high) / 2
        positive = exact_least_margin(net, x[0], int(y), middle)[0] > 0
        low, high = (middle, high) if positive else (low, middle)
    eps = min(high * (1 + 1e-6), 0.5)
    if exact_least_margin(net, x[0], int(y), eps)[0] <= 0:
        assert not CROWN()(model, x, y, Linf(eps)).certified


# what is broken in the bound, and the alarm of the enumeration above
def without_constant(affine, sources):
    constant, vjp = VJP(affine, sources)
    return torch.zeros_like(constant), vjp


VJP = backward.affine_vjp
RELU = relaxations.RELAXATIONS[nn.ReLU]


def steep_lines(layer, lower, upper, rounding):
    lines = RELU.lines(layer, lower, upper, rounding)
    bends = (lower < 0) & (upper > 0)
    outside = torch.where(lines.lower_slope > 0, 2.0, -1.0)
    return lines._replace(lower_slope=torch.where(bends, outside, lines.lower_slope))


def low_chords(layer, lower, upper, rounding):
    lines = RELU.lines(layer, lower, upper, rounding)
    bends = (lower < 0) & (upper > 0)
    return lines._replace(upper_slope=torch.where(bends, lines.upper_slope * 0.9, lines.upper_slope))


def small_minimum(rows, x, threat, eps, columns=None):
    return linear_minimum(rows, x, threat, eps / 1.02, columns)


MUTANTS = {
    "a dropped bias": (backward, "affine_vjp", without_constant),
    "a lower slope outside [0, 1]": (
        relaxations,
        "RELAXATIONS",
        {**relaxations.RELAXATIONS, nn.ReLU: RELU._replace(lines=steep_lines)},
    ),
    "an upper line below its chord": (
        relaxations,
        "RELAXATIONS",
        {**relaxations.RELAXATIONS, nn.ReLU: RELU._replace(lines=low_chords)},
    ),
    "a radius 2 percent larger": (module, "linear_minimum", small_minimum),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_lies_above_the_exact_margin(name, monkeypatch):
    place, attribute, bug = MUTANTS[name]
    monkeypatch.setattr(place, attribute, bug)
    if attribute == "RELAXATIONS":
        monkeypatch.setattr(layer_bounds, attribute, bug)
    # what refutes it may be the alarm inside: linear bounds that cross intervals
    broken = 0
    for seed in range(4):
        try:
            check_certified_at_most_exact(seed)
        except (AssertionError, ContradictionError):
            broken += 1
    assert broken
    monkeypatch.undo()
    for seed in range(4):
        check_certified_at_most_exact(seed)


def recorded(affine, *shape, mixes):
    """Bounds of numbers in [-1, 1] of a shape, and an affine operation on these."""
    recording = Recording()
    source = recording.add_input(torch.ones(1, *shape, dtype=torch.float64))
    terms = affine(source.terms).abs()
    made = recording.add_affine((source,), affine, torch.zeros_like(terms), terms, mixes=mixes)
    return backward.BackwardBounds(
        recording, lambda rows: -rows.flatten(1).abs().sum(1), backward.Tables()
    ), made


MATRIX = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("affine", "mixes", "is_short"),
    [
        (lambda h: h.flatten(1) @ MATRIX.T + 1, True, True),
        (lambda h: (h.flatten(1) @ MATRIX.T).view(-1, 2, 3), True, True),
        (lambda h: h.flatten(1) @ (MATRIX * (MATRIX > 1)).T, True, False),
        (lambda h: h.flatten(1), False, True),
        (lambda h: h.flatten(1).view(-1, 4, 2) + 1, False, True),
        (lambda h: h.flip(2), False, False),
        (lambda h: h.transpose(1, 2), False, False),
        (lambda h: 2 * h, False, False),
        (lambda h: h[:, :1], False, False),
    ],
    ids=["dense", "an image", "sparse", "flat", "shifted", "flipped", "transposed", "scaled", "a part"],
)
def test_rows_go_back_by_the_matrix_as_they_do_by_autograd(affine, mixes, is_short):
    bounds, operation = recorded(affine, 2, 4, mixes=mixes)
    rows = torch.randn(5, *operation.terms.shape[1:], dtype=torch.float64, requires_grad=True)
    constant, vjp = bounds._vjp(operation)
    assert (bounds.tables.products[operation.index] is not None) == is_short
    expected_constant, expected = backward.affine_vjp(affine, (operation.sources[0].terms,))
    assert torch.equal(constant, expected_constant)
    torch.testing.assert_close(vjp(rows), expected(rows))
    # and they can be searched through
    weights = torch.randn_like(operation.sources[0].terms)
    gradients = [torch.autograd.grad((of(rows)[0] * weights).sum(), rows)[0] for of in (vjp, expected)]
    torch.testing.assert_close(*gradients)


def test_bounds_without_the_models_own_rounding_cross_it(monkeypatch):
    net = nn.Sequential(dense([[1.0]], [1e8]), dense([[1.0]], [-1e8])).eval()
    model, x, y = Classifier(net), torch.tensor([[0.9]]), torch.tensor([1])
    wide = Classifier(nn.Sequential(*net, nn.Identity()).eval())
    assert not CROWN()(wide, x, y, Linf(0.0)).certified
    at = x.double()
    interval = Interval(at, torch.zeros_like(at), operation=Recording().add_input(at))
    rounded, exact = (
        TracedNetwork.trace(net).logit_bounds(interval, rounding)
        for rounding in (rounding_model(torch.float32), NO_ROUNDING)
    )

    def lower(logits):
        minimum = partial(linear_minimum, x=x.double(), threat=Linf(0.0), eps=0.0)
        rows = torch.ones(1, 1, dtype=torch.float64)
        return backward.BackwardBounds(logits.operation.recording, minimum, backward.Tables()).lower(
            logits.operation, rows
        )

    answered = model(x)[0, 1].double()
    assert lower(rounded) <= answered < lower(exact)


@pytest.mark.parametrize("threat", [Linf(0.07), L2(0.4), L1(1.3), L0(3), Mask("border", 0.2)], ids=str)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_minimum_of_a_linear_function_is_its_closed_form(threat, channels):
    generator = torch.Generator().manual_seed(channels)
    x = torch.empty(1, channels, 6, 7, dtype=torch.float64)
    x = x.uniform_(-0.5, 1.5, generator=generator).clamp(0, 1)
    rows = torch.randn(20, *x.shape[1:], generator=generator, dtype=torch.float64)
    rows[0] = 0.0
    rows[1] *= (rows[1] > 1.0).double()
    found = linear_minimum(rows, x, threat, threat.eps)
    for row, least in zip(rows, found, strict=True):
        exact = row.flatten() @ x.flatten() - best_linear_gain(threat, -row.flatten(), x)[0]
        assert least == pytest.approx(float(exact), abs=1e-9)
        assert least <= exact + 1e-12
    columns = torch.stack([torch.randperm(x.numel(), generator=generator)[:9] for _ in rows])
    part = rows.flatten(1).gather(1, columns)
    whole = torch.zeros_like(rows.flatten(1)).scatter(1, columns, part).view_as(rows)
    torch.testing.assert_close(
        linear_minimum(part, x, threat, threat.eps, columns), linear_minimum(whole, x, threat, threat.eps)
    )
    for count in range(4):
        z = threat.sample(x.expand(20, *x.shape[1:]), ExampleRNG(count, torch.arange(20)))
        assert ((rows * z).flatten(1).sum(1) >= found - 1e-12).all()


@settings(deadline=None, max_examples=30)
@given(
    slopes=st.lists(st.integers(-8, 8), min_size=6, max_size=6),
    places=st.lists(st.integers(0, 8), min_size=6, max_size=6),
    eps=st.integers(0, 40),
)
def test_l1_and_l0_minima_are_exact_in_rational_numbers(slopes, places, eps):
    x, rows = torch.tensor([places], dtype=torch.float64) / 8, torch.tensor([slopes], dtype=torch.float64)
    both = list(zip(slopes, places, strict=True))
    room = [Fraction(place if slope > 0 else 8 - place, 8) for slope, place in both]
    base = sum((slope * Fraction(place, 8) for slope, place in both), Fraction(0))
    left, loss = Fraction(eps, 8), Fraction(0)
    for slope, most in sorted(zip(map(abs, slopes), room, strict=True), reverse=True):
        loss += slope * min(most, left)
        left -= min(most, left)
    assert Fraction(float(linear_minimum(rows, x, L1(eps / 8), eps / 8)[0])) == base - loss
    losses = sorted((abs(slope) * most for slope, most in zip(slopes, room, strict=True)), reverse=True)
    count = eps % 7
    assert Fraction(float(linear_minimum(rows, x, L0(count), count)[0])) == base - sum(losses[:count])


@pytest.mark.parametrize("threat", [Linf(0.07), L2(0.4), L1(1.3), L0(3), Mask("border", 0.2)], ids=str)
def test_a_linear_model_is_certified_up_to_its_rounding(threat):
    net, x = random_net("linear", 3), inputs(3)
    model = Classifier(net)
    y = model.predict(x)
    weight = net[1].weight.detach().double()
    found = linear_margins(net, x, y, threat)
    for row in range(len(x)):
        one, others = x[row : row + 1].double(), [j for j in range(3) if j != y[row]]
        exact = min(
            float(lead @ one.flatten() - best_linear_gain(threat, -lead, one)[0])
            for lead in (weight[y[row]] - weight[j] for j in others)
        )
        assert exact - 1e-4 <= found[row] <= exact
    smaller = replace(threat, eps=threat.eps / 4 if not isinstance(threat, L0) else 0)
    assert (linear_margins(net, x, y, smaller) > found).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_recorded_operations_have_the_bounds_that_they_have_without(name, dtype):
    net, x, rounding = random_net(name, 5).to(dtype), inputs(5, 1).double(), rounding_model(dtype)
    plain, traced = input_interval(x, Linf(0.05)), TracedNetwork.trace(net)
    recording = Recording()
    recorded = Interval(plain.center, plain.radius, operation=recording.add_input(plain.magnitude))
    found, expected = (traced.logit_bounds(interval, rounding) for interval in (recorded, plain))
    assert torch.equal(found.center, expected.center)
    assert torch.equal(found.radius, expected.radius)
    assert found.operation is recording.operations[-1] or name == "one logit"


@pytest.mark.parametrize("name", NAMES)
def test_each_operations_error_holds_what_float32_rounds(name):
    """At one input the bounds are as far apart as roundings may take it, and hold what the model answers."""
    net, x = random_net(name, 9), inputs(9, 1)
    recording = Recording()
    start = Interval(
        x.double(), torch.zeros_like(x.double()), operation=recording.add_input(x.double().abs())
    )
    logits = TracedNetwork.trace(net).logit_bounds(start, rounding_model(torch.float32))
    rows = torch.eye(logits.center.shape[1], dtype=torch.float64)
    minimum = partial(linear_minimum, x=x.double(), threat=Linf(0.0), eps=0.0)
    found = backward.BackwardBounds(recording, minimum, backward.Tables()).lower(
        logits.operation, torch.cat([rows, -rows])
    )
    low, high = found.chunk(2)
    answered = net(x)
    answered = (answered["logits"] if isinstance(answered, dict) else answered)[0].double()
    assert (low <= answered).all()
    assert (answered <= -high).all()
    assert (-high - low < 1e-3 * (1 + answered.abs())).all()
    assert (-high - low > 0).all()


@settings(deadline=None, max_examples=40)
@given(
    kind=st.sampled_from(
        [
            *(nn.ReLU(), nn.LeakyReLU(0.2), nn.Hardtanh(-0.5, 0.7), nn.Hardtanh(0.1, math.inf), nn.ReLU6()),
            *(nn.Sigmoid(), nn.Tanh()),
        ]
    ),
    ends=st.tuples(st.floats(-9, 9), st.floats(-9, 9)),
)
def test_lines_enclose_their_layer(kind, ends):
    lower, upper = (torch.tensor([[end]], dtype=torch.float64) for end in sorted(ends))
    lines = relaxations.RELAXATIONS[type(kind)].lines(kind, lower, upper, NO_ROUNDING)
    at = torch.lerp(lower, upper, torch.linspace(0, 1, 201, dtype=torch.float64)).clamp(lower, upper)
    value, slack = kind(at), 1e-13 * (1 + at.abs())
    assert (lines.lower_slope * at + lines.lower_intercept <= value + slack).all()
    assert (lines.upper_slope * at + lines.upper_intercept >= value - slack).all()
    assert ((lines.lower_slope >= 0) & (lines.lower_slope <= 1)).all()
    assert ((lines.upper_slope >= 0) & (lines.upper_slope <= 1)).all()


@pytest.mark.parametrize(
    "pool",
    [
        *(nn.MaxPool2d(2), nn.MaxPool2d(3, 1, 1)),
        *(nn.MaxPool2d(2, 3, ceil_mode=True), nn.MaxPool2d((2, 3), 2, 1, (2, 1))),
    ],
    ids=str,
)
def test_lines_enclose_a_maximum_and_are_one_where_an_input_is_alone(pool):
    generator = torch.Generator().manual_seed(2)
    center = torch.randn(1, 2, 7, 7, generator=generator, dtype=torch.float64)
    radius = 0.3 * torch.rand(1, 2, 7, 7, generator=generator, dtype=torch.float64)
    lines = relaxations.max_pool2d(pool, center - radius, center + radius, NO_ROUNDING)
    for _ in range(50):
        h = center + radius * (2 * torch.randint(0, 2, center.shape, generator=generator) - 1)
        picked, value = h.flatten()[lines.position], pool(h)
        assert (lines.lower_slope * picked + lines.lower_intercept <= value).all()
        assert (lines.upper_slope * picked + lines.upper_intercept >= value).all()
    assert 0 < lines.loose.double().mean() < 1
    assert not relaxations.max_pool2d(pool, center, center, NO_ROUNDING).loose.any()


@pytest.mark.parametrize("name", ["conv", "pool", "padded", "residual"])
@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.3), L1(1.0), L0(2)], ids=str)
def test_windows_change_no_bound(name, threat):
    net, x = random_net(name, 4), inputs(4, 2)
    y, bounds = Classifier(net).predict(x), []
    for windowed in (True, False):
        bound = module.LinearMargins(narrow=True)
        bound.tables[x.shape[1:]] = backward.Tables(windowed=windowed)
        bounds.append(linear_margins(net, x, y, threat, bound))
    torch.testing.assert_close(*bounds, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("threat", [Linf(0.02), L2(0.2), L0(1)], ids=str)
def test_windows_of_larger_convolutions_change_no_bound(threat):
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, stride=2)),
        *(nn.LeakyReLU(0.1), nn.Conv2d(6, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(75, 2)),
    ).eval()
    x, bounds = torch.rand(2, 1, 12, 12), []
    y = Classifier(net).predict(x)
    for windowed in (True, False):
        bound = module.LinearMargins(narrow=True)
        bound.tables[x.shape[1:]] = backward.Tables(windowed=windowed)
        bounds.append(linear_margins(net, x, y, threat, bound))
        tables = bound.tables[x.shape[1:]]
        assert any(table is not None for table in tables.starts.values()) is windowed
        assert any(step is not None for step in tables.steps.values()) is windowed
    torch.testing.assert_close(*bounds, rtol=1e-9, atol=1e-12)


def test_bounds_that_cross_intervals_are_an_alarm():
    box = domain.Interval(torch.zeros(1, 2), torch.ones(1, 2))
    with pytest.raises(ContradictionError, match="one of them is false"):
        box.intersect(torch.tensor([[1.5, -2.0]]), torch.tensor([[2.0, 2.0]]))
    kept = box.intersect(torch.tensor([[math.nan, -0.5]]), torch.tensor([[math.nan, math.inf]]))
    assert kept.lower[0].tolist() == pytest.approx([-1.0, -0.5])
    assert kept.upper[0].tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(("certifier", "name"), [(CROWN(), "CROWN"), (CROWNIBP(), "CROWNIBP")])
def test_what_is_not_covered_is_refused_by_name(certifier, name):
    x, y = inputs(0), torch.zeros(4, dtype=torch.long)
    model = Classifier(random_net("dense", 0))
    with pytest.raises(SettingError, match="linear bounds know Linf, L2, L1, L0, Mask; got"):
        certifier(model, x, y, Patch(0.05))
    with pytest.raises(ModelError, match=rf"expected a model: {name}\(\)\(Classifier"):
        certifier(model.net, x, y, Linf(0.1))
    net = nn.Sequential(nn.Flatten(), nn.Linear(50, 4), nn.ELU(), nn.Linear(4, 2)).eval()
    with pytest.raises(ModelError, match="'2' is a ELU, which has no bound rule"):
        certifier(Classifier(net), x, y, Linf(0.1))


def test_crown_certifies_what_intervals_leave_open():
    model, x = Classifier(random_net("dense", 1)), inputs(1, 12)
    y = model.predict(x)
    certifiers = (IntervalBounds(), CROWNIBP(), CROWN())
    counts = [int(certifier(model, x, y, Linf(0.03)).certified.sum()) for certifier in certifiers]
    assert counts[0] < counts[2]
    assert counts == sorted(counts)


def test_a_window_of_padding_alone_is_never_certified():
    pool = nn.MaxPool2d(2, stride=1, padding=1, dilation=2)
    net = nn.Sequential(nn.Conv2d(1, 1, 1), pool, nn.Hardtanh(), nn.Flatten(), nn.Linear(1, 2)).eval()
    x = torch.full((1, 1, 1, 1), 0.5)
    assert pool(x).item() == -math.inf
    outcome = CROWN()(Classifier(net), x, Classifier(net).predict(x), Linf(0.1))
    assert not outcome.certified.any()


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.Tanh()])
def test_a_layer_of_zeros_has_no_windows(pool):
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 8, 1), pool, nn.Flatten()).eval()
    with torch.no_grad():
        net[2].weight.zero_()
        net[2].bias.zero_()
    x = torch.full((1, 1, 4, 4), 0.5)
    outcome = CROWN()(Classifier(net), x, torch.tensor([0]), Linf(0.1))
    assert not outcome.certified.any()
    assert outcome.margin.item() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("bias", [math.nan, math.inf, 1e38])
def test_what_is_not_finite_is_never_certified(bias):
    net = nn.Sequential(
        dense([[1.0], [0.0]], [bias, 0.0]), nn.ReLU(), dense([[3.5, 0.0], [-3.5, 0.0]], [1.0, 0.0])
    ).eval()
    outcome = CROWN()(Classifier(net), torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.1))
    assert not outcome.certified.any()
    assert outcome.failed.item() is True


def test_the_box_is_that_of_each_threat():
    x = torch.tensor([[0.05, 0.5]], dtype=torch.float64)
    for threat in (Linf(0.1), L2(0.1), L1(0.1)):
        assert [end.tolist() for end in allowed_box(x, threat, 0.1)] == [
            [[0.0, pytest.approx(0.4)]],
            [[pytest.approx(0.15), 0.6]],
        ]
    assert [end.tolist() for end in allowed_box(x, L0(1), 1.0)] == [[[0.0, 0.0]], [[1.0, 1.0]]]
    assert [end.tolist() for end in allowed_box(x, L0(0), 0.0)] == [x.tolist()] * 2


@pytest.mark.parametrize("exponent", [-20, -540, -700, -1000, -1060])
def test_slopes_whose_squares_are_no_numbers_lose_as_much_over_an_l2_ball(exponent):
    scale = 2.0**exponent
    rows = torch.tensor([[3.0, -4.0], [0.0, 5.0]], dtype=torch.float64) * scale
    x = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    found = [least / scale for least in linear_minimum(rows, x, L2(0.25), 0.25).tolist()]
    assert found == pytest.approx([-0.5 - 1.25, 2.5 - 1.25], rel=1e-3)


@pytest.mark.parametrize("eps", [1e-100, 1e-163, 1e-300])
def test_a_radius_whose_square_is_no_number_loses_as_much(eps):
    rows, x = (
        torch.tensor([[1e140, 1e140]], dtype=torch.float64),
        torch.tensor([[0.0, 4 * eps]], dtype=torch.float64),
    )
    assert float(linear_minimum(rows, x, L2(eps), eps)) <= 1e140 * 3 * eps * (1 + 1e-9)


@pytest.mark.parametrize("certifier", [CROWN(), CROWNIBP()])
def test_a_net_of_tiny_weights_is_certified_no_further_than_a_large_one(certifier):
    net = nn.Sequential(nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1e-165, -1e-165], [0.0, 0.0]], dtype=torch.float64))
        net[0].bias.copy_(torch.tensor([3e-166, 0.0], dtype=torch.float64))
    model, x, y = Classifier(net), torch.tensor([[0.5, 0.5]], dtype=torch.float64), torch.tensor([0])
    assert model.predict(torch.tensor([[0.3, 0.7]], dtype=torch.float64)).item() == 1
    assert not certifier(model, x, y, L2(0.3)).certified.any()


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("certifier", [CROWN(), CROWNIBP()])
def test_a_slope_that_float32_makes_smaller_proves_nothing_false_in_float64(certifier, slope):
    """The margin at (.4, .6) is below 0 by less than what float32 makes of the slope."""
    net = nn.Sequential(nn.Linear(2, 1), nn.LeakyReLU(slope), nn.Linear(1, 2)).double().eval()
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -1.0]], dtype=torch.float64))
        net[0].bias.fill_(-0.01)
        net[2].weight.copy_(torch.tensor([[1.0], [0.0]], dtype=torch.float64))
        net[2].bias.copy_(torch.tensor([0.21 * slope * (1 - 3e-9), 0.0], dtype=torch.float64))
    model, x = Classifier(net), torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    assert model.predict(torch.tensor([[0.4, 0.6]], dtype=torch.float64)).item() == 1
    assert not certifier(model, x, torch.tensor([0]), Linf(0.1)).certified.any()
