"""A law for each operation: what is charged for its rounding is at least what is derived by hand.

Each operation is bounded at one point, so that its radius is its charge alone. The derived amounts are those
of Higham's standard model, u = 2^-24: each rounding is off by u relative to its result, a sum of n products
in any order by gamma_n of the sum of absolute values.
"""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quintain.certify.interval.certifier import cast_input
from quintain.certify.interval.domain import Ellipsoid, Interval, input_interval
from quintain.certify.interval.functions import bound_call
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.layer_bounds import bound_layer
from quintain.certify.interval.recording import Recording
from quintain.certify.interval.relaxations import RELAXATIONS
from quintain.certify.rounding import NO_ROUNDING, rounding_model
from quintain.models.nets import Normalize
from quintain.threats import L2
from tests.certify.random_nets import dense

pytestmark = pytest.mark.rounding

U, FLOAT32 = 2.0**-24, rounding_model(torch.float32)
H = torch.tensor([[0.3, -1.7, 2.5, -0.01, 40.0, 1e-3]], dtype=torch.float64)
G = torch.tensor([[-0.2, 1.1, 0.7, 5.0, -3.0, 2e-3]], dtype=torch.float64)


def gamma(n):
    return n * U / (1 - n * U)


def point(values):
    return Interval(values, torch.zeros_like(values))


def called(target, *args, **kwargs):
    return bound_call(target, args, kwargs, FLOAT32, "operation").radius


CHARGES = {
    "a sum of two": (lambda: called(torch.add, point(H), point(G)), U * (H.abs() + G.abs())),
    "a difference of two": (lambda: called(torch.sub, point(H), point(G)), U * (H.abs() + G.abs())),
    "a constant added": (lambda: called(torch.add, point(H), 0.7), U * (H.abs() + 0.7)),
    "a constant product": (lambda: called(torch.mul, point(H), 0.7), U * 0.7 * H.abs()),
    # by the inverse, which rounds, too
    "a division": (lambda: called(torch.div, point(H), 3.0), gamma(2) * H.abs() / 3),
    "leaky ReLU": (
        lambda: bound_layer(nn.LeakyReLU(0.3), point(H), FLOAT32, "layer").radius,
        U * 0.3 * H.abs(),
    ),
    "a linear layer as a function": (
        lambda: called(F.linear, point(H), torch.ones(2, 6) * 0.5, torch.ones(2)),
        gamma(7) * (0.5 * H.abs().sum() + 1).expand(1, 2),
    ),
    "the cast of the input": (lambda: cast_input(point(H), FLOAT32).radius, U * H.abs()),
    "a mean": (lambda: called("mean", point(H[:, :, None].expand(1, 6, 5)), 2), gamma(6) * H.abs()),
    "average pooling": (
        lambda: bound_layer(
            nn.AvgPool2d(3), point(H[:, :, None, None].expand(1, 6, 3, 3)), FLOAT32, "layer"
        ).radius.flatten(1),
        gamma(10) * H.abs(),
    ),
    "normalisation": (
        lambda: bound_layer(Normalize([0.5] * 6, [0.25] * 6), point(H), FLOAT32, "layer").radius,
        # the difference and the quotient round once each
        U * 4 * (H.abs() + 0.5) + U * 4 * (H - 0.5).abs(),
    ),
}


@pytest.mark.parametrize("name", CHARGES)
def test_an_operation_is_charged_at_least_what_is_derived(name):
    found, derived = CHARGES[name]
    charged = found()
    assert (charged >= derived).all()
    assert (charged <= 8 * derived).all()


def batch_norm():
    """Batch normalization of six features, with its numbers in float64."""
    layer, draw = nn.BatchNorm1d(6).eval(), torch.Generator().manual_seed(0)
    for tensor in (layer.weight.data, layer.bias.data, layer.running_mean):
        tensor.normal_(generator=draw)
    layer.running_var.uniform_(0.1, 2.0, generator=draw)
    numbers = (layer.weight, layer.bias, layer.running_mean, layer.running_var)
    return layer, *(tensor.detach().double() for tensor in numbers)


def test_batch_normalization_is_charged_each_of_its_steps():
    """Var + eps, root, inverse, scale (4 roundings), h - mean, the product, and the sum with the bias."""
    layer, weight, bias, mean, variance = batch_norm()
    scale = weight / (variance + layer.eps).sqrt()
    charged = bound_layer(layer, point(H), FLOAT32, "layer").radius
    difference = (H - mean).abs() * scale.abs()
    # half of Var + eps passes through the root; then root, inverse, scale, difference and product
    derived = (0.5 + 5) * U * difference + U * ((H - mean) * scale + bias).abs()
    assert (charged >= derived).all()
    # in the other form, h * scale + (bias - mean * scale), each product by itself counts
    other = 4.5 * U * (H.abs() + mean.abs()) * scale.abs()
    assert (charged >= other).all()


def test_margins_are_charged_the_rounding_of_both_logits():
    head = dense([[1.0] * 6, [-2.0] * 6], [0.5, 0.25])
    traced = TracedNetwork.trace(nn.Sequential(head).eval())
    y = torch.tensor([0])
    exact = traced.margin_bounds(point(H), y, NO_ROUNDING)[0, 1]
    charged = exact - traced.margin_bounds(point(H), y, FLOAT32)[0, 1]
    sizes = H.abs().sum()
    assert charged >= gamma(7) * (sizes + 0.5 + 2 * sizes + 0.25)
    assert charged <= 1.01 * gamma(7) * (3 * sizes + 0.75)


def test_logits_without_a_merged_head_are_charged_both():
    traced = TracedNetwork.trace(
        nn.Sequential(dense([[1.0] * 6, [-2.0] * 6], [0.5, 0.25]), nn.Identity()).eval()
    )
    y = torch.tensor([0])
    exact = traced.margin_bounds(point(H), y, NO_ROUNDING)[0, 1]
    charged = exact - traced.margin_bounds(point(H), y, FLOAT32)[0, 1]
    assert charged >= gamma(7) * (3 * H.abs().sum() + 0.75)


def test_an_l2_ball_keeps_the_rounding_of_every_layer():
    """Error radii of the ellipsoid: after a product, a linear layer and a second one."""
    ball = Interval(H, torch.full_like(H, 1.0), Ellipsoid(H, torch.full_like(H, 0.1), torch.zeros_like(H)))
    scaled = bound_call(torch.mul, (ball, 0.7), {}, FLOAT32, "product")
    assert (scaled.ellipsoid.error_radius >= U * 0.7 * ball.magnitude).all()
    layer = dense([[1.0, -2.0, 0.5, 1.0, 0.1, 3.0]], [0.5])
    found = bound_layer(layer, ball, FLOAT32, "layer")
    weight = layer.weight.double().abs()
    spread = 0.1 * weight.square().sum().sqrt()
    middle = layer.double()(H).item()
    error = gamma(7) * (ball.magnitude @ weight.T + 0.5).item()
    layer.float()
    assert float(found.upper) >= middle + float(spread) + error - 1e-12
    assert float(found.upper) <= middle + float(spread) + 1.01 * error + 1e-9


def test_an_l2_ball_is_cast_like_any_input():
    ball = cast_input(input_interval(torch.full((1, 3), 0.3).double(), L2(0.1)), FLOAT32)
    assert (ball.ellipsoid.error_radius >= U * 0.4).all()
    assert (ball.radius >= 0.1 + U * 0.4).all()


@pytest.mark.parametrize(
    "kind", [kind for kind in RELAXATIONS if kind is not nn.MaxPool2d], ids=lambda one: one.__name__
)
def test_what_linear_bounds_are_charged_is_what_intervals_are(kind):
    """The recorded error of a nonlinear layer at a point is at least the interval's."""
    layer, recording = kind(), Recording()
    start = Interval(H, torch.zeros_like(H), operation=recording.add_input(H.abs()))
    recorded = bound_layer(layer, start, FLOAT32, "layer")
    alone = bound_layer(layer, point(H), FLOAT32, "layer")
    assert recorded.operation is not None
    assert (recorded.operation.error >= alone.radius * (1 - 1e-9) - 1e-16).all()
    if RELAXATIONS[kind].roundings:
        assert (recorded.operation.error > 0).all()


def test_affine_operations_record_the_error_that_they_are_charged():
    recording = Recording()
    start = Interval(H, torch.zeros_like(H), operation=recording.add_input(H.abs()))
    for found, derived in (
        (bound_call(torch.add, (start, start), {}, FLOAT32, "sum"), 2 * U * H.abs()),
        (bound_call(torch.mul, (start, 0.7), {}, FLOAT32, "product"), U * 0.7 * H.abs()),
        (bound_call(F.linear, (start, torch.ones(1, 6)), {}, FLOAT32, "linear"), gamma(6) * H.abs().sum()),
        (bound_call("sum", (start, 1), {"keepdim": True}, FLOAT32, "sum"), gamma(6) * H.abs().sum()),
        (cast_input(start, FLOAT32), U * H.abs()),
    ):
        assert found.operation is not None
        assert (found.operation.error >= derived).all()
        assert (found.operation.error <= 4 * derived + 1e-30).all()


def test_sums_that_may_overflow_are_not_bounded():
    huge = torch.full((1, 6), 3e38, dtype=torch.float64)
    assert called("sum", point(huge), 1).isinf().all()
    assert called("mean", point(huge), 1).isinf().all()
    assert called(torch.add, point(huge), point(huge)).isinf().all()
    assert called(F.linear, point(huge), torch.ones(1, 6)).isinf().all()
    layer = nn.ConvTranspose1d(1, 1, 6)
    nn.init.ones_(layer.weight)
    spread = bound_layer(layer, point(huge[:, None]), FLOAT32, "layer").radius[0, 0]
    assert spread[5].isinf()
    assert spread[0].isfinite()
