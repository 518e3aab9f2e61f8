import itertools
import math
from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, prune

from quintain.certify import IntervalBounds, SmoothedClassifier, TracedNetwork, worst_case_logits
from quintain.certify.interval.domain import Interval, input_interval
from quintain.certify.interval.layer_bounds import bound_layer
from quintain.certify.rounding import NO_ROUNDING, rounding_model
from quintain.core.errors import ContradictionError, DataError, ModelError, SettingError
from quintain.losses import margin
from quintain.models import Classifier
from quintain.threats import L2, Linf
from tests.certify.random_nets import NAMES, dense, inputs, points, random_net

pytestmark = pytest.mark.rounding

BALLS = st.sampled_from([Linf(0.0), Linf(0.01), Linf(0.1), Linf(1.0), L2(0.0), L2(0.05), L2(0.5), L2(20.0)])


any_net = given(
    name=st.sampled_from(NAMES),
    threat=BALLS,
    seed=st.integers(0, 10**6),
    size=st.sampled_from([0.1, 1.0, 5.0]),
)


@settings(deadline=None, max_examples=20)
@any_net
def test_bounds_hold_what_the_float32_model_answers_inside_the_ball(name, threat, seed, size):
    hold_what_the_model_answers(name, threat, seed, size)


@pytest.mark.exhaustive
@settings(deadline=None, max_examples=40)
@any_net
def test_bounds_of_many_more_nets_hold_what_the_model_answers(name, threat, seed, size):
    hold_what_the_model_answers(name, threat, seed, size)


def hold_what_the_model_answers(name, threat, seed, size):
    model, x = Classifier(random_net(name, seed, size)), inputs(seed)
    y = model.predict(x) if seed % 2 else torch.zeros(len(x), dtype=torch.long)
    lower = IntervalBounds()(model, x, y, threat).margin
    for z in points(model, x, y, threat, seed):
        assert (-margin(model(z).double(), y) >= lower).all()


@settings(deadline=None, max_examples=20)
@given(name=st.sampled_from(NAMES), ball=st.sampled_from([Linf, L2]), seed=st.integers(0, 10**6))
def test_bounds_fall_as_eps_grows(name, ball, seed):
    model, x = Classifier(random_net(name, seed)), inputs(seed)
    # every example at every size, in one call
    sizes = torch.tensor([0.0, 0.001, 0.01, 0.02, 0.1, 0.5, 1.0], dtype=torch.float64)
    every, y = torch.cat([x] * len(sizes)), torch.cat([model.predict(x)] * len(sizes))
    found = IntervalBounds()(model, every, y, ball(1.0), eps=sizes.repeat_interleave(len(x)))
    for larger, smaller in itertools.pairwise(found.margin.chunk(len(sizes))):
        assert (smaller <= larger + 1e-12 * (1 + larger.abs())).all()


@settings(deadline=None, max_examples=12)
@given(name=st.sampled_from(NAMES), threat=BALLS, seed=st.integers(0, 10**6))
def test_a_batch_is_its_examples_one_by_one(name, threat, seed):
    model, x = Classifier(random_net(name, seed)), inputs(seed, 3)
    y = model.predict(x)
    prove = IntervalBounds().trace(model)
    whole = prove(x, y, threat)
    for row in range(3):
        one = prove(x[row : row + 1], y[row : row + 1], threat)
        torch.testing.assert_close(one.margin, whole.margin[row : row + 1], rtol=1e-9, atol=1e-12)
        assert one.certified[0] == whole.certified[row] or whole.margin[row].abs() < 1e-9


@settings(deadline=None, max_examples=12)
@given(name=st.sampled_from(NAMES), seed=st.integers(0, 10**6))
def test_one_eps_an_example_is_that_threat_for_each(name, seed):
    model, x = Classifier(random_net(name, seed)), inputs(seed, 3)
    y, sizes, prove = model.predict(x), [0.0, 0.01, 0.3], IntervalBounds().trace(model)
    for ball in (Linf, L2):
        mixed = prove(x, y, ball(1.0), eps=torch.tensor(sizes, dtype=torch.float64)).margin
        for row, eps in enumerate(sizes):
            torch.testing.assert_close(mixed[row], prove(x, y, ball(eps)).margin[row], rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), eps=st.floats(1e-3, 0.9))
def test_a_linear_model_in_linf_is_solved_exactly(seed, eps):
    model, x = Classifier(random_net("linear", seed)), inputs(seed)
    y = model.predict(x)
    weight, flat = model.net[1].weight.double(), x.double().flatten(1)
    low, high = (flat - eps).clamp(min=0), (flat + eps).clamp(max=1)
    lead = weight[y][:, None] - weight
    exact = (
        (lead * torch.where(lead > 0, low[:, None], high[:, None]))
        .sum(2)
        .scatter(1, y[:, None], torch.inf)
        .amin(1)
    )
    lower = IntervalBounds()(model, x, y, Linf(eps)).margin
    assert (lower <= exact).all()
    assert (lower >= exact - 2e-4).all()


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), eps=st.floats(1e-3, 0.3))
def test_a_linear_model_in_l2_is_solved_exactly_away_from_the_box(seed, eps):
    model, x = (
        Classifier(random_net("linear", seed)),
        torch.rand(4, 2, 5, 5, generator=torch.Generator().manual_seed(seed)) * 0.4 + 0.3,
    )
    y = model.predict(x)
    weight = model.net[1].weight.double()
    lead = weight[y][:, None] - weight
    exact = (lead @ x.double().flatten(1)[:, :, None])[:, :, 0] - eps * lead.norm(dim=2)
    exact = exact.scatter(1, y[:, None], torch.inf).amin(1)
    lower = IntervalBounds()(model, x, y, L2(eps)).margin
    assert (lower <= exact).all()
    assert (lower >= exact - 2e-4).all()


def test_a_convolution_in_l2_counts_the_taps_inside_the_picture():
    net = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Flatten()).double()
    x = torch.full((1, 1, 3, 3), 0.5, dtype=torch.float64)
    network = TracedNetwork.trace(net)
    span = network._propagate(input_interval(x, L2(0.1)), NO_ROUNDING)
    matrix = torch.autograd.functional.jacobian(lambda z: net(z[None])[0], x[0]).flatten(1)
    torch.testing.assert_close(span.radius[0], 0.1 * matrix.norm(dim=1))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("ball", [Linf, L2])
def test_certified_is_at_most_exact_on_tiny_nets_by_a_dense_grid(seed, ball):
    generator = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(generator=generator))
    model, x = Classifier(net), torch.rand(3, 2, generator=generator)
    y, prove = model.predict(x), IntervalBounds().trace(model)
    line = torch.linspace(-1, 1, 101)
    for eps in (0.01, 0.05, 0.2):
        lower = prove(x, y, ball(eps)).margin
        for row in range(3):
            grid = torch.cartesian_prod(line, line) * eps
            grid = grid if ball is Linf else grid[grid.norm(dim=1) <= eps]
            z = (x[row] + grid).clamp(0, 1)
            assert lower[row] <= -margin(model(z).double(), y[row].expand(len(z))).max()


def test_merging_the_last_layer_keeps_what_logits_share():
    net = nn.Sequential(dense([[1.0], [1.0]], [0.0, 0.0]), dense([[5.0, 5.0], [5.0, 5.0]], [0.1, 0.0])).eval()
    x, y = torch.tensor([[0.5]]), torch.tensor([0])
    assert IntervalBounds()(Classifier(net), x, y, Linf(0.3)).certified.all()
    assert not IntervalBounds()(
        Classifier(nn.Sequential(net, nn.Identity()).eval()), x, y, Linf(0.3)
    ).certified.any()


def test_a_margin_that_float32_rounds_away_is_not_certified():
    net = nn.Sequential(dense([[1.0]], [1e8]), dense([[1.0]], [-1e8])).eval()
    x, y = torch.tensor([[0.9]]), torch.tensor([1])
    assert Classifier(net).predict(x) == 0
    assert (
        TracedNetwork.trace(net.double()).margin_bounds(input_interval(x.double(), Linf(0.1)), y)[0, 0] > 0.7
    )
    outcome = IntervalBounds()(Classifier(net.float()), x, y, Linf(0.1))
    assert not outcome.certified
    assert not outcome.failed


def test_a_float64_input_is_rounded_by_a_float32_model():
    net = nn.Sequential(dense([[2.0**30]], [-(2.0**29)])).eval()
    x, y = torch.tensor([[0.5 + 1e-9]], dtype=torch.float64), torch.tensor([1])
    assert Classifier(net)(x)[0, 1] == 0
    assert not IntervalBounds()(Classifier(net), x, y, Linf(0.0)).certified


@pytest.mark.parametrize("bias", [math.nan, math.inf, 1e38])
def test_what_is_not_finite_is_never_certified(bias):
    net = nn.Sequential(
        dense([[1.0], [0.0]], [bias, 0.0]), nn.ReLU(), dense([[3.5, 0.0], [-3.5, 0.0]], [1.0, 0.0])
    ).eval()
    outcome = IntervalBounds()(Classifier(net), torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.1))
    assert not outcome.certified.any()
    assert outcome.margin.item() == -math.inf
    assert outcome.failed.item() is True


def test_an_overflow_that_the_answer_hides_is_not_certified():
    net = nn.Sequential(
        dense([[1.5e38, 1.5e38]], [-1e38]), nn.ReLU(), dense([[0.0], [0.0]], [1.0, 0.0])
    ).eval()
    model, y = Classifier(net), torch.tensor([0])
    assert IntervalBounds()(model, torch.tensor([[0.1, 0.1]]), y, Linf(0.0)).certified
    outcome = IntervalBounds()(model, torch.tensor([[0.5, 0.5]]), y, Linf(0.4))
    assert not outcome.certified
    assert not outcome.failed


def test_the_model_is_left_as_it_was():
    net = random_net("conv", 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    x = inputs(3)
    IntervalBounds()(Classifier(net), x, torch.zeros(4, dtype=torch.long), L2(0.1))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)])
def test_an_empty_batch_has_an_empty_outcome(name, threat):
    outcome = IntervalBounds()(
        Classifier(random_net(name, 0)), torch.zeros(0, 2, 5, 5), torch.zeros(0, dtype=torch.long), threat
    )
    assert outcome.certified.shape == outcome.margin.shape == outcome.failed.shape == (0,)


class Branching(nn.Module):
    def forward(self, x):
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


class Squaring(nn.Module):
    def forward(self, x):
        return x.flatten(1) * x.flatten(1)


class Mixing(nn.Module):
    def forward(self, x):
        return x.reshape(-1, 2)


class OddLinear(nn.Linear):
    def forward(self, x):
        return super().forward(x) ** 2


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (
            nn.Sequential(nn.Flatten(), nn.Linear(50, 4), nn.ELU(), nn.Linear(4, 2)),
            r"'2' is a ELU, .*; those with one are in docs/your-own-model.md, and .*_layer_rule.*Other",
        ),
        (
            nn.Sequential(nn.Flatten(), OddLinear(50, 2)),
            r"no bound rule; write it with layers that have one \(docs/your-own-model.md\). Other",
        ),
        (nn.Sequential(nn.Flatten(), nn.LeakyReLU(1.5), nn.Linear(50, 2)), "slope 1.5"),
        (nn.Sequential(nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), nn.Flatten()), "reflect"),
        (nn.Sequential(nn.AvgPool2d(2, divisor_override=1), nn.Flatten()), "divisor_override"),
        (nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten()), "BatchNorm"),
        (Branching(), "cannot be read as a graph"),
        (Squaring(), "product of two"),
        (nn.Sequential(nn.Flatten(), nn.Linear(50, 2)).bfloat16(), "bfloat16.*--certifier smoothing"),
        (nn.Sequential(nn.Flatten(), nn.Linear(50, 2)).train(), "training mode"),
    ],
)
def test_what_has_no_rule_is_refused_by_name(net, said):
    if said != "training mode":
        net.eval()
    with pytest.raises(ModelError, match=said):
        IntervalBounds()(Classifier(net), inputs(0), torch.zeros(4, dtype=torch.long), Linf(0.1))


def test_an_operation_that_mixes_examples_is_refused():
    x, y = torch.rand(4, 3, 2), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ModelError, match="must stay apart"):
        TracedNetwork.trace(Mixing()).margin_bounds(input_interval(x, Linf(0.1)), y)


class Overwriting(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.layer, self.relu, self.body = nn.Linear(3, 3), nn.ReLU(inplace=True), body

    def forward(self, x):
        return self.body(self, self.layer(x))


def via_view(net, h):
    flat = h.view(h.shape[0], -1)
    return net.relu(h) + flat


def via_index(net, h):
    part = h[:, :1]
    h += 1.0
    return h + part


def via_no_dropout(net, h):
    kept = F.dropout(h, 0.5, training=False)
    return F.relu(h, inplace=True) + kept


def via_product(net, h):
    first = h.view(-1, 3)
    h *= 2.0
    return first - h


BODIES = [via_view, via_index, via_no_dropout, via_product]


@pytest.mark.parametrize("body", BODIES)
def test_overwriting_a_value_of_which_a_view_is_read_again_is_refused(body):
    with pytest.raises(ModelError, match="overwrites a value"):
        IntervalBounds()(
            Classifier(Overwriting(body).eval()),
            torch.rand(2, 3),
            torch.zeros(2, dtype=torch.long),
            Linf(0.1),
        )


def as_statements(net, h):
    h.sub_(0.5)
    h.div_(0.25)
    return h


def by_two_names(net, h):
    first = h
    h += 1.0
    return h + first


def twice(net, h):
    first = h.relu_()
    second = h.mul_(2.0)
    return first + second + h


def into_itself(net, h):
    h.add_(h)
    return h


OVERWRITTEN = {
    "statements": (as_statements, lambda net, h: (h - 0.5) / 0.25),
    "a layer": (lambda net, h: net.relu(h) + h, lambda net, h: F.relu(h) + F.relu(h)),
    "a function": (lambda net, h: F.relu(h, inplace=True) + h, lambda net, h: F.relu(h) + F.relu(h)),
    "read before": (lambda net, h: h + h.relu_(), lambda net, h: F.relu(h) + F.relu(h)),
    "two names": (by_two_names, lambda net, h: (h + 1.0) + (h + 1.0)),
    "twice": (twice, lambda net, h: F.relu(h) * 2.0 + F.relu(h) * 2.0 + F.relu(h) * 2.0),
    "into itself": (into_itself, lambda net, h: h + h),
    "relu6": (lambda net, h: F.relu6(h, inplace=True) + h, lambda net, h: F.relu6(h) + F.relu6(h)),
    "hardtanh": (
        lambda net, h: F.hardtanh(h, 0.0, 1.0, True) + h,
        lambda net, h: h.clamp(0, 1) + h.clamp(0, 1),
    ),
    "a view that is read no more": (lambda net, h: h.view(-1, 3).relu_(), lambda net, h: F.relu(h)),
}


@pytest.mark.parametrize(("body", "plain"), OVERWRITTEN.values(), ids=OVERWRITTEN)
def test_a_tensor_that_is_written_into_has_its_new_value_by_every_name(body, plain):
    net, other = Overwriting(body).eval(), Overwriting(plain).eval()
    other.load_state_dict(net.state_dict())
    x, y = torch.rand(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.equal(Classifier(net)(x), Classifier(other)(x))
    found, expected = (IntervalBounds()(Classifier(one), x, y, Linf(0.05)) for one in (net, other))
    assert torch.equal(found.margin, expected.margin)


def test_an_input_that_is_written_into_is_bounded_and_left_alone():
    class Normalizing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)
            self.register_buffer("mean", torch.tensor([0.1, 0.5, 0.9]))

        def forward(self, x):
            x.sub_(self.mean).div_(0.25)
            return self.layer(x)

    net, x, y = Normalizing().eval(), torch.rand(4, 3), torch.tensor([0, 1, 0, 1])
    before, plain = x.clone(), nn.Sequential(Shifted(net.mean), net.layer).eval()
    found, expected = (IntervalBounds()(Classifier(one), x, y, Linf(0.05)) for one in (net, plain))
    assert torch.equal(x, before)
    assert torch.equal(found.margin, expected.margin)


class Shifted(nn.Module):
    def __init__(self, mean):
        super().__init__()
        self.register_buffer("mean", mean)

    def forward(self, x):
        return (x - self.mean) / 0.25


@pytest.mark.parametrize(
    "body",
    [lambda net, h: h + torch.randn(3), lambda net, h: h + torch.randn(h.shape), lambda net, h: h.exp_()],
)
def test_a_forward_that_draws_or_writes_is_refused(body):
    with pytest.raises(
        ModelError, match=r"in a buffer|no bound rule|computes with the batch size|cannot be read as a graph"
    ):
        IntervalBounds()(
            Classifier(Overwriting(body).eval()),
            torch.rand(2, 3),
            torch.zeros(2, dtype=torch.long),
            Linf(0.1),
        )


class Afterwards(nn.Module):
    """Doubles the logits once they are computed."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        logits = self.layer(x)
        doubled = logits
        doubled *= -2.0
        return logits


class Unused(Afterwards):
    def forward(self, x):
        logits = self.layer(x)
        logits.neg_()
        return logits


def test_logits_that_are_written_into_are_bounded_as_they_are_returned():
    net, x, y = Afterwards().eval(), torch.rand(2, 3), torch.zeros(2, dtype=torch.long)
    plain = Overwriting(lambda net, h: h * -2.0).eval()
    plain.layer = net.layer
    found, expected = (IntervalBounds()(Classifier(one), x, y, Linf(0.1)) for one in (net, plain))
    assert torch.equal(found.margin, expected.margin)


def test_what_changes_the_logits_without_a_rule_is_refused():
    with pytest.raises(ModelError, match="no bound rule"):
        IntervalBounds()(
            Classifier(Unused().eval()), torch.rand(2, 3), torch.zeros(2, dtype=torch.long), Linf(0.1)
        )


def test_overwriting_a_value_that_is_not_read_again_is_no_matter():
    net = Overwriting(lambda net, h: net.relu(h) * 2.0).eval()
    assert (
        IntervalBounds()(Classifier(net), torch.rand(2, 3), torch.zeros(2, dtype=torch.long), Linf(0.1))
        .margin.isfinite()
        .all()
    )


@pytest.mark.parametrize("layer", [1, 5])
def test_hooks_are_refused(layer):
    net = random_net("dense", 0)
    net[layer].register_forward_hook(lambda _module, _args, output: -output)
    with pytest.raises(ModelError, match="hook"):
        IntervalBounds()(Classifier(net), inputs(0), torch.zeros(4, dtype=torch.long), Linf(0.1))


@pytest.mark.parametrize("layer", [1, 5])
def test_a_layer_with_another_forward_than_its_type_is_refused(layer):
    net = random_net("dense", 0)
    net[layer].forward = lambda x: F.linear(x, 0.9 * net[layer].weight, net[layer].bias)
    with pytest.raises(ModelError, match="another forward than its type"):
        IntervalBounds()(Classifier(net), inputs(0), torch.zeros(4, dtype=torch.long), Linf(0.1))


def test_bounds_of_another_function_than_the_one_that_runs_are_noticed(monkeypatch):
    net = nn.Sequential(dense([[1.0], [0.0]], [1.0, 0.0])).eval()
    monkeypatch.setattr(nn.Linear, "forward", lambda layer, x: F.linear(x, -layer.weight, -layer.bias))
    with pytest.raises(ContradictionError, match="not of the function that runs"):
        IntervalBounds()(Classifier(net), torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.1))


class Answering(nn.Module):
    """Class 0 leads by 10 - 20 h, but what is hidden leads by 1 - h: h = 0.3 (x0 + x1 + x2)."""

    def __init__(self, pack):
        super().__init__()
        self.hidden, self.last = (
            dense([[0.0] * 3, [0.3] * 3], [1.0, 0.0]),
            dense([[10.0, -20.0], [0.0, 0.0]], [0.0, 0.0]),
        )
        self.pack = pack

    def forward(self, x):
        hidden = self.hidden(x)
        return self.pack(hidden, self.last(hidden))


class Named(NamedTuple):
    hidden: torch.Tensor
    logits: torch.Tensor


@dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor


@dataclass
class FilledOutput(OrderedDict):
    """As Hugging Face's outputs are made: a dict of the fields that are not None."""

    logits: torch.Tensor = None
    loss: torch.Tensor = None
    hidden: torch.Tensor = None

    def __post_init__(self):
        for part in fields(self):
            if getattr(self, part.name) is not None:
                self[part.name] = getattr(self, part.name)


PACKS = {
    "the only tensor of a dict": lambda hidden, logits: {"hidden": (hidden,), "scores": logits},
    "beside nothing": lambda _hidden, logits: {"hidden": None, "scores": logits},
    "out": lambda hidden, logits: {"hidden": hidden, "out": logits},
    "logits before out": lambda hidden, logits: {"out": hidden, "logits": logits},
    "first of a tuple": lambda hidden, logits: (logits, hidden),
    "nested": lambda hidden, logits: {"out": ((logits, hidden), hidden)},
    "a named tuple": Named,
    "a dataclass": lambda hidden, logits: Output(hidden=hidden, logits=logits),
    "a dict that a dataclass fills": lambda hidden, logits: FilledOutput(logits, hidden=hidden),
    "beside a dataclass": lambda hidden, logits: (logits, Output(logits, hidden)),
}


@pytest.mark.parametrize("pack", PACKS.values(), ids=PACKS)
def test_bounds_are_of_the_output_that_the_classifier_reads(pack):
    model, x, y = Classifier(Answering(pack).eval()), torch.full((1, 3), 0.5), torch.tensor([0])
    assert model(x + 0.1).argmax() == 1
    outcome = IntervalBounds()(model, x, y, Linf(0.1))
    assert outcome.margin.item() == pytest.approx(10 - 20 * 0.54, abs=1e-3)
    assert IntervalBounds()(model, x, y, Linf(0.05)).certified


@dataclass
class Boxed:
    value: torch.Tensor


def test_a_dataclass_that_goes_into_a_layer_is_refused():
    class Inside(Answering):
        def forward(self, x):
            return self.last(self.pack(self.hidden(x)))

    with pytest.raises(
        ModelError,
        match=r"into a Boxed, a dataclass or named tuple.* tensors, dicts and plain tuples: "
        r"return one of these",
    ):
        TracedNetwork.trace(Inside(Boxed).eval()).margin_bounds(
            input_interval(torch.full((1, 3), 0.5), Linf(0.1)), torch.tensor([0])
        )


SINGLE = {
    "a column": lambda z: z,
    "squeezed": lambda z: z.squeeze(1),
    "squeezed by a function": lambda z: torch.squeeze(z, -1),
    "taken": lambda z: z[:, 0],
    "in a view": lambda z: z.view(-1),
    "in a dataclass": lambda z: Output(hidden=z, logits=z.squeeze(-1)),
}


@pytest.mark.parametrize("form", SINGLE.values(), ids=SINGLE)
def test_one_logit_has_the_bounds_of_two_whose_first_is_zero(form):
    class Single(nn.Module):
        def __init__(self, form):
            super().__init__()
            self.first, self.last, self.form = nn.Linear(3, 4), nn.Linear(4, 1), form

        def forward(self, x):
            return self.form(self.last(torch.relu(self.first(x))))

    net, x, y = Single(form).eval(), torch.rand(5, 3), torch.tensor([0, 1, 0, 1, 1])
    two = nn.Sequential(net.first, nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        two[2].weight.zero_()[1].copy_(net.last.weight[0])
        two[2].bias.zero_()[1].copy_(net.last.bias[0])
    found, expected = (IntervalBounds()(Classifier(one), x, y, Linf(0.1)) for one in (net, two))
    torch.testing.assert_close(found.margin, expected.margin, rtol=1e-5, atol=1e-5)


def test_a_constant_for_each_example_of_a_batch_is_refused():
    class Rowwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("scale", torch.rand(4, 50))

        def forward(self, x):
            return x.flatten(1) * self.scale

    with pytest.raises(ModelError, match="expected one for all of them"):
        TracedNetwork.trace(Rowwise()).margin_bounds(
            input_interval(inputs(0), Linf(0.1)), torch.zeros(4, dtype=torch.long)
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("eps", [0.0, 0.1])
def test_a_linear_layer_reaches_as_far_as_its_values_and_its_rounding(dtype, eps):
    layer, arithmetic = nn.Linear(30, 4, dtype=dtype), rounding_model(dtype)
    box = input_interval(torch.rand(5, 30, dtype=torch.float64), Linf(eps))
    weight, bias = layer.weight.double(), layer.bias.double()
    span = bound_layer(layer, box, arithmetic, "layer")
    rounding = arithmetic.error_bound(
        31, box.magnitude @ weight.abs().T + bias.abs(), torch.ones(5, 1, dtype=torch.float64)
    )
    torch.testing.assert_close(span.radius, box.radius @ weight.abs().T + rounding, rtol=1e-12, atol=0)


def test_a_mean_is_rounded_once_for_each_of_its_numbers():
    arithmetic = rounding_model(torch.float32)
    for layer, shape in (
        (nn.AvgPool2d(8), (1, 1, 8, 8)),
        (nn.AvgPool2d(8), (1, 2, 8, 8)),
        (nn.AdaptiveAvgPool2d(1), (1, 3, 16, 4)),
    ):
        span = bound_layer(
            layer, input_interval(torch.ones(shape, dtype=torch.float64), Linf(0.0)), arithmetic, "pool"
        )
        assert (span.radius >= 64 * 2.0**-24).all()


@pytest.mark.parametrize(
    "layer",
    [nn.ReLU6(), nn.Hardtanh(), nn.Hardtanh(-0.5, 2.5), nn.Hardtanh(1, 3)],
    ids=["relu6", "default", "across", "above"],
)
@pytest.mark.parametrize("radius", [0.0, 0.7, 9.0])
def test_a_clamp_reaches_from_its_lowest_to_its_highest_value(layer, radius):
    """Against brute force: the layer itself at 1,001 points of each box."""
    center = torch.linspace(-9, 9, 61, dtype=torch.float64)[:, None]
    points = layer(center + radius * torch.linspace(-1, 1, 1001, dtype=torch.float64))
    span = bound_layer(
        layer, Interval(center, torch.full_like(center, radius)), rounding_model(torch.float64), "clamp"
    )
    for end, found in (
        (span.lower, points.amin(1, keepdim=True)),
        (span.upper, points.amax(1, keepdim=True)),
    ):
        torch.testing.assert_close(end, found, rtol=0, atol=1e-12)
    assert ((span.lower <= points) & (points <= span.upper)).all()
    endless = bound_layer(
        layer, Interval(center, torch.full_like(center, math.inf)), rounding_model(torch.float32), "clamp"
    )
    assert endless.radius.isinf().all()


@pytest.mark.parametrize("padding", [1, (1, 2, 3, 4), (0, 0, 0, 0), (-1, 2, 0, -3)])
@pytest.mark.parametrize("threat", [Linf(0.2), L2(0.3)])
def test_zeros_around_a_picture_do_not_move(padding, threat):
    """Against the layer on both ends of the box; in L2 the ellipsoid has no axis where there is padding."""
    layer, box = nn.ZeroPad2d(padding), input_interval(torch.rand(2, 3, 5, 5, dtype=torch.float64), threat)
    span = bound_layer(layer, box, rounding_model(torch.float64), "pad")
    assert torch.equal(span.lower, layer(box.lower))
    assert torch.equal(span.upper, layer(box.upper))
    if isinstance(threat, L2):
        assert span.ellipsoid.center.shape == span.center.shape
        assert (span.ellipsoid.semi_axes[layer(torch.ones_like(box.center)) == 0] == 0).all()


def test_a_padding_and_a_reshape_that_are_not_what_they_seem_are_refused():
    padding, pictures = nn.ZeroPad2d(1), torch.rand(4, 2, 5, 5)
    padding.value = 0.5
    for layer, said in (
        (padding, "value 0.5"),
        (nn.Unflatten(0, (1, -1)), "Unflatten of dimension 0"),
        (nn.Unflatten(-4, (1, -1)), "Unflatten of dimension -4"),
        (nn.Hardtanh(-1e-46, 1.0), "1e-46"),
    ):
        with pytest.raises(ModelError, match=said):
            bound_layer(
                layer, input_interval(pictures.double(), Linf(0.1)), rounding_model(torch.float32), "layer"
            )
    with pytest.raises(ModelError, match="of 3 dimensions"):
        bound_layer(
            nn.ZeroPad2d(1),
            input_interval(pictures[0].double(), Linf(0.1)),
            rounding_model(torch.float32),
            "layer",
        )


def test_a_view_by_unflatten_that_is_overwritten_is_refused_and_one_made_afterwards_is_not():
    x, y = torch.rand(2, 3), torch.zeros(2, dtype=torch.long)
    before = Overwriting(lambda net, h: (net.other(h), net.relu(h))[0].flatten(1))
    after = Overwriting(lambda net, h: net.relu(h) + net.other(h).flatten(1))
    before.other = after.other = nn.Unflatten(1, (3, 1))
    with pytest.raises(ModelError, match="overwrites a value"):
        IntervalBounds()(Classifier(before.eval()), x, y, Linf(0.1))
    plain = Overwriting(lambda net, h: F.relu(h) + F.relu(h))
    plain.layer = after.layer
    found, expected = (IntervalBounds()(Classifier(net.eval()), x, y, Linf(0.1)) for net in (after, plain))
    assert torch.equal(found.margin, expected.margin)


class Pictures(nn.Module):
    """A small net of images, in which a step is handed in."""

    def __init__(self, step, outputs):
        super().__init__()
        self.first, self.step, self.last = nn.Conv2d(1, 3, 2), step, nn.Linear(outputs, 2)

    def forward(self, x):
        return self.last(self.step(self.first(x)).flatten(1))


WRITTEN = {
    "relu6": (F.relu6, nn.ReLU6(), 27),
    "relu6 in place": (lambda h: F.relu6(h, True), nn.ReLU6(), 27),
    "hardtanh": (lambda h: F.hardtanh(h, -0.2, 0.3), nn.Hardtanh(-0.2, 0.3), 27),
    "clamp at 0": (lambda h: h.clamp(min=0), nn.ReLU(), 27),
    "clamp": (lambda h: torch.clamp(h, -0.2, 0.3), nn.Hardtanh(-0.2, 0.3), 27),
    "relu_": (lambda h: h.relu_(), nn.ReLU(), 27),
    "relu_, a function": (F.relu_, nn.ReLU(), 27),
    "hardtanh_": (lambda h: F.hardtanh_(h, -0.2, 0.3), nn.Hardtanh(-0.2, 0.3), 27),
    "clamp_": (lambda h: h.clamp_(min=-0.2, max=0.3), nn.Hardtanh(-0.2, 0.3), 27),
    "clamp from below": (lambda h: h.clamp(min=-0.2), nn.Hardtanh(-0.2, math.inf), 27),
    "clip from above": (lambda h: torch.clip(h, max=0.3), nn.Hardtanh(-math.inf, 0.3), 27),
    "squeezed": (lambda h: h.unsqueeze(1).squeeze(-4), nn.Identity(), 27),
    "as another's shape": (lambda h: h.flatten(1).reshape(h.shape), nn.Identity(), 27),
    "pad": (lambda h: F.pad(h, (1, 0, 2, 1)), nn.ZeroPad2d((1, 0, 2, 1)), 72),
    "reshape": (lambda h: torch.reshape(h, (h.shape[0], 27)), nn.Flatten(), 27),
    "dropout2d": (lambda h: F.dropout2d(h, 0.5, training=False), nn.Identity(), 27),
    "sigmoid": (torch.sigmoid, nn.Sigmoid(), 27),
    "sigmoid_": (lambda h: h.sigmoid_(), nn.Sigmoid(), 27),
    "tanh": (torch.tanh, nn.Tanh(), 27),
    "gelu": (F.gelu, nn.GELU(), 27),
    "gelu by tanh": (lambda h: F.gelu(h, approximate="tanh"), nn.GELU("tanh"), 27),
    "ones around": (lambda h: F.pad(h, (1, 1, 1, 1), value=1.0), nn.ConstantPad2d(1, 1.0), 75),
    "two sides": (lambda h: F.pad(h, (1, 0)), nn.ConstantPad1d((1, 0), 0.0), 36),
    "turned twice": (
        lambda h: torch.permute(h, (0, 3, 1, 2)).transpose(1, 2).transpose(2, 3),
        nn.Identity(),
        27,
    ),
    "negated twice": (lambda h: -torch.neg(h), nn.Identity(), 27),
    "mean": (lambda h: h.mean((2, 3)), nn.AdaptiveAvgPool2d(1), 3),
    "mean, kept": (lambda h: torch.mean(h, dim=[-1, -2], keepdim=True), nn.AdaptiveAvgPool2d(1), 3),
}


@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.2)], ids=["linf", "l2"])
@pytest.mark.parametrize("written", WRITTEN)
def test_a_function_has_the_bounds_of_the_layer_that_it_stands_for(written, threat):
    step, layer, outputs = WRITTEN[written]
    net = Pictures(step, outputs).eval()
    x, y = torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 0])
    found = IntervalBounds()(Classifier(net), x, y, threat)
    layered = Pictures(layer, outputs).eval()
    layered.load_state_dict(net.state_dict())
    assert torch.equal(found.margin, IntervalBounds()(Classifier(layered), x, y, threat).margin)
    assert found.margin.isfinite().all()


WRITTEN_IN_PLACE = {
    "operators": (lambda h: (h - 0.5) / 0.25 * 2.0 + 1.0),
    "methods": (lambda h: h.sub(0.5).div(0.25).mul(2.0).add(1.0)),
    "methods in place": (lambda h: h.sub_(0.5).div_(0.25).mul_(2.0).add_(1.0)),
}


def test_arithmetic_in_place_has_the_bounds_of_what_it_computes():
    x, y = torch.rand(3, 1, 4, 4), torch.tensor([0, 1, 0])
    net = Pictures(nn.Identity(), 27)
    margins = []
    for net.step in map(Step, WRITTEN_IN_PLACE.values()):
        net.eval()
        margins.append(IntervalBounds()(Classifier(net), x, y, Linf(0.05)).margin)
    assert torch.equal(margins[0], margins[1])
    assert torch.equal(margins[0], margins[2])
    assert margins[0].isfinite().all()


class Step(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


UNWRITTEN = {
    "to nothing": (lambda h: h.clamp(min=math.inf), "a clamp from inf to None"),
    "empty": (lambda h: h.clamp(0.5, 0.5), "a clamp from 0.5 to 0.5"),
    "by a tensor": (lambda h: h.clamp(min=h), "a clamp from"),
    "around examples": (lambda h: F.pad(h, (0, 0, 0, 0, 0, 0, 1, 1)), r"pad\(\(0, 0, 0, 0, 0, 0, 1, 1\)"),
    "mirrored": (lambda h: F.pad(h, (1, 1, 1, 1), mode="reflect"), "mode='reflect'"),
    "mean of all of the batch": (lambda h: h.mean((0, 2)), r"mean over dimensions \(0, 2\) of 4"),
    "sum of examples": (lambda h: h.sum(0), "sum over dimensions 0 of 4"),
    "examples turned": (lambda h: h.permute(1, 0, 2, 3), "leaves the examples' dimension, 0, the first"),
    "examples turned away": (lambda h: h.transpose(0, -1), "leaves the examples' dimension, 0, the first"),
    "examples behind each other": (lambda h: torch.cat([h, h]), "cat along another dimension than 0"),
    "beside a constant": (lambda h: torch.cat([h, h.shape], 1), "beside a tuple"),
    "overwritten behind a turn": (
        lambda h: h.transpose(2, 3).relu_().flatten(1) + h.flatten(1),
        "overwrites",
    ),
    "softmax inside": (lambda h: F.softmax(h, 1), "no bound rule"),
    "mean of all": (lambda h: h.mean(), "mean over dimensions None"),
    "mean over the batch": (lambda h: h - h.mean(0), "mean over dimensions 0"),
    "mean in another type": (
        lambda h: h.mean((2, 3), dtype=torch.float64).float(),
        r"mean over dimensions \(2, 3\)",
    ),
    "batches cut": (lambda h: torch.reshape(h, (3, -1)), "must stay apart"),
    "dropout": (lambda h: F.dropout2d(h, 0.5), "no bound rule"),
    "squeezed anywhere": (lambda h: h.squeeze(), "name one dimension that is not the examples'"),
    "squeezed batches": (lambda h: h.squeeze(-4), "name one dimension that is not the examples'"),
    "batches added": (lambda h: h.unsqueeze(0), "name one dimension that is not the examples'"),
    "batches added from behind": (lambda h: h.unsqueeze(-5), "name one dimension"),
    "one example": (lambda h: h[0], "no bound rule"),
    "overwritten behind an index": (lambda h: h[:, 1:].sub_(1.0) + h[:, :2], "overwrites a value"),
    "overwritten behind a view": (lambda h: torch.reshape(h, (-1, 27)).relu_() + h.flatten(1), "overwrites"),
    "overwritten behind no dropout": (
        lambda h: F.dropout2d(h, 0.5, training=False).relu_() + h,
        "overwrites",
    ),
}


@pytest.mark.parametrize(("step", "said"), UNWRITTEN.values(), ids=UNWRITTEN)
def test_a_function_that_stands_for_no_layer_or_overwrites_is_refused(step, said):
    traced = TracedNetwork.trace(Pictures(step, 27).eval())
    box = input_interval(torch.rand(3, 1, 4, 4, dtype=torch.float64), Linf(0.1))
    with pytest.raises(ModelError, match=said):
        traced.margin_bounds(box, torch.zeros(3, dtype=torch.long), rounding_model(torch.float32))


NORMED = {
    "weight_norm": (parametrizations.weight_norm, r"remove_parametrizations\(layer, 'weight'\)"),
    "orthogonal": (parametrizations.orthogonal, r"remove_parametrizations\(layer, 'weight'\)"),
    "old spectral_norm": (nn.utils.spectral_norm, r"remove_spectral_norm\(layer\)"),
    "pruned": (
        lambda layer: prune.l1_unstructured(layer, "weight", 0.3),
        r"prune\.remove\(layer, 'weight'\)",
    ),
}


@pytest.mark.parametrize(("normed", "said"), NORMED.values(), ids=NORMED)
def test_a_layer_whose_weight_is_computed_in_each_call_is_refused_with_what_keeps_it(normed, said):
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    normed(net[0])
    with pytest.raises(ModelError, match=said):
        IntervalBounds()(
            Classifier(net.eval()), torch.rand(1, 3), torch.zeros(1, dtype=torch.long), Linf(0.1)
        )


def test_a_division_may_be_a_product_with_the_inverse():
    class Dividing(nn.Module):
        def forward(self, x):
            return (x / 3.0).flatten(1)

    x = torch.rand(64, 2, dtype=torch.float32)
    span = TracedNetwork.trace(Dividing())._propagate(
        input_interval(x.double(), Linf(0.0)), rounding_model(torch.float32)
    )
    for quotient in (x / 3.0, x * torch.tensor(1.0).div(torch.tensor(3.0))):
        assert ((quotient.double() - span.center).abs() <= span.radius).all()
    assert (span.radius >= 3 * 2.0**-24 * x.double() / 3).all()


def test_a_model_that_is_no_net_is_refused():
    smooth = SmoothedClassifier(Classifier(random_net("dense", 0)), 0.25)
    with pytest.raises(ModelError, match="got a SmoothedClassifier"):
        IntervalBounds()(smooth, inputs(0), torch.zeros(4, dtype=torch.long), L2(0.1))


def test_bad_inputs_are_refused():
    model, x, y = Classifier(random_net("dense", 0)), inputs(0), torch.zeros(4, dtype=torch.long)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        IntervalBounds()(model, x + 1, y, Linf(0.1))
    for labels in (y + 7, y - 1, y[:3], y.double()):
        with pytest.raises(DataError, match="labels"):
            IntervalBounds()(model, x, labels, Linf(0.1))


def test_another_threat_is_refused():
    class Other(Linf):
        pass

    object_like = type("Odd", (), {"eps": 0.1, "low": 0.0, "high": 1.0})()
    with pytest.raises(SettingError, match="know Linf and L2"):
        input_interval(torch.rand(1, 2), object_like)
    assert input_interval(torch.rand(1, 2), Other(0.1)).radius.max() > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threat", [Linf(0.05), L2(0.3), Linf(0.0), L2(0.0)])
def test_the_training_loss_bounds_the_loss_of_points_and_has_finite_gradients(name, threat):
    net, x = random_net(name, 1).double(), inputs(1).double()
    model = Classifier(net)
    y = model.predict(x)
    worst = worst_case_logits(TracedNetwork.trace(net), x, y, threat)
    bound = F.cross_entropy(worst, y, reduction="none")
    for z in points(model, x, y, threat, 1):
        assert (F.cross_entropy(model(z), y, reduction="none") <= bound + 1e-9).all()
    bound.sum().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in net.parameters())
