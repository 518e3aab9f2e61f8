"""Models of which only the answers are seen, from Python functions to whole attacks."""

import sys

import numpy as np
import pytest
import torch

from quintain.attacks import PGD, HopSkipJump, RayS
from quintain.certify import IntervalBounds
from quintain.core.errors import ModelError, NotFoundError, SettingError
from quintain.evaluate.model import clean_counts, named_model, predictions
from quintain.models import BlackBox, check_model, load_classifier, load_model
from quintain.threats import L2, Linf

WEIGHTS = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)


def scored(x):
    return (x.reshape(len(x), -1) - 0.5) @ WEIGHTS


def labelled(x):
    return scored(x).argmax(1)


class Data:
    """Nine pixels, the labels that the function itself gives."""

    num_classes = 3

    def __init__(self):
        self.x = torch.rand(20, 1, 3, 3, generator=torch.Generator().manual_seed(1))
        self.labels = labelled(self.x.numpy())

    def batch(self, ids):
        return self.x[ids], torch.from_numpy(self.labels[ids])

    def batches(self, size):
        for start in range(0, len(self.x), size):
            yield (
                self.x[start : start + size],
                torch.from_numpy(self.labels[start : start + size]),
                torch.arange(start, start + size),
            )


def test_scores_come_through_as_they_are():
    model = BlackBox(scored)
    x = torch.rand(5, 1, 3, 3)
    assert torch.equal(model(x), torch.from_numpy(scored(x.numpy())))
    assert torch.equal(model.predict(x), torch.from_numpy(labelled(x.numpy())))
    assert (model.access, model.num_classes, model.num_parameters, model.device.type, model.dtype) == (
        "scores",
        3,
        0,
        "cpu",
        torch.float32,
    )


def test_labels_become_rows_of_zeros_and_one():
    model = BlackBox(labelled, access="labels", num_classes=3)
    x = torch.rand(5, 1, 3, 3)
    assert torch.equal(
        model(x), torch.nn.functional.one_hot(torch.from_numpy(labelled(x.numpy())), 3).float()
    )
    assert not model(x.requires_grad_()).requires_grad


def test_a_function_sees_float32_whatever_was_given():
    seen = []

    def look(x):
        seen.append((x.dtype, x.shape, x.flags.c_contiguous))
        return scored(x)

    BlackBox(look)(torch.rand(2, 3, 3, 1, dtype=torch.float64).permute(0, 3, 1, 2))
    assert seen == [(np.float32, (2, 1, 3, 3), True)]


def test_a_function_that_writes_into_its_array_writes_into_a_copy():
    def halved(x):
        x *= 0.5
        return scored(x)

    x = torch.rand(5, 1, 3, 3)
    before = x.clone()
    assert torch.equal(BlackBox(halved)(x), BlackBox(halved)(x))
    assert torch.equal(x, before)


def test_a_list_will_do_and_nan_is_passed_on():
    model = BlackBox(lambda x: [[0.5, float("nan")]] * len(x))
    assert model(torch.rand(2, 4)).isnan().any(1).all()


def test_more_scores_than_classes_are_fine_and_nothing_is_asked_for_no_inputs():
    asked = []

    def predict(x):
        asked.append(len(x))
        return np.zeros((len(x), 5))

    model = BlackBox(predict, num_classes=3)
    assert model(torch.rand(0, 1, 2, 2)).shape == (0, 3)
    assert model(torch.rand(2, 1, 2, 2)).shape == (2, 5)
    assert model(torch.rand(0, 1, 2, 2)).shape == (0, 5)
    assert model.num_classes == 5
    assert asked == [2]


@pytest.mark.parametrize(
    ("answer", "settings", "message"),
    [
        (lambda x: np.zeros(len(x)), {}, r"from one probability p make \(1 - p, p\)"),
        (lambda x: np.zeros((len(x), 1)), {}, r"from one probability p make \(1 - p, p\)"),
        (lambda x: np.zeros(len(x), int), {}, "for labels say access='labels'"),
        (lambda x: np.zeros((1, 3)), {}, r"gives shape \(1, 3\) and type float64 for 2 inputs"),
        (lambda x: np.zeros((len(x), 2)), {"num_classes": 3}, "gives 2 scores an input; expected 3 or more"),
        (
            lambda x: np.zeros((len(x), 3)),
            {"access": "labels", "num_classes": 3},
            r"expected integer labels of shape \(2,\)",
        ),
        (
            lambda x: np.full(len(x), 3),
            {"access": "labels", "num_classes": 3},
            "gives labels from 3 to 3; expected 0 to 2",
        ),
        (lambda x: 1 / 0, {}, "fails on an input of shape .*ZeroDivisionError"),
    ],
)
def test_answers_that_are_none_are_refused(answer, settings, message):
    with pytest.raises(ModelError, match=message):
        BlackBox(answer, **settings)(torch.rand(2, 4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"access": "gradients"}, "wrap a torch.nn.Module in Classifier"),
        ({"access": "labels"}, "give num_classes="),
        ({"num_classes": 1}, "expected at least 2"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(SettingError, match=message):
        BlackBox(scored, **settings)


def test_classes_are_not_known_before_the_first_answer():
    with pytest.raises(ModelError, match="not known yet"):
        BlackBox(scored).num_classes  # noqa: B018


def test_integers_as_inputs_are_refused():
    with pytest.raises(ModelError, match="floating-point examples"):
        BlackBox(scored)(torch.zeros(2, 9, dtype=torch.long))


def test_the_hash_follows_the_functions_source():
    def other(x):
        return -scored(x)

    assert BlackBox(scored).hash == BlackBox(scored).hash
    assert BlackBox(scored).hash != BlackBox(other).hash
    assert BlackBox(scored, hash="ab").hash == "ab"


def test_an_attack_by_labels_breaks_what_gives_labels_alone():
    data = Data()
    model = BlackBox(labelled, access="labels", num_classes=3)
    x, y = data.batch(np.arange(20))
    for attack, threat in ((HopSkipJump(queries=200), L2(3.0)), (RayS(queries=200), Linf(0.9))):
        outcome = attack(model, x, y, threat)
        assert outcome.success.float().mean() > 0.8
        assert (model.predict(outcome.adversarial) != y)[outcome.success].all()
        assert (outcome.backwards == 0).all()


@pytest.mark.parametrize("access", ["scores", "labels"])
def test_a_gradient_attack_is_refused_and_told_which_attacks_can(access):
    model = BlackBox(scored if access == "scores" else labelled, access=access, num_classes=3)
    with pytest.raises(
        ModelError,
        match=rf"pgd needs gradients, and the model gives {access} only. Attacks that can: .*hopskipjump",
    ):
        PGD()(model, torch.rand(2, 1, 3, 3), torch.zeros(2, dtype=torch.long), Linf(0.1))


def test_nothing_can_be_proved_of_it():
    with pytest.raises(ModelError, match="read the layers of a Classifier; got a BlackBox"):
        IntervalBounds()(
            BlackBox(scored), torch.rand(2, 1, 3, 3), torch.zeros(2, dtype=torch.long), Linf(0.1)
        )


def test_it_is_a_subject_without_weights():
    data = Data()
    model = BlackBox(labelled, access="labels", num_classes=3)
    subject = named_model(model, "model", "a function")
    assert subject.file.num_parameters == 0
    assert (predictions(model, data, batch_size=7) == data.labels).all()
    assert clean_counts(model, data).correct == tuple(np.bincount(data.labels, minlength=3))


def test_a_check_says_what_is_not_seen():
    findings = {finding.name: finding for finding in check_model(BlackBox(scored), Data())}
    assert "a black box that gives scores" in findings["weights"].message
    assert findings["determinism"].level == findings["batches"].level == "ok"
    assert not {"mode", "gradient"} & set(findings)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "asked.py"
    path.write_text(
        "import numpy as np\nimport torch\nfrom beside import BIAS\n"
        "def scored(x):\n    return np.stack([x.sum((1, 2, 3)), x.sum((1, 2, 3)) * 0 + BIAS], 1)\n"
        "def labelled(x):\n    return scored(x).argmax(1)\n"
        "net = torch.nn.Linear(2, 2)\nnumber = 3\n"
    )
    (tmp_path / "beside.py").write_text("BIAS = 4.5\n")
    yield path
    sys.modules.pop("beside", None)


def test_what_keeps_its_answers_cannot_be_seen_to_vary():
    findings = {finding.name: finding for finding in check_model(BlackBox(scored, cached=True), Data())}
    assert findings["determinism"].level == "note"
    assert "batches" not in findings


def test_functions_of_a_file_are_loaded_by_what_they_give(file, tmp_path):
    scores, labels = load_model(f"scores:{file}:scored"), load_model(f"labels:{file}:labelled", num_classes=2)
    x = torch.rand(4, 1, 3, 3)
    assert torch.equal(scores.predict(x), labels.predict(x))
    assert (scores.access, labels.access) == ("scores", "labels")
    moved = tmp_path / "moved.py"
    moved.write_text(file.read_text())
    assert scores.hash == load_model(f"scores:{moved}:scored").hash != labels.hash
    moved.write_text(file.read_text() + "\n")
    assert scores.hash != load_model(f"scores:{moved}:scored").hash


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("scores:{}:net", ModelError, "is no function of arrays; for a torch.nn.Module leave out 'scores:'"),
        ("scores:{}:number", ModelError, "is no function of arrays"),
        ("scores:{}:absent", NotFoundError, "has no 'absent'; it has labelled, scored"),
        ("labels:{}", SettingError, "names no function; expected labels:path/to/file.py:function"),
        ("labels:{}x.py:f", NotFoundError, "there is no file"),
    ],
)
def test_what_is_no_function_is_refused(file, spec, error, message):
    with pytest.raises(error, match=message):
        load_model(spec.format(file), num_classes=2)


def test_weights_for_what_is_only_asked_and_training_of_it_are_refused(file):
    with pytest.raises(SettingError, match=r"takes no weights; leave w\.safetensors out"):
        load_model(f"scores:{file}:scored", "w.safetensors")
    with pytest.raises(SettingError, match=r"this needs a torch\.nn\.Module"):
        load_classifier(f"scores:{file}:scored")
