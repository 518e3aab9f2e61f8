"""Threats as text, and examples and labels as NumPy arrays, give what threats and tensors give."""

import numpy as np
import pytest
import torch

import quintain as q
from quintain.core.errors import DataError, ModelError, SettingError, UnknownNameError


@pytest.fixture(scope="module")
def model():
    net = torch.nn.Linear(6, 3)
    with torch.no_grad():
        net.weight.copy_(torch.arange(18.0).reshape(3, 6).sin())
        net.bias.zero_()
    return q.Classifier(net.eval())


X = (torch.arange(24.0).reshape(4, 6).cos() + 1) / 2
Y = torch.tensor([0, 1, 2, 0])
THREAT = q.Linf(1 / 16)


def same(left, right):
    return torch.equal(left.adversarial, right.adversarial) and torch.equal(left.success, right.success)


@pytest.mark.parametrize("labels", [np.int8, np.int32, np.int64, np.uint8])
def test_an_attack_takes_text_and_arrays(model, labels):
    wanted = q.attacks.PGD()(model, X, Y, THREAT, seed=1)
    assert same(q.attacks.PGD()(model, X.numpy(), Y.numpy().astype(labels), "linf:0.0625", seed=1), wanted)


ORDERS = {
    "NumPy's own": lambda x: x.astype(np.float64),
    "half": lambda x: x.astype(np.float16).astype(np.float32).astype(np.float16),
    "upside down": lambda x: x[::-1].copy()[::-1],
    "columns first": np.asfortranarray,
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


@pytest.fixture(scope="module")
def of_tensors(model):
    """What PGD and the one call find for tensors, of a classifier and of its bare net."""
    x = X.half().float()
    return {
        bare: (q.attacks.PGD()(net, x, Y, THREAT, seed=1), q.attack(net, x, Y, THREAT))
        for bare, net in ((False, model), (True, model.net))
    }


@pytest.mark.parametrize("how", ORDERS)
@pytest.mark.parametrize("bare", [True, False])
def test_arrays_of_any_type_and_order_give_what_tensors_of_the_net_give(model, of_tensors, how, bare):
    x, y = X.half().float(), Y.numpy()
    labels = y if "half" in how or "own" in how else ORDERS[how](y)
    net, bounds = model.net if bare else model, q.certify.IntervalBounds()
    wanted, strongest = of_tensors[bare]
    found = q.attacks.PGD()(net, ORDERS[how](x.numpy()), labels, THREAT, seed=1)
    assert same(found, wanted)
    assert found.adversarial.dtype == torch.float32
    assert same(q.attack(net, ORDERS[how](x.numpy()), labels, THREAT), strongest)
    assert torch.equal(model(ORDERS[how](x.numpy())).float(), model(x))
    margin = bounds(model, ORDERS[how](x.numpy()), labels, THREAT).margin
    assert torch.equal(margin, bounds(model, x, Y, THREAT).margin)


def test_bounds_of_a_bare_net_name_the_model_that_they_expect(model):
    with pytest.raises(ModelError, match=r"a Linear; expected a model: IntervalBounds\(\)\(Class"):
        q.certify.IntervalBounds()(model.net, X, Y, THREAT)


def test_targets_may_be_an_array(model):
    targets = (Y + 1) % 3
    wanted = q.attacks.PGD()(model, X, Y, THREAT, targets=targets)
    assert same(q.attacks.PGD()(model, X, Y, THREAT, targets=targets.numpy()), wanted)


def test_the_one_call_takes_arrays(model):
    assert same(q.attack(model, X.numpy(), Y.numpy(), "linf:0.0625"), q.attack(model, X, Y, THREAT))


def test_certifiers_take_text_and_arrays(model):
    bounds = q.certify.IntervalBounds()
    wanted = bounds(model, X, Y, THREAT)
    assert torch.equal(bounds(model, X.numpy(), Y.numpy(), "linf:0.0625").margin, wanted.margin)
    smoothed = q.certify.SmoothedClassifier(model, sigma=0.25, noise_samples=100)
    wanted = smoothed.certify(X, Y, q.L2(0.1))
    assert torch.equal(smoothed.certify(X.numpy(), Y.numpy(), "l2:0.1").margin, wanted.margin)
    assert torch.equal(smoothed.predict(X.numpy()), smoothed.predict(X))


def test_a_classifier_takes_arrays(model):
    assert torch.equal(model(X.numpy()), model(X))
    assert torch.equal(model.predict(X.numpy()), model.predict(X))


@pytest.mark.parametrize("defense", [q.harden.PGDTraining, q.harden.IBPTraining])
def test_a_defense_takes_text(defense):
    assert defense("linf:0.0625") == defense(THREAT)
    with pytest.raises(UnknownNameError, match="Did you mean linf"):
        defense("limf:0.1")


def test_universal_attacks_take_text_and_arrays(model):
    data = q.data.from_arrays(X.numpy(), Y.numpy())
    uap, pair = q.attacks.UAP(steps=3, batch_size=2), (X.numpy(), Y.numpy())
    wanted, found = uap.fit(model, data, THREAT), uap.fit(model, pair, "linf:0.0625")
    assert torch.equal(found.perturbation, wanted.perturbation)
    assert found.fitted_on == wanted.fitted_on
    others = (1 - X.numpy(), Y.numpy())
    assert q.attacks.success_rate(model, others, found) == q.attacks.success_rate(
        model, q.data.from_arrays(*others), wanted
    )


@pytest.mark.parametrize(
    "attack", [q.attacks.AdversarialPatch, q.attacks.Eyeglasses, q.attacks.Phantom, q.attacks.SignStickers]
)
def test_attacks_on_images_take_arrays(attack):
    model = q.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 2)).eval())
    x = np.random.default_rng(0).random((4, 1, 32, 32), dtype=np.float32)
    y, settings = np.array([0, 1, 0, 1]), {"steps": 1, "batch_size": 2}
    wanted = attack(**settings).fit(model, q.data.from_arrays(x, y))
    assert torch.equal(attack(**settings).fit(model, (x, y)).pattern, wanted.pattern)


def test_an_array_is_not_written_to_and_may_be_read_only(model):
    x = X.numpy().copy()
    x.flags.writeable = False
    q.attacks.FGSM()(model, x, Y.numpy(), "linf:0.5")
    assert np.array_equal(x, X.numpy())


@pytest.mark.parametrize(
    ("x", "y", "threat", "error", "told"),
    [
        ((X * 255).byte().numpy(), Y, "linf:0.1", DataError, "divide 8-bit images by 255"),
        (X, Y.numpy().astype(float), "linf:0.1", DataError, "torch.int64"),
        (X, Y, "limf:0.1", UnknownNameError, "Did you mean linf"),
        (X, Y, "linf", SettingError, "has no size"),
        (X.tolist(), Y, "linf:0.1", DataError, "list"),
    ],
)
def test_what_is_wrong_is_said(model, x, y, threat, error, told):
    with pytest.raises(error, match=told):
        q.attacks.PGD()(model, x, y, threat)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"certified": [False] * 4}, r"certified in a list; expected a tensor \(4,\) of torch.bool"),
        ({"certified": torch.zeros(3, dtype=torch.bool)}, r"certified of shape \(3,\) and torch.bool"),
        ({"targets": [1, 2, 1, 2]}, r"torch.as_tensor\(targets\)"),
        ({"targets": torch.tensor([1, 2, 1, 7])}, "targets range from 1 to 7; expected 0 to 2"),
        ({"targets": torch.tensor([1, 2, 1, -1])}, "targets range from -1 to 2; expected 0 to 2"),
    ],
)
def test_targets_and_certified_that_do_not_fit_are_said(model, arguments, told):
    with pytest.raises(DataError, match=told):
        q.attacks.PGD()(model, X, Y, THREAT, **arguments)
