"""Each flaw that is planted is found, and a sound model has none."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from quintain.models import BlackBox, Classifier, Normalize, check_model

GENERATOR = torch.Generator().manual_seed(0)
X = torch.rand(200, 3, 4, 4, generator=GENERATOR)
Y = (X.flatten(1).mean(1) > 0.5).long()


@dataclass
class Examples:
    x: torch.Tensor = X
    y: torch.Tensor = Y
    num_classes: int = 2

    @property
    def labels(self):
        return self.y.numpy()

    def batch(self, ids):
        return self.x[ids], self.y[ids]


class Program(nn.Module):
    """A net from a function of its input; the sound one compares the mean with a half."""

    def __init__(self, change=lambda logits, x: logits, mean=0.5, scale=20.0):
        super().__init__()
        self.change = change
        self.mean = mean
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        z = self.scale * (x.flatten(1).mean(1) - self.mean)
        return self.change(torch.stack((-z, z), 1), x)


def findings(net: nn.Module, data=None, **settings) -> dict[str, tuple[str, str]]:
    settings.setdefault("num_classes", None)
    found = check_model(Classifier(net.eval(), **settings), data or Examples())
    return {finding.name: (finding.level, finding.message) for finding in found}


def test_a_sound_model_is_sound():
    found = findings(Program())
    assert {level for level, _ in found.values()} == {"ok"}
    assert list(found) == ["mode", "weights", "output", "determinism", "batches", "gradient", "inputs"]
    assert "right on 100% of 64 samples" in found["inputs"][1]


def test_the_model_is_left_as_it_was():
    net = Program().eval()
    findings(net)
    assert net.scale.grad is None
    assert net.scale == 20
    assert not net.training


def test_samples_are_taken_from_all_of_the_data():
    order = Y.argsort()
    asked = []

    class Sorted(Examples):
        def batch(self, ids):
            asked.append(ids)
            return super().batch(ids)

    findings(Program(), Sorted(X[order], Y[order]))
    assert len(asked[0]) == 64
    assert (asked[0][0], asked[0][-1]) == (0, 199)
    assert set(Y[order][asked[0]].tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("change", "name", "level", "message"),
    [
        (lambda z, x: z * torch.nan, "output", "error", "NaN or infinite logits for 64 of 64"),
        (
            lambda z, x: torch.where(x.flatten(1)[:, :1] > 0.5, torch.inf, z),
            "output",
            "error",
            "NaN or infinite",
        ),
        (lambda z, x: z.sum(), "output", "error", "returns shape"),
        (
            lambda z, x: torch.cat((z, z[:, :1] - 9), 1),
            "output",
            "note",
            "3 logits a sample, and the data have 2",
        ),
        (lambda z, x: z.softmax(1), "output", "warning", "outputs are probabilities"),
        (lambda z, x: torch.cat((z, z), 1).softmax(1), "output", "warning", "outputs are probabilities"),
        (
            lambda z, x: z[:, :1].sigmoid(),
            "output",
            "warning",
            "one output, always in [0, 1]: a probability?",
        ),
        (lambda z, x: z + torch.rand_like(z), "determinism", "warning", "differ by"),
        (lambda z, x: z - z.mean(0), "batches", "error", "with the rest of its batch"),
        (lambda z, x: z.view(64, 2) if len(z) == 64 else None, "batches", "error", "a batch of one fails"),
        (lambda z, x: z.detach(), "gradient", "warning", "no gradient reaches the input"),
        (lambda z, x: z.round(), "gradient", "warning", "exactly zero for 64 of 64"),
        (lambda z, x: (z - z).sqrt() + z, "gradient", "warning", "NaN or infinite entries"),
        (lambda z, x: -z, "inputs", "note", "no better than a constant"),
    ],
)
def test_each_flaw_is_found(change, name, level, message):
    found = findings(Program(change))[name]
    assert found[0] == level
    assert message in found[1]


@pytest.mark.parametrize(
    ("access", "output", "said"),
    [
        ("scores", lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True), "2 finite scores a sample"),
        ("labels", lambda z: z.argmax(1), "one of 2 labels a sample"),
    ],
)
def test_a_black_box_may_give_probabilities_and_labels(access, output, said):
    box = BlackBox(
        lambda x: output(np.stack((np.zeros(len(x)), x.reshape(len(x), -1).mean(1) - 0.5), 1)),
        access=access,
        num_classes=2,
    )
    found = {finding.name: (finding.level, finding.message) for finding in check_model(box, Examples())}
    assert found["output"] == ("ok", said)


def test_too_few_logits_are_an_error():
    assert findings(Program(), Examples(num_classes=3))["output"][0] == "error"
    assert findings(Program(), num_classes=3)["output"] == (
        "error",
        "model returns 2 logits an example; expected 3 or more, one a class; if the labels are 1 .. 2, "
        "subtract 1 from them",
    )


@pytest.mark.parametrize(
    ("scale", "named"),
    [
        (lambda x: 2 * x - 1, "inputs"),
        (lambda x: 255 * x, "inputs in 0 .. 255"),
        (Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), "inputs"),
    ],
)
def test_normalisation_outside_the_model_is_guessed(scale, named):
    net = Program(mean=float(scale(X).flatten(1).mean(1).median()))
    outside = findings(net)["inputs"]
    assert outside[0] == "warning"
    assert "put that scaling inside the model" in outside[1]
    assert named in outside[1]

    class Inside(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(scale(x))

    assert findings(Inside())["inputs"][0] == "ok"


def test_training_mode():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 2))
    found = {finding.name: finding for finding in check_model(Classifier(net.train()), Examples())}
    assert found["mode"].level == "error"
    assert "training mode" in found["output"].message
    allowed = {
        finding.name: finding.level
        for finding in check_model(Classifier(net.train(), allow_train_mode=True), Examples())
    }
    assert (allowed["mode"], allowed["determinism"]) == ("warning", "warning")


def test_broken_and_short_weights():
    assert findings(Program(scale=float("nan")))["weights"][0] == "error"
    assert "scale" in findings(Program(scale=float("inf")))["weights"][1]
    assert findings(Program().half())["weights"][0] == "note"


def test_an_input_that_does_not_fit_is_a_finding():
    found = findings(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)))
    assert found["output"][0] == "error"
    assert "shape (64, 3, 4, 4)" in found["output"][1]


def test_vectors_and_few_samples():
    x = torch.rand(7, 5, generator=torch.Generator().manual_seed(1))
    net = nn.Sequential(nn.Linear(5, 2))
    found = findings(net, Examples(x, torch.tensor([0, 1, 0, 1, 0, 1, 0])))
    assert found["output"][0] == "ok"
    assert "of 7 samples" in found["inputs"][1]
    assert np.isin("gradient", list(found))


def test_a_net_that_takes_inputs_in_0_to_1_alone_is_sound():
    def picky(logits, x):
        if x.min() < 0 or x.max() > 1:
            raise ValueError("expected inputs in [0, 1]")
        return logits

    level, message = findings(Program(picky))["inputs"]
    assert level == "ok"
    assert "right on 100% of 64 samples" in message
    assert "not measured on inputs in [-1, 1], inputs in 0 .. 255, standardized inputs" in message


def test_a_scale_that_a_net_takes_is_guessed_though_it_fails_on_others():
    def picky(logits, x):
        if x.min() < 0:
            raise ValueError("expected positive inputs")
        return logits

    level, message = findings(Program(picky, mean=float(255 * X.flatten(1).mean(1).median())))["inputs"]
    assert level == "warning"
    assert "on inputs in 0 .. 255" in message
    assert "not measured on inputs in [-1, 1]" in message
