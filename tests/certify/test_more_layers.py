"""Layers beyond piecewise linear ones: lines, rounding by operation, softmax at the end, rules of users."""

import math
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from quintain.certify import CROWN, BranchAndBound, IntervalBounds, TracedNetwork, register_layer_rule
from quintain.certify.interval import smooth
from quintain.certify.interval.domain import Interval, input_interval
from quintain.certify.interval.functions import bound_call
from quintain.certify.interval.layer_bounds import bound_layer
from quintain.certify.interval.layer_rules import LAYER_RULES
from quintain.certify.interval.recording import Lines
from quintain.certify.interval.relaxations import RELAXATIONS, Relaxation
from quintain.certify.rounding import NO_ROUNDING, rounding_model
from quintain.core.errors import ModelError, SettingError
from quintain.losses import margin
from quintain.models import Classifier
from quintain.threats import L2, Linf
from tests.certify.random_nets import dense

pytestmark = pytest.mark.rounding

SMOOTH = {"sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "gelu": nn.GELU(), "tanh gelu": nn.GELU("tanh")}


def every_interval():
    """Ends (2, n) of intervals of every width from 1e-12 to 40, in all positions about bends and ends."""
    middle = torch.cat([torch.linspace(-9, 9, 73), torch.tensor([-1.4185, 1.4142, -0.7518, 1e-9])]).double()
    radius = torch.tensor([0.0, 1e-12, 1e-8, 1e-4, 0.01, 0.1, 0.5, 1.0, 3.0, 20.0]).double()
    return (middle[:, None] - radius).flatten(), (middle[:, None] + radius).flatten()


@pytest.mark.parametrize("name", SMOOTH)
def test_lines_and_ranges_hold_a_dense_sample_of_every_interval(name):
    layer, (lower, upper) = SMOOTH[name], every_interval()
    lines = RELAXATIONS[type(layer)].lines(layer, lower, upper, NO_ROUNDING)
    at = torch.lerp(lower, upper, torch.linspace(0, 1, 501, dtype=torch.float64)[:, None])
    at = torch.minimum(torch.maximum(at, lower), upper)
    value, slack = layer(at), 2e-15 * (1 + at.abs())
    assert (lines.lower_slope * at + lines.lower_intercept <= value + slack).all()
    assert (lines.upper_slope * at + lines.upper_intercept >= value - slack).all()
    box = bound_layer(layer, Interval((lower + upper) / 2, (upper - lower) / 2), NO_ROUNDING, "layer")
    assert (box.lower <= value + slack).all()
    assert (box.upper >= value - slack).all()
    # tight: both ends of the range are reached, and lines meet where an interval is one point
    torch.testing.assert_close(box.lower, value.amin(0), rtol=0, atol=1e-3)
    torch.testing.assert_close(box.upper, value.amax(0), rtol=0, atol=1e-3)
    point = lower == upper
    apart = ((lines.upper_slope - lines.lower_slope) * lower + lines.upper_intercept - lines.lower_intercept)[
        point
    ]
    assert (apart.abs() < 1e-13).all()


def test_lines_of_an_s_shape_have_their_closed_forms():
    """All concave: chord and the tangent in the middle. Symmetric: the tangents through the other ends."""
    line = RELAXATIONS[nn.Tanh].lines(
        nn.Tanh(), *(torch.tensor([v]).double() for v in (1.0, 3.0)), NO_ROUNDING
    )
    chord = (math.tanh(3) - math.tanh(1)) / 2
    assert [float(part) for part in line[:4]] == pytest.approx(
        [chord, math.tanh(1) - chord, 1 - math.tanh(2) ** 2, math.tanh(2) - 2 * (1 - math.tanh(2) ** 2)]
    )
    ends = torch.tensor([[-5.0], [5.0]]).double()
    line = RELAXATIONS[nn.Sigmoid].lines(nn.Sigmoid(), *ends, NO_ROUNDING)
    low, high = 1 / (1 + math.exp(5)), 1 / (1 + math.exp(-5))
    assert float(line.lower_slope) == pytest.approx(float(line.upper_slope), rel=1e-12)
    assert float(line.lower_slope * 5 + line.lower_intercept) == pytest.approx(high, rel=1e-9)
    assert float(line.upper_slope * -5 + line.upper_intercept) == pytest.approx(low, rel=1e-6)


def test_lines_of_gelu_are_chord_and_tangent_where_it_is_convex():
    ends = torch.tensor([[-1.0], [1.2]], dtype=torch.float64)
    line = RELAXATIONS[nn.GELU].lines(nn.GELU(), *ends, NO_ROUNDING)
    low, high = F.gelu(ends).flatten().tolist()
    chord = (high - low) / 2.2
    assert [float(part) for part in line[2:4]] == pytest.approx([chord, low + chord], rel=1e-12)
    # below: the tangent at the point whose derivative is the chord's slope
    at = torch.linspace(-1.0, 1.2, 200_001, dtype=torch.float64)
    assert float(line.lower_intercept) == pytest.approx(float((F.gelu(at) - chord * at).min()), abs=1e-9)
    assert float(line.lower_slope) == pytest.approx(chord, rel=1e-12)


def test_the_derivative_of_each_curve_is_monotone_between_its_bends():
    h = torch.linspace(-30, 30, 60_001, dtype=torch.float64)
    for curve in (smooth.SIGMOID, smooth.TANH, smooth.GELU, smooth.TANH_GELU):
        torch.testing.assert_close(
            curve.derivative(h)[1:-1], (curve.f(h)[2:] - curve.f(h)[:-2]) / 2e-3, rtol=0, atol=1e-6
        )
        for part in (h[h <= -curve.bend], h[h.abs() <= curve.bend], h[h >= curve.bend]):
            rises = curve.derivative(part).diff()
            assert (rises >= -1e-14).all() or (rises <= 1e-14).all()
        if math.isfinite(curve.least):
            assert float(curve.f(torch.tensor(curve.least).double())) <= float(curve.f(h).min()) + 1e-15


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_librarys_rounding_is_a_fifth_of_what_is_charged(name, dtype):
    """Float32 against float64 by the library; what is charged at a point is the bound's radius there."""
    h = torch.cat([torch.linspace(-30, 30, 20_001), torch.linspace(-1e-3, 1e-3, 2001), torch.zeros(1)])
    h = h.to(dtype).double()[:, None]
    span = bound_layer(SMOOTH[name], Interval(h, h * 0), rounding_model(dtype), "layer")
    unit = torch.finfo(dtype).eps / 2
    assert (span.radius >= 32 * unit * (h.abs() + SMOOTH[name](h).abs())).all()
    if dtype == torch.float32:
        assert ((SMOOTH[name](h.float()).double() - SMOOTH[name](h)).abs() <= span.radius / 5).all()


def sums(layer, h):
    """What each output is a sum of, in absolute values."""
    weight, bias = layer.weight.abs().double(), layer.bias.abs().double()
    bare = type(layer)(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        groups=layer.groups,
    ).double()
    with torch.no_grad():
        bare.weight.copy_(weight)
        bare.bias.copy_(bias)
    return bare(h.abs())


CONVOLUTIONS = {
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1, groups=2), (2, 4, 9), 2 * 3),
    "conv2d": (nn.Conv2d(3, 2, 3, stride=2), (2, 3, 7, 7), 3 * 9),
    "transposed 1d": (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (2, 4, 5), 2 * 3),
    "transposed 2d": (nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1), (2, 3, 4, 4), 3 * 9),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_a_convolution_is_charged_gamma_of_its_products_and_its_bias(name):
    layer, shape, products = CONVOLUTIONS[name]
    h = torch.randn(shape).double()
    span = bound_layer(layer, Interval(h, h * 0), rounding_model(torch.float32), "layer")
    gamma = (products + 1) * 2.0**-24 / (1 - (products + 1) * 2.0**-24)
    derived = gamma * sums(layer, h)
    assert (span.radius >= derived).all()
    assert (span.radius <= derived * (1 + 1e-6) + 1e-30).all()
    assert ((layer(h.float()).double() - span.center).abs() <= span.radius).all()


@pytest.mark.parametrize("mean", [True, False])
def test_a_sum_is_charged_gamma_of_its_terms_and_a_mean_of_two_more(mean):
    h = torch.randn(3, 4, 5, 6).double()
    function = "mean" if mean else "sum"
    span = bound_call(function, (Interval(h, h * 0), (1, 3)), {}, rounding_model(torch.float32), "sum")
    count = 24 + 2 * mean
    terms = h.abs().sum((1, 3)) / (24 if mean else 1)
    derived = count * 2.0**-24 / (1 - count * 2.0**-24) * terms
    assert ((derived <= span.radius) & (span.radius <= derived * (1 + 1e-6) + 1e-30)).all()
    torch.testing.assert_close(span.center, getattr(h, function)((1, 3)))


def test_what_moves_numbers_is_charged_nothing():
    h = torch.randn(2, 3, 4).double()
    box, rounding = Interval(h, h.abs() / 9), rounding_model(torch.float32)
    for target, args, f in (
        ("permute", (box, 0, 2, 1), lambda v: v.permute(0, 2, 1)),
        ("transpose", (box, 1, 2), lambda v: v.transpose(1, 2)),
        (torch.cat, ((box, box), 2), lambda v: torch.cat((v, v), 2)),
    ):
        found = bound_call(target, args, {}, rounding, "moved")
        assert torch.equal(found.center, f(box.center))
        assert torch.equal(found.radius, f(box.radius))
    turned = bound_call("neg", (box,), {}, rounding, "turned")
    assert torch.equal(turned.center, -h)
    assert torch.equal(turned.radius, box.radius)
    padded = bound_call(F.pad, (box, (1, 2)), {"value": 0.1}, rounding, "padded")
    assert torch.equal(padded.center, F.pad(h, (1, 2), value=float(torch.tensor(0.1))))
    assert torch.equal(padded.radius, F.pad(box.radius, (1, 2)))


def test_copies_in_an_l2_ball_move_together():
    """Of [x, x] the sum moves by 2 eps, and two independent coordinates would move by eps sqrt 2 only."""
    net = dense([[1.0, 1.0], [0.0, 0.0]], [0.0, 0.0])
    traced = TracedNetwork.trace(Doubled(net))
    box = input_interval(torch.tensor([[0.5]]).double(), L2(0.1))
    assert traced.logit_bounds(box).upper[0, 0].item() >= 1.2 - 1e-12


class Doubled(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.last = last

    def forward(self, x):
        return self.last(torch.cat([x, x], 1))


class Ended(nn.Module):
    """A net with something at its end."""

    def __init__(self, end, outputs=3):
        super().__init__()
        self.first, self.last, self.end = nn.Linear(4, 8), nn.Linear(8, outputs), end

    def forward(self, x):
        return self.end(self.last(F.relu(self.first(x))))


ENDS = {
    "softmax": nn.Softmax(1),
    "log_softmax": nn.LogSoftmax(-1),
    "softmax as a function": lambda z: F.softmax(z, dim=1),
    "softmax of torch": lambda z: torch.softmax(z, -1),
    "log_softmax as a function": lambda z: F.log_softmax(z, dim=1),
    "a method": lambda z: {"logits": z.log_softmax(1)},
}


@settings(deadline=None, max_examples=3)
@given(name=st.sampled_from(list(ENDS)), seed=st.integers(0, 10**6), scale=st.sampled_from([0.3, 3.0, 60.0]))
def test_margins_of_softmax_hold_what_it_answers(name, seed, scale):
    torch.manual_seed(seed)
    net = Ended(ENDS[name]).eval()
    with torch.no_grad():
        net.last.weight.mul_(scale)
    model, x = Classifier(net), torch.rand(3, 4)
    y = model.predict(x)
    for certifier in (IntervalBounds(), CROWN()):
        outcome = certifier(model, x, y, Linf(0.02))
        for _ in range(20):
            z = (x + 0.02 * (2 * torch.rand(3, 4) - 1)).clamp(0, 1)
            assert (-margin(model(z).double(), y) >= outcome.margin).all()
        assert "error function" in outcome.assumptions[-1]


@pytest.mark.parametrize(
    "name",
    [
        *("softmax", "log_softmax as a function"),
        *(pytest.param(name, marks=pytest.mark.exhaustive) for name in list(ENDS)[1:4]),
        pytest.param("a method", marks=pytest.mark.exhaustive),
    ],
)
def test_what_softmax_ends_in_is_certified_as_its_logits_are(name):
    net = Ended(ENDS[name]).eval()
    plain = Ended(nn.Identity()).eval()
    plain.load_state_dict(net.state_dict())
    x = torch.rand(20, 4)
    y = Classifier(net).predict(x)
    found, expected = (CROWN()(Classifier(one), x, y, Linf(0.05)) for one in (net, plain))
    assert torch.equal(found.certified, expected.certified)
    assert 0 < found.certified.sum() < 20
    at_point = IntervalBounds()(Classifier(net), x, y, Linf(0.0)).margin
    own = -margin(Classifier(net)(x).detach().double(), y)
    # (1 - e^-m) / S is exact for two classes, and within the smallest probability for three
    assert ((own - at_point).abs() < (1e-4 if "log" in name or name == "a method" else 0.2)).all()


def test_of_two_classes_softmax_margins_are_exact():
    net = Ended(nn.Softmax(1), outputs=2).eval()
    x = torch.rand(20, 4)
    y = Classifier(net).predict(x)
    found = IntervalBounds()(Classifier(net), x, y, Linf(0.0)).margin
    torch.testing.assert_close(found, -margin(Classifier(net)(x).detach().double(), y), rtol=0, atol=3e-5)


def written_into(z):
    scores = F.softmax(z, dim=1)
    scores.add_(1.0)
    return scores


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (Ended(nn.Softmax(1), outputs=1), "softmax of one logit"),
        (Ended(nn.Sigmoid(), outputs=1), "sigmoid of one logit"),
        (Ended(lambda z: torch.sigmoid(z).squeeze(1), outputs=1), "sigmoid of one logit"),
        (Ended(lambda z: {"logits": z.sigmoid().view(z.shape[0], 1)}, outputs=1), "sigmoid of one logit"),
        (Ended(nn.Softmax(0)), "no bound rule"),
        (Ended(lambda z: F.softmax(z, dim=1).mul_(-1.0)), "no bound rule"),
        (Ended(lambda z: F.softmax(z, dim=1, dtype=torch.float64)), "no bound rule"),
        (Ended(written_into), "no bound rule"),
    ],
)
def test_another_softmax_and_a_probability_alone_are_refused(net, said):
    with pytest.raises(ModelError, match=said):
        IntervalBounds()(
            Classifier(net.eval()), torch.rand(2, 4), torch.zeros(2, dtype=torch.long), Linf(0.1)
        )


@pytest.mark.parametrize(
    "end", [nn.Sigmoid(), lambda z: 2 * z.sigmoid() - 1], ids=["for each class", "centered"]
)
def test_sigmoids_that_say_something_are_bounded(end):
    net = Ended(end, outputs=2 if isinstance(end, nn.Sigmoid) else 1).eval()
    outcome = IntervalBounds()(
        Classifier(net), torch.rand(2, 4), torch.zeros(2, dtype=torch.long), Linf(0.01)
    )
    assert outcome.margin.isfinite().all()


def test_convolutions_as_functions_are_looked_for_where_settings_matter(monkeypatch):
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.taps = nn.Parameter(torch.randn(2, 1, 2, 2))

        def forward(self, x):
            return F.conv2d(x, self.taps).flatten(1)

    seen = []
    from quintain.certify.interval import traced_bounds

    plain = traced_bounds.require_bounded_rounding
    monkeypatch.setattr(
        traced_bounds,
        "require_bounded_rounding",
        lambda *args, has_convolutions=False: seen.append(has_convolutions) or plain(*args),
    )
    model, x = Classifier(Functional().eval()), torch.rand(2, 1, 2, 2)
    IntervalBounds()(model, x, model.predict(x), Linf(0.01))
    assert seen[-1] is True


class Viewed(nn.Module):
    """A net that reshapes by the batch size."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 3, 2), nn.Linear(12, 2)

    def forward(self, x):
        h = F.relu(self.first(x.view(x.shape[0], 1, 3, 3)))
        return self.last(F.relu(h.view(x.size(0), 12)))


def test_a_view_by_the_batch_size_is_searched_by_branch_and_bound():
    net, x = Viewed().eval(), torch.rand(6, 9)
    with torch.no_grad():
        net.last.bias.zero_()
        net.first.weight.mul_(3.0)
    model = Classifier(net)
    y = model.predict(x)
    found = BranchAndBound(seconds=5.0)(model, x, y, Linf(0.9))
    plain = CROWN()(model, x, y, Linf(0.9))
    assert (found.margin >= plain.margin).all()
    decided = found.certified | found.counterexample.flatten(1).isfinite().all(1)
    assert decided.sum() > plain.certified.sum()


class Square(nn.Module):
    def forward(self, x):
        return x * x


class Triple(nn.Module):
    def forward(self, x):
        return x * 3.0


@pytest.fixture
def own_rules():
    with patch.dict(LAYER_RULES), patch.dict(RELAXATIONS):
        yield


def square_rule(_layer, interval, rounding):
    low = torch.where((interval.lower < 0) & (interval.upper > 0), 0.0, interval.magnitude)
    least = torch.minimum(torch.minimum(interval.lower.abs(), interval.upper.abs()), low)
    box = Interval.from_bounds(least.square(), interval.magnitude.square())
    return box.widen(rounding.error_bound(1, box.magnitude, interval.magnitude))


def square_lines(_layer, lower, upper, _rounding):
    """Convex: the chord above, the tangent in the middle below."""
    middle = (lower + upper) / 2
    return Lines(2 * middle, -middle.square(), lower + upper, -lower * upper)


def test_a_layer_of_ones_own_gets_a_rule(own_rules):
    net = nn.Sequential(
        nn.Linear(4, 6), Square(), nn.Linear(6, 6), Triple(), nn.ReLU(), nn.Linear(6, 3)
    ).eval()
    model, x = Classifier(net), torch.rand(30, 4)
    y = model.predict(x)
    register_layer_rule(Square, relaxation=Relaxation(square_lines, 1))(square_rule)
    register_layer_rule(Triple)(
        lambda _layer, h, rounding: h.elementwise_affine(
            h.center.new_tensor(3.0), h.center.new_zeros(()), rounding, roundings=1
        )
    )
    found = [certifier(model, x, y, Linf(0.5)) for certifier in (IntervalBounds(), CROWN())]
    assert (found[0].margin <= found[1].margin).all()
    assert (found[0].margin < found[1].margin).any()
    for _ in range(20):
        z = (x + 0.5 * (2 * torch.rand(30, 4) - 1)).clamp(0, 1)
        for outcome in found:
            assert (-margin(model(z).double(), y) >= outcome.margin).all()


def test_a_rule_that_linear_bounds_cannot_follow_is_refused_with_what_to_do(own_rules):
    net = nn.Sequential(nn.Linear(4, 6), Square(), nn.Linear(6, 3)).eval()
    model, x = Classifier(net), torch.rand(8, 4)
    register_layer_rule(Square)(
        lambda *given: Interval(square_rule(*given).center, square_rule(*given).radius)
    )
    with pytest.raises(ModelError, match=r"Square .*relaxation="):
        CROWN()(model, x, model.predict(x), Linf(0.5))


@pytest.mark.parametrize(
    ("kind", "said"), [(nn.ReLU, "has a bound rule already"), (Square(), "subclass of torch.nn.Module")]
)
def test_a_rule_for_what_has_one_or_is_no_layer_is_refused(kind, said):
    with pytest.raises(SettingError, match=said):
        register_layer_rule(kind)
