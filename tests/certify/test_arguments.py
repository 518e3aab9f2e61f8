"""What is no tensor, no ball, no model, or answers by its batch, is refused in words."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quintain.certify import IntervalBounds, SmoothedClassifier
from quintain.certify.radius_search import largest_certified_radius
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.models import BlackBox, Classifier
from quintain.threats import L2, Linf

X, Y = torch.rand(3, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(3, dtype=torch.long)
BALL = Linf(0.1)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).eval()


def bounded(x=X, y=Y, threat=BALL, **words):
    return IntervalBounds()(Classifier(net()), x, y, threat, **words)


def smoothed(model=None):
    return SmoothedClassifier(Classifier(net()) if model is None else model, 0.25, noise_samples=50)


WRONG = {
    "bounds, list": (
        lambda: bounded(x=X.tolist()),
        DataError,
        "inputs in a list; expected a tensor.*as_tensor",
    ),
    "bounds, labels": (
        lambda: bounded(y=[0, 0, 0]),
        DataError,
        "labels in a list; expected a tensor.*as_tensor",
    ),
    "bounds, threat": (
        lambda: bounded(threat=0.1),
        SettingError,
        r"threat of 0\.1 \(float\); expected a ball",
    ),
    "bounds, text": (
        lambda: bounded(threat="linf"),
        SettingError,
        "has no size",
    ),
    "bounds, eps": (
        lambda: bounded(eps=0.1),
        SettingError,
        r"eps = 0\.1 \(float\); expected a tensor \(3,\)",
    ),
    "radius, threat": (
        lambda: largest_certified_radius(IntervalBounds(), Classifier(net()), X, Y, 0.1),
        SettingError,
        "expected a ball",
    ),
    "radius, list": (
        lambda: largest_certified_radius(IntervalBounds(), Classifier(net()), X.tolist(), Y, Linf(0.1)),
        DataError,
        "a list",
    ),
    "smoothing, list": (
        lambda: smoothed().certify(X.tolist(), Y),
        DataError,
        "inputs in a list; expected a tensor.*as_tensor",
    ),
    "smoothing, labels": (
        lambda: smoothed().certify(X, [0, 0, 0]),
        DataError,
        "labels in a list; expected a tensor",
    ),
    "smoothing, threat": (lambda: smoothed().certify(X, Y, 0.1), SettingError, "proves L2 balls; got 0.1"),
    "smoothing, ids": (
        lambda: smoothed().certify(X, Y, ids=[0, 1, 2]),
        DataError,
        "ids in a list; expected a tensor.*as_tensor",
    ),
    "prediction, list": (
        lambda: smoothed().predict(X.tolist()),
        DataError,
        "inputs in a list; expected a tensor",
    ),
    "a bare net": (
        lambda: smoothed(net()),
        ModelError,
        r"a Sequential; expected a model: SmoothedClassifier\(Classifier\(net\), 0\.25\)",
    ),
}


@pytest.mark.parametrize(("ask", "error", "told"), WRONG.values(), ids=WRONG)
def test_wrong_types_are_named_with_what_to_give(ask, error, told):
    with pytest.raises(error, match=told):
        ask()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("how", ["scripted", "traced", "inside"])
def test_a_compiled_program_is_refused_with_what_to_do(how):
    made = torch.jit.trace(net(), X) if how == "traced" else torch.jit.script(net())
    made = nn.Sequential(made).eval() if how == "inside" else made
    with pytest.raises(
        ModelError,
        match=r"scripted or traced.*expected the torch\.nn\.Module that it was made from.*load_state_dict",
    ):
        IntervalBounds()(Classifier(made), X, Y, Linf(0.1))


class Body(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.layer, self.body = nn.Linear(2, 2), body

    def forward(self, x):
        return self.body(1 + self.layer(x).abs(), x)


BY_THE_BATCH = {
    "len(x)": lambda z, x: z * len(x),
    "len of a value": lambda z, _: z * len(z),
    "shape": lambda z, x: z * x.shape[0],
    "size() less one": lambda z, x: z + (x.size(0) - 1.0),
    "as a float": lambda z, x: z * float(x.shape[0]),
    "a mean over the batch": lambda z, _: z - z.mean(0),
}


@pytest.mark.parametrize("body", BY_THE_BATCH.values(), ids=BY_THE_BATCH)
def test_what_answers_by_its_batch_is_refused_by_bounds_and_by_smoothing(body):
    model = Classifier(Body(body).eval())
    with pytest.raises(ModelError):
        IntervalBounds()(model, X, Y, Linf(0.01))
    for ask in (
        lambda: smoothed(model).certify(X, Y, L2(0.1)),
        lambda: smoothed(model).predict(X, noise_samples=50),
    ):
        with pytest.raises(ModelError, match=r"alone than in a batch of 6 .*at random"):
            ask()


def test_len_in_a_forward_is_named():
    with pytest.raises(
        ModelError, match=r"asks for a len\(\), such as len\(x\), the batch size.*x\.flatten\(1\)"
    ):
        IntervalBounds()(Classifier(Body(BY_THE_BATCH["len(x)"]).eval()), X, Y, Linf(0.01))


def test_random_answers_and_black_boxes_that_answer_by_the_batch_are_refused_by_smoothing():
    drops = Classifier(Body(lambda z, _: F.dropout(z, 0.5, training=True)).eval())
    counts = BlackBox(lambda x: (x * len(x)).astype("float32") + 1, num_classes=2)
    for model in (drops, counts):
        with pytest.raises(ModelError, match="alone than in a batch of 6 "):
            smoothed(model).certify(X, Y)
