"""A classifier adapts, refuses, and leaves its net alone."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from quintain.attacks import PGD
from quintain.core.errors import ModelError, SettingError
from quintain.models import Classifier, check_model, mlp, xray_cnn
from quintain.threats import Linf

X = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class Returns(nn.Module):
    """Returns what it is told to, whatever comes in."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, x):
        return self.output(x)


def returning(output, **settings) -> Classifier:
    return Classifier(Returns(output).eval(), **settings)


def test_logits_are_those_of_the_net():
    net = xray_cnn().eval()
    model = Classifier(net, num_classes=2)
    assert torch.equal(model(X), net(X))
    assert torch.equal(model.predict(X), net(X).argmax(1))
    assert not model.predict(X).requires_grad
    assert model.access == "gradients"


def test_the_number_of_classes_is_given_or_seen():
    assert Classifier(mlp().eval(), num_classes=2).num_classes == 2
    model = Classifier(mlp(num_classes=7).eval())
    with pytest.raises(ModelError, match="number of classes of model is not known yet"):
        _ = model.num_classes
    model(X)
    assert model.num_classes == 7
    more = Classifier(mlp(num_classes=7).eval(), num_classes=3)
    assert more.num_classes == 3
    assert more(X).shape == (5, 7)
    assert more.num_classes == 7


def test_the_gradient_reaches_the_input_and_the_net_is_untouched():
    net = xray_cnn().eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    z = X.clone().requires_grad_()
    torch.autograd.grad(Classifier(net)(z).sum(), z)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.training


def test_a_net_that_writes_into_its_input_writes_into_a_copy():
    writing = returning(lambda x: x.sub_(0.5).div_(0.25).flatten(1)[:, :3])
    z = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(writing(z)[:, 0].sum(), z)
    assert slope.sum() == 4 * len(X)
    with torch.inference_mode():
        x = X.clone()
        assert torch.equal(writing(x), writing(x))
    assert torch.equal(x, X)
    y = writing.predict(X)
    data = SimpleNamespace(labels=y.numpy(), num_classes=3, batch=lambda ids: (X[ids], y[ids]))
    assert {finding.level for finding in check_model(writing, data)} <= {"ok", "warning", "note"}
    outcome = PGD(steps=2)(writing, X, y, Linf(0.1))
    assert torch.equal(writing.predict(outcome.adversarial) != y, outcome.success)


def test_logits_stay_what_they_were_when_a_net_fills_its_buffer_again():
    class Filling(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("logits", torch.zeros(5, 2))

        def forward(self, x):
            return self.logits.copy_(x.flatten(1)[:, :2])

    model = Classifier(Filling().eval())
    with torch.no_grad():
        first, second = model(X), model(1 - X)
    assert torch.equal(first, X.flatten(1)[:, :2])
    assert torch.equal(second, (1 - X).flatten(1)[:, :2])


def test_a_double_net_takes_single_inputs_and_back():
    model = Classifier(mlp().double().eval())
    assert model.dtype == torch.float64
    z = X.clone().requires_grad_()
    logits = model(z)
    assert logits.dtype == torch.float64
    assert torch.autograd.grad(logits.sum(), z)[0].dtype == torch.float32


def test_a_net_without_weights_has_a_type_and_a_place():
    model = returning(lambda x: x.flatten(1)[:, :2])
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)
    assert model(X.double()).dtype == torch.float64


def test_nan_logits_are_passed_on():
    assert returning(lambda x: x.flatten(1)[:, :2] * torch.nan)(X).isnan().all()


def test_training_mode_is_refused_anywhere_in_the_net_unless_allowed():
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 2)).eval()
    net[1].train()
    with pytest.raises(ModelError, match=r"training mode; call net.eval\(\)"):
        Classifier(net)(X)
    assert Classifier(net, allow_train_mode=True)(X).shape == (5, 2)
    assert net[1].training


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (
            Classifier(xray_cnn().eval()),
            X[:, :, :20],
            r"fails on an input of shape \(5, 1, 20, 28\): RuntimeError.*data of shape \(20, 28\) are "
            r"read as one gray picture \(1, 20, 28\); if they are signals, x.squeeze\(1\)",
        ),
        (Classifier(xray_cnn().eval()), X.expand(5, 3, 28, 28), r"shape \(5, 3, 28, 28\)"),
        (Classifier(xray_cnn().eval()), X.long(), "type torch.int64; expected a batch of floating-point"),
        (Classifier(xray_cnn().eval()), X[0, 0, 0], r"shape \(28,\)"),
        (Classifier(xray_cnn().eval(), num_classes=3), X, "2 logits an example; expected 3"),
        (
            returning(lambda x: x.flatten(1)[:, :1], num_classes=3),
            X,
            "one logit an example; expected 3 or more, one a class",
        ),
        (returning(lambda x: x.missing), X, "AttributeError"),
        (returning(lambda x: None), X, "returns NoneType"),
        (returning(lambda x: x), X, r"returns shape \(5, 1, 28, 28\) for 5 examples"),
    ],
)
def test_what_does_not_fit_is_refused(model, x, message):
    with pytest.raises(ModelError, match=message):
        model(x)


def test_a_net_that_changes_its_mind_about_classes_is_refused():
    model = returning(lambda x: x.flatten(1)[:, : len(x)])
    assert model(X[:2]).shape == (2, 2)
    with pytest.raises(ModelError, match="3 logits an example; expected 2"):
        model(X[:3])


def test_only_nets_with_two_classes_or_more_are_classifiers():
    with pytest.raises(ModelError, match=r"a function; expected a torch\.nn\.Module"):
        Classifier(lambda x: x)
    with pytest.raises(SettingError, match="num_classes = 1"):
        Classifier(mlp(), num_classes=1)


def test_the_hash_is_that_of_the_net_as_it_is_now():
    net = mlp().eval()
    model = Classifier(net)
    before = model.hash
    assert before == Classifier(mlp().eval(), name="another name", num_classes=2).hash
    with torch.no_grad():
        net[1].bias[0] += 1
    assert model.hash != before
