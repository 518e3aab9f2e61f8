"""What a forward keeps in its net's attributes is named, and what reading it leaves there is taken away."""

import copy
import functools
from collections import deque

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quintain.certify import IntervalBounds, SmoothedClassifier, TracedNetwork
from quintain.certify.attributes import AttributeSnapshot
from quintain.core.errors import ModelError
from quintain.models import Classifier
from quintain.threats import Linf

X, Y = torch.rand(2, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(2, dtype=torch.long)


class Keeping(nn.Module):
    """Keeps its features, as is done for attention maps and Grad-CAM."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.log = nn.Linear(4, 8), nn.Linear(8, 3), []
        self.register_buffer("mean", torch.full((4,), 0.1))
        self.row = None

    def forward(self, x):
        self.features = F.relu(self.a(x))
        return self.b(self.features)


class Listing(Keeping):
    """Keeps the features of all calls."""

    def forward(self, x):
        self.log.append(F.relu(self.a(x)))
        return self.b(self.log[-1])


class Lazy(Keeping):
    """Makes a part of itself in its first call."""

    def forward(self, x):
        if self.row is None:
            self.row = self.mean.view(1, -1)
        return self.b(F.relu(self.a(x - self.row)))


class Cached(Keeping):
    """Computes values of its own once, and has one that it never can."""

    @functools.cached_property
    def shift(self):
        return 2 * self.mean.view(1, -1)

    @functools.cached_property
    def unused(self):
        return self.is_not_there

    def forward(self, x):
        return self.b(F.relu(self.a(x - self.shift)))


@pytest.mark.parametrize("bounds", [True, False])
def test_a_cached_property_is_no_change(bounds):
    model = Classifier(nn.Sequential(Cached()).eval())
    smooth = SmoothedClassifier(model, 0.25, noise_samples=50)
    outcome = IntervalBounds()(model, X, Y, Linf(0.01)) if bounds else smooth.certify(X, Y)
    assert outcome.margin.shape == (2,)
    z = X.clone().requires_grad_()
    assert torch.autograd.grad(model(z).sum(), z)[0].any()


KINDS = {"features": Keeping, "log": Listing, "row": Lazy}


@pytest.mark.parametrize("attribute", KINDS)
def test_a_forward_that_keeps_values_is_refused_by_their_name_and_works_on(attribute):
    for certify in (
        lambda model: IntervalBounds()(model, X, Y, Linf(0.01)),
        lambda model: SmoothedClassifier(model, 0.25, noise_samples=50).certify(X, Y),
    ):
        net = nn.Sequential(KINDS[attribute]()).eval()
        expected = Classifier(net)(X)
        net[0].log.clear()
        net[0].row = None
        with pytest.raises(
            ModelError, match=rf"(that the forward itself sets:|its forward sets) 0\.{attribute}\b"
        ):
            certify(Classifier(net))
        assert torch.equal(Classifier(net)(X), expected)
        assert {type(value) for value in net[0].log} <= {torch.Tensor}


@pytest.mark.parametrize("attribute", KINDS)
def test_reading_a_forward_leaves_its_net_as_it_was(attribute):
    net = KINDS[attribute]().eval()
    before = dict(vars(net))
    try:
        TracedNetwork.trace(net)
    except ModelError as error:
        assert attribute in str(error)  # noqa: PT017
    assert vars(net) == before
    assert net.log == []


def test_a_snapshot_names_and_puts_back_what_was_set_deleted_and_filled():
    net = nn.Sequential(Keeping(), nn.Linear(3, 2))
    one, shared = net[0], [1]
    one.nested, one.pair, one.queue, one.seen = {"k": [shared]}, (shared, 2), deque([1, 2], maxlen=2), {"a"}
    weight, layer = net[1].weight, one.a
    snapshot = AttributeSnapshot(net)
    assert snapshot.changed_names() == []
    shared.append(2)
    one.queue.append(3)
    one.seen.add("b")
    one.features = X
    del one.row
    one.a = nn.Linear(4, 8)
    net[1].weight = nn.Parameter(torch.zeros(2, 3))
    names = {"0.nested", "0.pair", "0.queue", "0.seen", "0.features", "0.row", "0.a", "1.weight"}
    assert {name for name in snapshot.changed_names() if not name.startswith("0.a.")} == names
    snapshot.restore()
    assert snapshot.changed_names() == []
    assert (one.nested, one.pair, list(one.queue), one.seen, one.row) == (
        {"k": [[1]]},
        ([1], 2),
        [1, 2],
        {"a"},
        None,
    )
    assert one.a is layer
    assert net[1].weight is weight
    assert not hasattr(one, "features")


def test_bounds_inside_inference_mode_are_those_outside():
    net = nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2)
    )
    model = Classifier(net.eval())
    outside = IntervalBounds()(model, X, Y, Linf(2**-7)).margin
    with torch.inference_mode():
        x, eps = X.clone(), torch.full((2,), 2**-7)
        inside = IntervalBounds()(model, x, Y, Linf(0.5), eps=eps).margin
    assert torch.equal(inside, outside)
    assert torch.equal(IntervalBounds()(model, x, Y, Linf(0.5), eps=eps).margin, outside)


def test_a_net_that_was_made_in_inference_mode_is_refused_and_its_copy_is_not():
    with torch.inference_mode():
        net = nn.Sequential(nn.Linear(4, 2)).eval()
    with pytest.raises(
        ModelError, match=r"0\.weight was made inside torch\.inference_mode\(\).*copy\.deepcopy"
    ):
        IntervalBounds()(Classifier(net), X, Y, Linf(0.01))
    assert IntervalBounds()(Classifier(copy.deepcopy(net)), X, Y, Linf(0.01)).margin.isfinite().all()
