"""Ways in which certificates were false: what is bounded must be what runs, on every device and in every
batch.
"""

import copy
import io
import math
import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.modules import module as torch_module

from quintain.certify import (
    CROWN,
    CROWNIBP,
    IntervalBounds,
    Lipschitz,
    SmoothedClassifier,
    TracedNetwork,
    largest_certified_radius,
    radius_search,
    worst_case_logits,
)
from quintain.certify.conditions import require_bounded_rounding
from quintain.certify.interval import graph, traced_bounds
from quintain.certify.interval.domain import Interval
from quintain.certify.interval.layer_bounds import bound_layer
from quintain.certify.interval.valueless import operations_without_values
from quintain.certify.rounding import rounding_model
from quintain.core.errors import ContradictionError, DataError, ModelError, SettingError
from quintain.models import Classifier, Normalize
from quintain.threats import L2, Linf
from tests.certify.random_nets import dense


class Forward(nn.Module):
    """A net of two small layers and a forward that is handed in."""

    def __init__(self, forward, size=3, **tensors):
        super().__init__()
        self.a, self.b, self.body = nn.Linear(size, size), nn.Linear(size, 1), forward
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, x):
        return self.body(self, x)


def certify(net, *shape, eps=0.1):
    x = torch.full(shape or (3, 3), 0.5)
    return IntervalBounds()(Classifier(net.eval()), x, torch.zeros(len(x), dtype=torch.long), Linf(eps))


@contextmanager
def restored(*undo):
    try:
        yield
    finally:
        for one in undo:
            one()


# Numbers that the model's type does not hold


class Vanishing(nn.Module):
    """Class 0 leads by 6e13 - 7.1e14 relu(x - 0.5) in the type of the model, whatever the numbers are in
    Python.
    """

    def __init__(self):
        super().__init__()
        self.a, self.b = dense([[1.0]], [-0.5]), dense([[-1.0], [0.0]], [6e13, 0.0])

    def forward(self, x):
        return self.b(F.relu(self.a(x)) * 1e-30 / 2e-45)


def test_a_number_below_the_smallest_normal_one_is_refused():
    net = Vanishing().eval()
    assert Classifier(net).predict(torch.tensor([[0.5], [0.6]])).tolist() == [0, 1]
    with pytest.raises(ModelError, match="2e-45"):
        certify(net, 1, 1)


@pytest.mark.parametrize("number", [1e-46, -1e-39, 1e39, float("inf"), float("nan")])
@pytest.mark.parametrize(
    "use", [lambda x, c: x + c, lambda x, c: c - x, lambda x, c: x * c, lambda x, c: x / c, F.leaky_relu]
)
def test_a_number_that_the_type_does_not_hold_is_refused(number, use):
    with pytest.raises(ModelError):
        certify(Forward(lambda net, x: use(net.a(x), number)))


def test_numbers_are_rounded_as_the_model_rounds_them():
    assert rounding_model(torch.float32).number(0.1, "test") == float(torch.tensor(0.1))
    assert rounding_model(torch.float64).number(0.1, "test") == 0.1
    assert rounding_model(torch.float32).number(0, "test") == 0


@pytest.mark.parametrize("divisor", [0.0, 1e-39, 1e38])
def test_a_divisor_whose_inverse_devices_disagree_on_is_refused(divisor):
    with pytest.raises(ModelError, match="division by"):
        certify(Forward(lambda net, x: net.a(x) / net.scale, scale=torch.tensor([1.0, divisor, 1.0])))


@pytest.mark.parametrize("tensor", [torch.ones(3, dtype=torch.float64), torch.ones(3).half()])
def test_a_tensor_of_another_type_is_refused(tensor):
    with pytest.raises(ModelError, match="expected one type"):
        certify(Forward(lambda net, x: net.a(x) * net.scale, scale=tensor))
    assert (
        certify(Forward(lambda net, x: net.a(x) * net.scale, scale=torch.tensor([1, 2, 3])))
        .margin.isfinite()
        .all()
    )


class Halved(torch.Tensor):
    """Computes with half of what it shows."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is F.linear:
            weight = args[1].as_subclass(torch.Tensor)
            return F.linear(args[0], weight * 0.5, args[2])
        return super().__torch_function__(function, types, args, kwargs or {})


def test_a_tensor_that_computes_in_its_own_way_is_refused():
    net = Forward(lambda net, x: net.a(x))
    net.a.weight = nn.Parameter(torch.eye(3).as_subclass(Halved), requires_grad=False)
    with pytest.raises(ModelError, match="Halved"):
        certify(net)


def test_arithmetic_on_the_nets_own_tensors_is_refused_in_proofs_and_allowed_in_training():
    net = Forward(lambda net, x: net.a(x) * (net.gain / 3.0))
    net.gain = nn.Parameter(torch.ones(3))
    with pytest.raises(ModelError, match="tensors alone"):
        certify(net)
    assert (
        worst_case_logits(TracedNetwork.trace(net), torch.rand(2, 3), torch.tensor([0, 1]), Linf(0.1))
        .isfinite()
        .all()
    )


# Numbers below the smallest normal one, kept or flushed to zero


def by_a_weight():
    return nn.Sequential(dense([[1e36]], [0.0]), nn.ReLU(), dense([[5e-39]], [0.0]))


def by_a_normalisation():
    norm = nn.BatchNorm1d(1)
    with torch.no_grad():
        norm.weight.fill_(5e-20)
    norm.running_var.fill_(1e38)
    return nn.Sequential(dense([[1e36]], [0.0]), norm)


def by_a_buffer():
    return nn.Sequential(
        dense([[1e36]], [0.0]), Forward(lambda net, x: x * net.scale, scale=torch.tensor([5e-39]))
    )


@pytest.mark.parametrize("inner", [by_a_weight, by_a_normalisation, by_a_buffer])
def test_a_denormal_factor_is_bounded_whether_it_is_kept_or_flushed(inner):
    """Class 0 leads by 5 x - 1 where such factors are kept, and class 1 by 1 where they are taken for
    zero.
    """
    net = nn.Sequential(inner(), dense([[1000.0], [0.0]], [-1.0, 0.0])).eval()
    model, x, y = Classifier(net), torch.tensor([[0.7]]), torch.tensor([0])
    assert model.predict(x) == 0
    can_flush = torch.set_flush_denormal(True)
    with restored(lambda: torch.set_flush_denormal(False)):
        # a processor that cannot flush them keeps them
        assert model.predict(x) == int(can_flush)
    outcome = IntervalBounds()(model, x, y, Linf(1e-6))
    assert not outcome.certified
    assert outcome.margin.isfinite()
    torch.set_flush_denormal(True)
    with restored(lambda: torch.set_flush_denormal(False)):
        assert not IntervalBounds()(model, x, 1 - y, Linf(1e-6)).certified


def test_a_normalisation_whose_first_step_may_overflow_is_not_bounded():
    norm = nn.BatchNorm1d(1).eval()
    norm.running_var.fill_(1e30)
    for mean, bounded in ((-5e37, True), (-3e38, False)):
        norm.running_mean.fill_(mean)
        span = Interval(torch.full((1, 1), 5e37, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
        assert (
            bound_layer(norm, span, rounding_model(torch.float32), "norm").radius.isfinite().item() is bounded
        )


# Examples that meet others


MIXING = {
    "a view that is broadcast": lambda net, x: net.a(x) + net.b(x).view(-1),
    "a rank more": lambda _, x: (x.view(x.shape[0], 1, 3) + x).flatten(1),
    "the batch size added": lambda net, x: net.a(x) + (x.shape[0] - 1.0),
    "the batch size itself": lambda net, x: net.a(x) + x.shape[0],
    "size() multiplied": lambda net, x: net.a(x) * x.size(0),
    "a size counted from behind": lambda net, x: net.a(x) / x.shape[-2],
    "in a division": lambda net, x: net.a(x) * (1 / x.size()[0]),
    "a table cut to the batch": lambda net, x: net.a(x) + net.table[: x.shape[0]],
    "a table shaped by the batch": lambda net, x: net.a(x) + net.table.view(1, x.shape[0]),
    "a fixed first size": lambda net, x: net.a(x).view(3, -1),
    "the batch size behind": lambda net, x: net.a(x).view(-1, x.shape[0]),
    "a dimension too few for a layer": lambda net, x: net.c(net.b(x).view(-1)).view(-1, 1),
    "bits read as another type": lambda net, x: net.a(x).view(torch.int32),
}


@pytest.mark.parametrize("dims", [(), []])
def test_a_mean_over_no_named_dimension_is_refused_for_one_example_too(dims):
    """There it is one over the example, and in a batch one over all examples."""
    for reduced in (torch.mean, torch.sum):
        net = Forward(lambda net, x, reduced=reduced: net.a(x - reduced(x, dims, keepdim=True)))
        with pytest.raises(ModelError, match="which has no bound rule"):
            certify(net, 1, 3)


@pytest.mark.parametrize("body", MIXING.values(), ids=MIXING)
def test_a_forward_whose_examples_may_meet_is_refused(body):
    net = Forward(body, table=torch.arange(3.0))
    net.c = nn.Linear(3, 3)
    with pytest.raises(ModelError):
        certify(net)


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(1, 1, 1), nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)],
    ids=lambda layer: type(layer).__name__,
)
def test_three_dimensions_into_a_layer_of_pictures_are_refused(layer):
    with pytest.raises(ModelError, match="of 3 dimensions"):
        certify(nn.Sequential(layer, nn.Flatten()), 1, 4, 4)


APART = {
    "view": lambda net, x: net.a(x).view(x.shape[0], -1),
    "two views": lambda net, x: net.a(x).view(x.size(0), 3, 1).reshape(-1, 3),
    "a shape as one": lambda net, x: net.a(x).view(x.shape[:1] + x.shape[1:]),
    "flatten": lambda net, x: torch.flatten(net.a(x).view(-1, 1, 3), 1),
    "a size of an example": lambda net, x: net.a(x) / x.shape[1],
    "a rank less": lambda net, x: net.a(x) + net.b(x),
}


@pytest.mark.parametrize("body", APART.values(), ids=APART)
def test_a_forward_that_keeps_examples_apart_is_certified(body):
    assert certify(Forward(body)).margin.isfinite().all()


# What holds around the model


def small_cnn():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()


def precisely():
    torch.set_float32_matmul_precision("highest")
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.mkldnn.matmul.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "none"


class Autocast(nn.Module):
    """Class 0 leads by 0.02 x0, which is lost beside 1 in bfloat16, where class 1 leads."""

    def __init__(self):
        super().__init__()
        self.a, self.b = dense([[0.002, 0.0]], [1.0]), dense([[10.0], [0.0]], [-10.0, 0.001])

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.b(self.a(x))


def test_autocast_is_refused_inside_and_around():
    with pytest.raises(ModelError, match="autocast"):
        certify(Autocast(), 1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(ModelError, match="autocast"):
        certify(nn.Linear(2, 2), 1, 2)


def test_lowered_float32_precision_is_refused_around_and_inside():
    class Lowering(Forward):
        def forward(self, x):
            torch.set_float32_matmul_precision("medium")
            try:
                return self.a(x)
            finally:
                precisely()

    with restored(precisely):
        with pytest.raises(ModelError, match=r"interval bounds hold.*switch it off"):
            certify(Lowering(None))
        torch.set_float32_matmul_precision("high")
        with pytest.raises(ModelError, match="switch it off"):
            certify(nn.Linear(2, 2), 1, 2)
        assert certify(nn.Linear(2, 2).double(), 1, 2).margin.isfinite().all()
    assert certify(nn.Linear(2, 2), 1, 2).margin.isfinite().all()


def test_convolutions_without_onednn_are_refused_where_nnpack_would_take_them(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    if torch.backends.nnpack.is_available():
        with pytest.raises(ModelError, match="NNPACK"):
            certify(small_cnn(), 1, 1, 4, 4)
        with torch.backends.nnpack.flags(enabled=False):
            assert certify(small_cnn(), 1, 1, 4, 4).margin.isfinite().all()
    assert certify(small_cnn().double(), 1, 1, 4, 4).margin.isfinite().all()
    assert certify(nn.Linear(2, 2), 1, 2).margin.isfinite().all()


def test_what_nnpack_computes_is_no_sum_of_products(monkeypatch):
    """The control: where all products are 0, Winograd's method gives what is left of its neighbours, and a
    build without NNPACK sums products.
    """
    layer = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    x = torch.rand(16, 8, 16, 16, generator=torch.Generator().manual_seed(1))
    x[..., 1::8] = x[..., 2::8] = x[..., 3::8] = 0
    assert not layer(x)[..., 2::8].any()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert bool(layer(x)[..., 2::8].any()) == torch.backends.nnpack.is_available()


def test_cuda_is_asked_without_a_gpu():
    cuda, cnn, mlp = torch.device("cuda:0"), small_cnn(), nn.Linear(2, 2).eval()
    with pytest.raises(ModelError, match=r"cudnn\.enabled = False"):
        require_bounded_rounding(cnn, cuda, torch.float32)
    require_bounded_rounding(cnn, cuda, torch.float64)
    require_bounded_rounding(mlp, cuda, torch.float32)
    with torch.backends.cudnn.flags(enabled=False, allow_tf32=True):
        require_bounded_rounding(cnn, cuda, torch.float32)
    with restored(precisely):
        torch.set_float32_matmul_precision("high")
        for net in (cnn, mlp):
            with torch.backends.cudnn.flags(enabled=False), pytest.raises(ModelError, match="switch it off"):
                require_bounded_rounding(net, cuda, torch.float32)
    with pytest.raises(ModelError, match="nothing is known"):
        require_bounded_rounding(mlp, torch.device("mps"), torch.float32)


@pytest.mark.parametrize("register", ["register_module_forward_hook", "register_module_forward_pre_hook"])
def test_hooks_of_all_modules_are_refused(register):
    net = nn.Linear(2, 2)
    handle = getattr(torch_module, register)(lambda *_: None)
    with restored(handle.remove), pytest.raises(ModelError, match="hook of all modules"):
        certify(net, 1, 2)
    assert certify(net, 1, 2).margin.isfinite().all()


def test_a_compiled_net_is_refused():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    net[0].compile(backend="eager")
    for compiled in (net, torch.compile(nn.Sequential(nn.Linear(2, 2)), backend="eager")):
        with pytest.raises(ModelError, match=r"the net is compiled.* certify the net as it was"):
            certify(compiled, 1, 2)


# A model that is another one each time


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.calls = nn.Linear(2, 2), 1.0
        self.register_buffer("seen", torch.ones(()))

    def forward(self, x):
        self.calls += 1.0
        return self.a(x) * self.calls


class Averaging(Counting):
    def forward(self, x):
        self.seen.mul_(0.5)
        return self.a(x) * self.seen


class Drawing(Counting):
    def forward(self, x):
        return self.a(x) * random.random()


@pytest.mark.parametrize("kind", [Counting, Averaging, Drawing])
def test_a_model_that_changes_between_calls_is_refused(kind):
    with pytest.raises(ModelError, match=r"changes while|the same each time|writes into"):
        certify(kind(), 1, 2)


TURNS = [0]


class Turning(nn.Module):
    """Does what ``then`` says from its eighth forward on; what is counted is no part of the model, so that
    its hash stays.
    """

    def __init__(self, then):
        super().__init__()
        self.a, self.then = dense([[1.0], [0.0]], [0.0, 0.1]), then

    def forward(self, x):
        TURNS[0] += 1
        return self.then(self, x) if TURNS[0] > 7 else self.a(x)


def lowered(net, x):
    torch.set_float32_matmul_precision("medium")
    try:
        return net.a(x)
    finally:
        precisely()


THEN = {
    "a number": lambda net, x: net.a(x * 0.1),
    "an operation": lambda net, x: F.relu(net.a(x)),
    "fewer bits": lowered,
}


@pytest.mark.parametrize("then", THEN.values(), ids=THEN)
def test_a_forward_that_turns_into_another_one_while_a_radius_is_looked_for_is_refused(then):
    TURNS[0] = 0
    model, x, y = Classifier(Turning(then).eval()), torch.tensor([[0.5]]), torch.tensor([0])
    with restored(precisely), pytest.raises(ModelError, match=r"something else than was read|switch it off"):
        largest_certified_radius(IntervalBounds(), model, x, y, Linf(0.01))
    assert TURNS[0] > 7


def test_a_model_that_changes_between_the_calls_of_one_search_is_refused(monkeypatch):
    net, narrow = dense([[1.0], [0.0]], [0.0, 0.1]).eval(), radius_search._Search.refine

    def changing(search, rows, *, halve):
        net.bias.data[1] += 0.01
        narrow(search, rows, halve=halve)

    monkeypatch.setattr(radius_search._Search, "refine", changing)
    with pytest.raises(ModelError, match="changes while"):
        largest_certified_radius(
            IntervalBounds(), Classifier(net), torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.01)
        )


factor, offset = 1.0, 0.0
"""Variables of a program; a net below has an attribute that is called as one, and reads the other."""


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.factor = dense([[1.0], [0.0]], [0.0, 0.1]), 1.0

    def forward(self, x):
        return self.a(x) * self.factor + offset


def test_a_variable_that_is_called_as_an_attribute_may_change_and_one_that_is_read_may_not(monkeypatch):
    certify, x, y = (
        IntervalBounds().trace(Classifier(Named().eval())),
        torch.tensor([[0.5]]),
        torch.tensor([0]),
    )
    for value in (2.0, 3.0):
        monkeypatch.setitem(globals(), "factor", value)
        assert certify(x, y, Linf(0.01)).certified.all()
    monkeypatch.setitem(globals(), "offset", 1.0)
    with pytest.raises(ModelError, match=r"changes while|something else than was read"):
        certify(x, y, Linf(0.01))


def test_a_net_is_read_once_for_all_calls_of_a_search(monkeypatch):
    read = []
    monkeypatch.setattr(
        graph.TracedNetwork,
        "trace",
        lambda *given, of=graph.TracedNetwork.trace: read.append(given) or of(*given),
    )
    model = Classifier(dense([[1.0], [0.0]], [0.0, 0.1]).eval())
    outcome = largest_certified_radius(
        IntervalBounds(), model, torch.tensor([[0.5]]), torch.tensor([0]), Linf(0.01)
    )
    assert outcome.radius.item() == pytest.approx(0.4, rel=0.01)
    assert outcome.forwards.item() > 4
    assert len(read) == 1


def test_writing_into_a_tensor_of_the_net_is_refused():
    class Writing(Counting):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1, 2), requires_grad=False)

        def forward(self, x):
            gain = self.gain
            gain += self.a(x)
            return gain

    with pytest.raises(ModelError, match="writes into"):
        certify(Writing(), 1, 2)


class Twice(nn.Module):
    """One layer called twice, and one value used twice."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        h = F.relu(self.a(x))
        return self.b(self.a(h) - h)


@pytest.mark.parametrize("seed", range(3))
def test_layers_called_twice_are_bounded_at_each_call(seed):
    generator = torch.Generator().manual_seed(seed)
    net, x = Twice().eval(), torch.rand(8, 3, generator=generator)
    model, y = Classifier(net), torch.zeros(8, dtype=torch.long)
    lower = IntervalBounds()(model, x, y, Linf(0.2)).margin
    for _ in range(50):
        z = (x + (torch.rand(8, 3, generator=generator) * 2 - 1) * 0.2).clamp(0, 1)
        logits = model(z).double()
        assert (logits[:, 0] - logits[:, 1] >= lower).all()


# Values that are copied, and what a forward hides


class Copying(nn.Module):
    """Class 0 leads by 8 (0.6 - x0): one number, copied eight times by a constant."""

    def __init__(self, copy):
        super().__init__()
        self.copy, self.last = copy, dense([[-1.0] * 8, [0.0] * 8], [4.8, 0.0])
        self.register_buffer("ones", torch.ones(8))
        self.register_buffer("zeros", torch.zeros(8))

    def forward(self, x):
        return self.last(self.copy(self, x))


COPIES = {
    "times": lambda net, x: x * net.ones,
    "plus": lambda net, x: x + net.zeros,
    "divided": lambda net, x: x / net.ones,
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_number_that_is_copied_moves_all_its_copies(copy):
    model, x, y = Classifier(Copying(copy).eval()), torch.tensor([[0.5]]), torch.tensor([0])
    for eps in (0.05, 0.09, 0.11, 0.2):
        certified = IntervalBounds()(model, x, y, L2(eps)).certified.item()
        assert certified == (model.predict(x + eps).item() == 0)


def test_a_gray_picture_normalised_to_three_channels_is_bounded():
    net = nn.Sequential(
        Normalize([0.0] * 3, [1.0] * 3), nn.Flatten(), dense([[-1.0] * 3, [0.0] * 3], [1.8, 0.0])
    ).eval()
    model, x, y = Classifier(net), torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    assert model.predict(x + 0.15) == 1
    assert not IntervalBounds()(model, x, y, L2(0.15)).certified
    assert IntervalBounds()(model, x, y, L2(0.09)).certified


class Scaling(Forward):
    """Doubles what it is given, where that is a tensor: something else when it is read than when it runs."""

    def forward(self, x):
        if isinstance(x, torch.Tensor) and self.body(x):
            x = x * 2.0
        return self.a(x)


@pytest.mark.parametrize(
    "when", [lambda _: True, lambda x: x.max() > 0.55], ids=["always", "for large inputs"]
)
def test_a_forward_that_does_another_thing_when_it_is_read_is_refused(when):
    with pytest.raises(ModelError, match="something else than was read"):
        certify(Scaling(when))


def test_a_net_without_a_type_of_its_own_is_refused():
    class Plain(nn.Module):
        def forward(self, x):
            return x * 3.0 - 1.0

    net = Plain().eval()
    assert Classifier(net)(torch.rand(2, 2).half()).dtype == torch.float32
    with pytest.raises(ModelError, match="in the type of whatever it is given"):
        certify(net, 1, 2)


@pytest.mark.parametrize("name", ["forward", "_conv_forward"])
def test_a_layer_with_a_method_of_its_own_is_refused(name):
    net = small_cnn()
    setattr(net[0], name, lambda *args: F.conv2d(args[0], -net[0].weight))
    with pytest.raises(ModelError, match=f"another {name}"):
        certify(net, 1, 1, 4, 4)


@pytest.mark.parametrize(
    "eps", [torch.tensor([-0.1, 0.1, 0.1]), torch.tensor([0.1, 0.1]), torch.full((3, 3), 0.1)]
)
def test_radii_that_are_none_are_refused(eps):
    with pytest.raises(SettingError, match="for each of 3 inputs"):
        IntervalBounds()(
            Classifier(nn.Linear(3, 2).eval()),
            torch.rand(3, 3),
            torch.zeros(3, dtype=torch.long),
            Linf(0.1),
            eps=eps,
        )


# What happens between the inputs that are looked at


def narrow(x):
    """Whether numbers lie between those at which a net is looked at: 0.5, and 0.4 and 0.6."""
    return (x > 0.55) & (x < 0.58)


HIDDEN = {
    "where": lambda x: torch.where(narrow(x), x * 2, x) if isinstance(x, torch.Tensor) else x,
    "any": lambda x: x * 2 if isinstance(x, torch.Tensor) and narrow(x).any() else x,
    "item": lambda x: x * 2 if isinstance(x, torch.Tensor) and 0.55 < x.max().item() < 0.58 else x,
    "numpy": lambda x: x * 2 if isinstance(x, torch.Tensor) and 0.55 < x.detach().numpy().max() < 0.58 else x,
    "when traced": lambda x: x if isinstance(x, torch.fx.Proxy) else torch.where(narrow(x), x * 2, x),
}


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
def test_a_change_between_the_inputs_that_are_looked_at_is_seen_in_the_operations(hidden):
    """Class 0 leads by 0.7 - x, and by 0.7 - 2 x for few inputs only."""
    net = Forward(lambda net, x: net.last(hidden(x)))
    net.last = dense([[-1.0], [0.0]], [0.7, 0.0])
    model = Classifier(net.eval())
    assert model.predict(torch.tensor([[0.5], [0.5]])).tolist() == [0, 0]
    assert model.predict(torch.tensor([[0.56], [0.56]])).tolist() == [1, 1]
    with pytest.raises(ModelError, match=r"something else than was read|out of torch"):
        certify(net, 1, 1)


READERS = {
    "a list": lambda x: x.tolist(),
    "a list of a copy": lambda x: copy.deepcopy(x.data).tolist(),
    "a number": lambda x: float(x.max()),
    "a branch": lambda x: bool((x > 0.55).any()),
    "text": str,
    "formatted text": lambda x: f"{x[0, 0]:.3f}",
    "a capsule": torch.utils.dlpack.to_dlpack,
    "an array": lambda x: x.numpy(force=True),
    "an address": lambda x: x.data_ptr(),
    "a file": lambda x: torch.save(x, io.BytesIO()),
    "a function of each": lambda x: x.apply_(lambda value: value),
    "a choice by a mask": lambda x: len(x[x > 0.55]),
    "a tensor of its own": lambda x: torch.empty(x.shape).copy_(x).tolist(),
}


@pytest.mark.parametrize("threaded", [False, True], ids=["here", "in a thread"])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_whoever_reads_a_value_is_refused_in_whatever_thread(read, threaded):
    def look(x):
        if isinstance(x, torch.Tensor):
            aside(read, x) if threaded else read(x)
        return x

    with pytest.raises(ModelError, match=r"out of torch|without values|something else than was read"):
        certify(Forward(lambda net, x: net.a(look(x))), 1, 3)


def aside(function, *args):
    """What a function returns in another thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


@pytest.mark.parametrize("hidden", [HIDDEN["where"], HIDDEN["any"]], ids=["where", "any"])
def test_a_change_between_the_inputs_that_are_looked_at_is_seen_in_other_threads(hidden):
    """Class 0 leads by 0.7 - x, and by 0.7 - 2 x for few inputs only."""
    net = Forward(lambda net, x: net.last(aside(hidden, x) if isinstance(x, torch.Tensor) else x))
    net.last = dense([[-1.0], [0.0]], [0.7, 0.0])
    model = Classifier(net.eval())
    assert (model.predict(torch.tensor([[0.5]])).item(), model.predict(torch.tensor([[0.56]])).item()) == (
        0,
        1,
    )
    with pytest.raises(ModelError, match=r"without values|something else than was read"):
        certify(net, 1, 1)


def test_a_value_that_is_read_in_another_thread_only_where_gradients_are_off_is_noticed():
    def lowered_for_some(net, x):
        reads = isinstance(x, torch.Tensor) and not x.requires_grad and aside(lambda: bool(narrow(x).any()))
        return -net.a(x) if reads else net.a(x)

    with pytest.raises(ModelError, match="without values"):
        certify(Forward(lowered_for_some))


def test_settings_are_looked_at_before_every_operation_without_values_in_whatever_thread():
    def check():
        if torch.get_float32_matmul_precision() != "highest":
            raise ModelError("lowered")

    layer, x = nn.Linear(2, 2), torch.rand(1, 2)
    plain = SimpleNamespace(a=layer)
    with restored(precisely), pytest.raises(ModelError, match="lowered"):
        operations_without_values(lambda blank: aside(lowered, plain, blank), x, check, "model")
    assert operations_without_values(lambda blank: aside(layer, blank), x, check, "model")


GRADIENTS = {
    "switched on": lambda x: torch.is_grad_enabled(),
    "asked of the input": lambda x: x.requires_grad,
    "asked of the input, by its value": lambda x: x.requires_grad and aside(lambda: bool(narrow(x).any())),
}


@pytest.mark.parametrize("when", GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize(
    "then", [lambda net, x: -net.a(x), lambda net, x: net.c(x)], ids=["an operation", "other weights"]
)
def test_a_forward_that_does_another_thing_with_gradients_is_refused_however_it_hides_when_read(when, then):
    net = Forward(lambda net, x: then(net, x) if isinstance(x, torch.Tensor) and when(x) else net.a(x))
    net.c = nn.Linear(3, 3)
    with pytest.raises(ModelError, match=r"without values|something else than was read"):
        certify(net)


def test_a_forward_that_does_another_thing_where_gradients_are_on_is_refused():
    with pytest.raises(ModelError, match="is_grad_enabled"):
        certify(Forward(lambda net, x: net.a(x * 2.0 if torch.is_grad_enabled() else x)))


def test_what_cannot_run_without_values_is_refused_with_why():
    with pytest.raises(
        ModelError,
        match=r"fails on an input without values.*cannot be called on meta.*no form for the meta device",
    ):
        certify(
            Forward(
                lambda net, x: (
                    net.a(x) if not isinstance(x, torch.Tensor) or aside(lambda: float(x[0, 0])) else x
                )
            )
        )


@pytest.mark.parametrize(
    "body",
    [
        lambda net, x: net.a(x) if not isinstance(x, torch.Tensor) or x.shape[1] == 3 else x,
        lambda net, x: net.b(F.relu(net.a(x), inplace=True)),
        lambda net, x: net.a(x).view(x.shape[0], -1) * net.mean,
    ],
    ids=["by a size", "in place", "by a buffer"],
)
def test_what_reads_no_value_is_certified_with_and_without_gradients(body):
    net = Forward(body, mean=torch.full((3,), 0.5))
    assert certify(net).margin.isfinite().all()
    assert certify(nn.Sequential(nn.ReLU(inplace=True), net)).margin.isfinite().all()


def test_values_and_gradients_are_looked_for_once_a_search_and_shape(monkeypatch):
    looks = []
    monkeypatch.setattr(traced_bounds, "require_no_value_read", lambda *given: looks.append(given))
    model, x, y = (
        Classifier(dense([[1.0], [0.0]], [0.0, 0.1]).eval()),
        torch.tensor([[0.5]]),
        torch.tensor([0]),
    )
    assert largest_certified_radius(IntervalBounds(), model, x, y, Linf(0.01)).forwards.item() > 4
    assert len(looks) == 1
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), dense([[1.0], [0.0]], [0.0, 0.1]))
    reading = IntervalBounds().trace(Classifier(pooled.eval()))
    for size in (2, 3, 2):
        reading(torch.rand(1, 1, size, size), y, Linf(0.01))
    assert len(looks) == 3


class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, same):
        return x if same else x * 2.0


@pytest.mark.parametrize("same", [True, False])
def test_a_custom_autograd_function_is_read_by_its_forward(same):
    net = Forward(lambda net, x: net.last(Scaled.apply(x, same)))
    net.last = dense([[-1.0], [0.0]], [1.15, 0.0])
    assert certify(net, 1, 1).certified.item() == same


# Layers that are not what their attributes say


@pytest.mark.parametrize("flag", [True, 1])
@pytest.mark.parametrize("kind", ["layer", "function", "keyword"])
def test_whatever_python_takes_for_true_writes_in_place(kind, flag):
    """Class 0 leads by 0.95 - h - 5 r: h rises from below 0 to 0 where it is overwritten by its ReLU."""

    def body(net, x):
        h = net.inner(x)
        {
            "layer": lambda: net.relu(h),
            "function": lambda: F.relu(h, flag),
            "keyword": lambda: F.relu(h, inplace=flag),
        }[kind]()
        return net.last(h)

    net = Forward(body)
    net.inner, net.relu = dense([[1.0, 0.0], [0.0, 1.0]], [-0.7, -0.4]), nn.ReLU(inplace=flag)
    net.last = dense([[-1.0, -5.0], [0.0, 0.0]], [0.95, 0.0])
    assert Classifier(net.eval()).predict(torch.tensor([[0.5, 0.6]])).item() == 1
    found = certify(net, 1, 2)
    assert not found.certified.item()
    x = torch.tensor([[a, b] for a in (0.4, 0.5, 0.6) for b in (0.4, 0.5, 0.6)])
    assert found.margin.item() <= (Classifier(net)(x) @ torch.tensor([1.0, -1.0])).min().item()


@pytest.mark.parametrize("affine", [True, False])
def test_a_normalisation_scales_by_the_weights_that_it_has(affine):
    """Class 0 leads by 2.2 - 5 x0 + x1, or by 2.2 + x0 + x1 where there is no weight."""
    norm = nn.BatchNorm1d(2, affine=affine)
    norm.affine, norm.weight, norm.bias = (
        False,
        nn.Parameter(torch.tensor([-5.0, 1.0])),
        nn.Parameter(torch.zeros(2)),
    )
    net = nn.Sequential(norm, dense([[1.0, 1.0], [0.0, 0.0]], [2.2, 0.0])).eval()
    assert Classifier(net).predict(torch.tensor([[0.6, 0.4]])).item() == 1
    assert not certify(net, 1, 2).certified
    norm.weight = None
    assert certify(net, 1, 2).certified
    norm.running_var[0] = -1e-6
    with pytest.raises(ModelError, match="negative running variance"):
        certify(net, 1, 2)


@pytest.mark.parametrize("last", [True, False])
def test_roundings_are_counted_by_the_weights_and_not_by_what_a_layer_says(last):
    net = nn.Sequential(nn.Linear(1000, 2), *([] if last else [nn.ReLU()])).eval()
    right = certify(net, 2, 1000, eps=0.0).margin
    net[0].in_features = 1
    assert torch.equal(certify(net, 2, 1000, eps=0.0).margin, right)


def test_a_weight_that_is_an_attribute_and_no_parameter_must_be_a_plain_tensor():
    net = Forward(lambda net, x: net.a(x))
    del net.a.weight
    net.a.weight = torch.eye(3).as_subclass(Halved)
    with pytest.raises(ModelError, match="Halved"):
        certify(net)
    net.a.weight = torch.eye(3)
    assert certify(net).margin.isfinite().all()


def test_a_layer_whose_class_was_given_another_forward_sounds_the_alarm(monkeypatch):
    """Class 0 leads by more than its bound at each input, so that the wrong values are seen between the
    layers alone.
    """
    net = nn.Sequential(nn.ReLU(), dense([[1.0, 0.0], [0.0, 0.0]], [2.0, 0.0]))
    monkeypatch.setattr(nn.ReLU, "forward", lambda self, x: x * 2.0)
    with pytest.raises(ContradictionError, match="operation '0' returns 1"):
        certify(net, 1, 2)


def rising(self, x):
    """A linear layer of two outputs with a term of its own above 0.6, which no input that is certified
    reaches by itself.
    """
    z = F.linear(x, self.weight, self.bias)
    return z + 10 * F.linear(F.relu(x - 0.6), self.weight) if self.out_features == 2 else z


@pytest.mark.parametrize(
    "behind", [[], [nn.Identity()], [nn.Linear(2, 2)]], ids=["last", "hidden", "before the last"]
)
def test_a_linear_layer_whose_class_was_given_another_forward_sounds_the_alarm_wherever_it_stands(
    monkeypatch, behind
):
    net = nn.Sequential(nn.Flatten(), dense([[-0.1] * 16, [0.1] * 16], [2.0, 0.0]), *behind)
    assert certify(net, 2, 1, 4, 4, eps=0.15).margin.isfinite().all()
    monkeypatch.setattr(nn.Linear, "forward", rising)
    with pytest.raises(ContradictionError, match="operation '1' returns"):
        certify(net, 2, 1, 4, 4, eps=0.15)


def test_a_head_of_one_logit_whose_class_was_given_another_forward_sounds_the_alarm(monkeypatch):
    net = nn.Sequential(nn.Flatten(), dense([[0.1] * 16], [-2.0]))
    assert certify(net, 2, 1, 4, 4, eps=0.15).certified.all()
    monkeypatch.setattr(
        nn.Linear, "forward", lambda self, x: F.linear(x + 10 * F.relu(x - 0.6), self.weight, self.bias)
    )
    with pytest.raises(ContradictionError, match="operation '1' returns"):
        certify(net, 2, 1, 4, 4, eps=0.15)


@pytest.mark.parametrize("logits", [1, 2])
def test_margins_that_forget_the_radius_sound_the_alarm(monkeypatch, logits):
    """The slopes have one sign, so that the points of the ball that are looked at are the worst ones."""
    net = nn.Sequential(
        nn.Flatten(), dense([[-0.1] * 16, [0.1] * 16][-logits:], [1.7, 0.0] if logits == 2 else [-1.0])
    )
    assert not certify(net, 2, 1, 4, 4, eps=0.2).certified.any()
    merged = graph.margins_through_head
    monkeypatch.setattr(
        graph,
        "margins_through_head",
        lambda head, span, *rest: merged(head, Interval(span.center, span.radius * 0), *rest),
    )
    with pytest.raises(ContradictionError, match="prove a margin of at least"):
        certify(net, 2, 1, 4, 4, eps=0.2)


def test_margins_without_a_merged_head_are_held_against_the_answers_too(monkeypatch):
    net = nn.Sequential(dense([[1.0], [0.0]], [1.0, 0.0]), nn.ReLU())
    monkeypatch.setattr(
        graph.TracedNetwork,
        "margin_bounds",
        lambda self, *args, of=graph.TracedNetwork.margin_bounds, **named: of(self, *args, **named) + 0.05,
    )
    with pytest.raises(ContradictionError, match="prove a margin of at least"):
        certify(net, 1, 1)


@pytest.mark.parametrize("behind", [[], [nn.ReLU()]], ids=["last", "hidden"])
def test_a_layer_that_returns_no_number_inside_the_ball_sounds_the_alarm(monkeypatch, behind):
    net = nn.Sequential(dense([[1.0], [0.0]], [1.0, 0.0]), *behind)
    monkeypatch.setattr(
        nn.Linear, "forward", lambda self, x: F.linear(x, self.weight, self.bias) / (x < 0.55) * (x < 0.55)
    )
    with pytest.raises(ContradictionError, match="operation '0' returns nan"):
        certify(net, 1, 1)


@pytest.mark.parametrize("threat", [Linf(1e-320), L2(1e-320)])
def test_a_radius_is_looked_for_whatever_the_smallest_threat(threat):
    model = Classifier(dense([[1.0], [0.0]], [0.0, 0.25]).eval())
    assert (
        largest_certified_radius(
            IntervalBounds(), model, torch.tensor([[0.5]]), torch.tensor([0]), threat
        ).radius.item()
        > 0.24
    )


def test_pictures_of_whole_numbers_are_refused_by_smoothing():
    with pytest.raises(DataError, match="divide 8-bit images by 255"):
        SmoothedClassifier(Classifier(nn.Linear(2, 2).eval()), 0.25).certify(
            torch.tensor([[0, 1]]), torch.tensor([0])
        )


def test_no_setting_of_a_layer_comes_from_the_batch_size():
    for body in (
        lambda net, x: F.leaky_relu(net.a(x), x.shape[0]),
        lambda net, x: F.avg_pool2d(net.a(x).view(-1, 1, 3, 1), (x.shape[0], 1)).flatten(1),
        lambda net, x: net.a(x).flatten(x.shape[0]),
    ):
        # where a release of torch takes no symbol for a number of the layer, the forward is not read at all
        with pytest.raises(ModelError, match=r"set by the batch size|found element of type _Value"):
            certify(Forward(body), 1, 3)


def test_tensors_without_plain_values_and_training_mode_are_refused():
    x, y = torch.rand(1, 2), torch.zeros(1, dtype=torch.long)
    sparse = nn.Linear(2, 2).eval()
    sparse.weight = nn.Parameter(sparse.weight.detach().to_sparse())
    for net, message in (
        (sparse, "sparse"),
        (nn.Linear(2, 2, device="meta").eval(), "meta"),
        (nn.Linear(2, 2).train(), "training mode"),
    ):
        with pytest.raises(ModelError, match=message):
            IntervalBounds()(Classifier(net, allow_train_mode=True), x, y, Linf(0.1))


# Nets that people have


@dataclass
class Doubling:
    """An answer whose logits are not those that it was made from."""

    logits: torch.Tensor

    def __post_init__(self):
        if isinstance(self.logits, torch.Tensor):
            self.logits = self.logits * 2.0 - 1.0


@pytest.mark.parametrize("answer", [Doubling, lambda z: {"out": Doubling(logits=z)}])
def test_an_answer_that_computes_with_logits_where_they_have_values_is_refused(answer):
    net = Forward(lambda net, x: answer(net.a(x))).eval()
    assert Classifier(net).predict(torch.rand(2, 3)).shape == (2,)
    with pytest.raises(ModelError, match=r"does something else than was read.*it runs aten\.mul"):
        certify(net)


@dataclass
class Halving:
    """An answer whose logits are computed each time they are read."""

    scores: torch.Tensor

    @property
    def logits(self):
        return self.scores / 2.0


@dataclass
class Looking(Halving):
    """An answer that looks at a value when its logits are read."""

    @property
    def logits(self):
        scores = self.scores
        return scores if not isinstance(scores, torch.Tensor) or scores.sum() < 1e9 else -scores


def test_logits_that_an_answer_computes_are_bounded_as_they_are_unless_it_looks_at_values():
    net = Forward(lambda net, x: Halving(net.a(x))).eval()
    plain = Forward(lambda net, x: net.a(x) / 2.0).eval()
    plain.load_state_dict(net.state_dict())
    assert torch.equal(certify(net).margin, certify(plain).margin)
    with pytest.raises(ModelError, match="does something else than was read of its forward"):
        certify(Forward(lambda net, x: Looking(net.a(x))))


def test_parts_of_a_shape_that_are_counted_are_refused_with_what_to_write():
    with pytest.raises(ModelError, match=r"tuple\(x\.shape\).*expected x\.shape\[0\]"):
        certify(Forward(lambda net, x: net.a(x).reshape(tuple(x.shape))))


ORDINARY = {
    "buffers as views": lambda net, x: net.a((x - net.mean.view(1, -1)) / net.std[None, :]),
    "a layer called by keyword": lambda net, x: F.relu(net.a(input=x)),
    "the last layer called by keyword": lambda net, x: net.a(input=x),
    "a function called by keyword": lambda net, x: F.relu(input=net.a(x)),
}


@pytest.mark.parametrize("body", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_ways_to_write_a_forward_are_bounded(body):
    assert (
        certify(Forward(body, mean=torch.full((3,), 0.5), std=torch.full((3,), 0.25))).margin.isfinite().all()
    )


@pytest.mark.parametrize("kind", [IntervalBounds, CROWN, CROWNIBP, Lipschitz])
@pytest.mark.parametrize(
    ("small", "large"), [(1e-165, 1e165), (1e-165, 1e150), (1e-200, 1e150), (1e160, 1e-170), (1e-300, 1e290)]
)
def test_numbers_whose_squares_are_lost_are_no_zeros(kind, small, large):
    """The margin is 0.3 + x_0 - x_1, in units of both factors: at (0.3, 0.7), 0.283 away, it is -0.1."""
    last = nn.Linear(2, 2).double()
    with torch.no_grad():
        last.weight.copy_(torch.tensor([[large, -large], [0.0, 0.0]], dtype=torch.float64))
        last.bias.copy_(torch.tensor([0.3 * large * small, 0.0], dtype=torch.float64))
    scale = torch.tensor(small, dtype=torch.float64)
    net = Forward(lambda net, x: net.last(x * net.scale), scale=scale).double()
    net.last = last
    model = Classifier(net.eval())
    x, y = torch.full((1, 2), 0.5, dtype=torch.float64), torch.tensor([0])
    assert model.predict(torch.tensor([[0.3, 0.7]], dtype=torch.float64)) == 1
    assert not kind()(model, x, y, L2(0.3)).certified
    # what is lost is taken for more than it is, so that a box at least is left
    assert kind()(model, x, y, L2(0.1)).certified


@pytest.mark.parametrize("layers", [1, 2])
def test_products_of_squares_that_a_device_takes_for_zero_are_charged(layers):
    """One weight counts as much as is charged for all products, and 999 others are lost below 2.2e-308."""
    weights = torch.full((1, 1000), 1.6e-154, dtype=torch.float64)
    weights[0, 0] = math.sqrt(1000 * torch.finfo(torch.float64).tiny) / 0.3
    reach = 0.3 * float(torch.linalg.vector_norm(weights / 1e-153)) * 1e-153
    first, last = nn.Linear(1000, 1 if layers == 2 else 2).double(), nn.Linear(1, 2).double()
    with torch.no_grad():
        first.weight.zero_()[0] = weights[0]
        first.bias.zero_()[0] = 0.99 * reach - 0.5 * float(weights.sum())
        last.weight.copy_(torch.tensor([[1.0], [0.0]]))
        last.bias.zero_()
    model = Classifier(nn.Sequential(first, *([last] if layers == 2 else [])).eval())
    x, y = torch.full((1, 1000), 0.5, dtype=torch.float64), torch.tensor([0])
    wrong = x - 0.2999 * weights / 1e-153 / torch.linalg.vector_norm(weights / 1e-153)
    assert model.predict(wrong) == 1
    torch.set_flush_denormal(True)
    try:
        assert not IntervalBounds()(model, x, y, L2(0.3)).certified
        assert IntervalBounds()(model, x, y, L2(0.01)).certified
    finally:
        torch.set_flush_denormal(False)
