"""Every command takes every kind of model, or says in one line why it does not."""

import numpy as np
import pytest

NETS = """
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class Net(nn.Module):
    def __init__(self, inputs=36, classes=3, pack=lambda z, h: z, before=lambda x: x):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, 4), nn.Linear(4, classes)
        self.pack, self.before = pack, before

    def forward(self, x):
        hidden = torch.relu(self.first(self.before(x).flatten(1)))
        return self.pack(self.last(hidden), hidden)


def tensor(num_classes, channels, size):
    return Net(channels * size * size, num_classes)


def vectors(num_classes):
    return Net(5, num_classes)


def packed_tuple():
    return Net(pack=lambda z, h: (z, h))


def packed_dict():
    return Net(pack=lambda z, h: {"hidden": h, "logits": z})


def packed_object():
    return Net(pack=Output)


def one_logit():
    return Net(classes=1)


def one_flat_logit():
    return Net(classes=1, pack=lambda z, h: z.squeeze(1))


def more_logits():
    return Net(classes=7)


def fewer_logits():
    return Net(classes=2)


def writing():
    return Net(before=lambda x: x.sub_(0.5).div_(0.25))


def resizing():
    return Net(inputs=64, before=lambda x: F.interpolate(x, size=(8, 8), mode="bilinear"))


def double():
    return Net().double()


class Embedded(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(16, 4), nn.Linear(144, 3)

    def forward(self, x):
        return self.last(self.table((x.flatten(1) * 15).round().long()).flatten(1))


class Normalized(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(channels, 3, 3), nn.BatchNorm2d(3)
        self.last = nn.Linear(3, classes)

    def forward(self, x):
        return self.last(self.norm(self.convolution(x)).relu().mean((2, 3)))


def scripted():
    return torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)))


def normalized(channels, num_classes):
    return Normalized(channels, num_classes)


WEIGHTS = np.random.default_rng(0).normal(size=(36, 3)).astype(np.float32)


def scores(x):
    return x.reshape(len(x), -1) @ WEIGHTS


def labels(x):
    return scores(x).argmax(1)
"""


COMMANDS = {
    "check": (),
    "attack": ("--attack", "fgsm", "--limit", 4),
    "certify": ("--limit", 4),
    "evaluate": ("--limit", 2),
    "harden": ("--defense", "pgd-at", "--epochs", 1),
    "privatize": ("--batch-size", 10, "--steps", 2),
    "federate": ("--sites", 3, "--rounds", 1, "--epochs", 1),
    "leak": ("--steps", 2),
    "audit": ("--batch-size", 10, "--steps", 2, "--canaries", 20),
}

NETS_AND_DATA = {
    "tensor": "gray",
    "packed_tuple": "gray",
    "packed_dict": "gray",
    "packed_object": "gray",
    "one_logit": "two",
    "one_flat_logit": "two",
    "more_logits": "gray",
    "writing": "gray",
}
"""Nets that every command takes, and what they are tried on."""

OTHER_NETS = {"vectors": "vectors", "normalized": "color", "resizing": "gray", "double": "gray"}
"""Nets that some commands refuse."""

SHAPES = {"gray": ((6, 6), 3), "color": ((6, 6, 3), 3), "two": ((6, 6), 2), "vectors": ((5,), 3)}
"""The data sets: shape and number of classes."""

REFUSED = {
    ("vectors", "leak"): "expected more than 5 gray or RGB pictures",
    ("normalized", "privatize"): "BatchNorm mixes the examples of a batch: use GroupNorm",
    ("normalized", "audit"): "BatchNorm mixes the examples of a batch: use GroupNorm",
    ("normalized", "federate"): "replace BatchNorm by GroupNorm",
    ("resizing", "certify"): "'interpolate' (interpolate) has no bound rule",
    **{
        ("double", command): "in torch.float64; expected float32 to train in: return net.float()"
        for command in ("harden", "privatize", "federate", "leak", "audit")
    },
}
"""What the nets of other kinds are refused for, by command; any other command takes them."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the nets and data sets of each shape."""
    place = tmp_path_factory.mktemp("models")
    (place / "nets.py").write_text(NETS)
    for name, (shape, classes) in SHAPES.items():
        rng, arrays = np.random.default_rng(0), {}
        for split, count in (("train", 120), ("test", 12)):
            arrays[f"{split}_labels"] = np.arange(count) % classes
            arrays[f"{split}_images"] = rng.random((count, *shape)).astype(np.float32)
        np.savez(place / f"{name}.npz", **arrays)
    return place


@pytest.fixture
def run(call, folder):
    """Run a command on a model and a data set; gives the exit code and what it said."""

    def told(command, model, data, *words, attack="fgsm"):
        own = [attack if word == "fgsm" else word for word in COMMANDS[command]]
        return call(command, "--model", model, "--data", folder / f"{data}.npz", *own, *words)

    return told


SHOWN = ("check", "attack", "privatize")
"""Commands that meet each form of outputs; the others meet them in the exhaustive run."""

ALIKE = ("tensor", "packed_tuple", "packed_dict", "one_flat_logit")
"""Forms of which the other commands meet another: a packed object, one logit; a plain tensor is met in the
tests of each command.
"""


def cases(nets, *, audited):
    """Every net with every command; most audits, which take seconds, only in the exhaustive run."""
    slow = {(net, "audit") for net in nets if net not in audited}
    slow |= {(net, one) for net in ALIKE for one in COMMANDS if one not in SHOWN}
    pairs = [(net, command) for net in nets for command in COMMANDS]
    return [pytest.param(*pair, marks=pytest.mark.exhaustive if pair in slow else ()) for pair in pairs]


def one_line(complaint):
    """The one line of what went wrong."""
    lines = [line for line in complaint.splitlines() if "error:" in line]
    assert len(lines) == 1
    assert "internal error" not in lines[0]
    return lines[0]


@pytest.mark.parametrize(("net", "command"), cases(NETS_AND_DATA, audited=("packed_object",)))
def test_every_command_takes_every_form_of_output(net, command, run, folder):
    code, _, complaint = run(command, f"{folder}/nets.py:{net}", NETS_AND_DATA[net])
    assert code == 0, complaint


# Vectors are audited in tests/cli/test_audit_alarms.py.
@pytest.mark.parametrize(("net", "command"), cases(OTHER_NETS, audited=("normalized", "double")))
def test_other_nets_are_taken_or_refused_in_one_line(net, command, run, folder):
    code, _, complaint = run(command, f"{folder}/nets.py:{net}", OTHER_NETS[net])
    if (net, command) in REFUSED:
        assert code == 5
        assert REFUSED[net, command] in one_line(complaint)
    else:
        assert code == 0, complaint


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "check"])
@pytest.mark.parametrize("net", ["fewer_logits", "one_logit"])
def test_fewer_logits_than_classes_are_refused_in_one_line(net, command, run, folder):
    code, _, complaint = run(command, f"{folder}/nets.py:{net}", "gray")
    assert code == 5
    given = {"fewer_logits": "2 logits", "one_logit": "one logit"}[net]
    assert f"returns {given} an example; expected 3 or more, one a class" in one_line(complaint)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("command", ["federate", "leak", "audit"])
def test_a_scripted_net_of_which_copies_are_trained_is_refused_in_one_line(command, run, folder):
    code, _, complaint = run(command, f"{folder}/nets.py:scripted", "gray")
    assert code == 5
    assert "scripted or traced by torch.jit, of which copies cannot be trained" in one_line(complaint)


@pytest.mark.parametrize("access", ["scores", "labels"])
def test_a_black_box_is_checked_attacked_and_certified_by_smoothing(access, run, folder):
    spec = f"{access}:{folder}/nets.py:{access}"
    assert run("check", spec, "gray")[0] == 0
    code, _, complaint = run("attack", spec, "gray", "--max-queries", 30, attack="rays")
    assert code == 0, complaint
    code, _, complaint = run("certify", spec, "gray", "--certifier", "smoothing", "--noise-samples", 50)
    assert code == 0, complaint
    code, _, complaint = run("certify", spec, "gray")
    assert code == 5
    assert "--certifier smoothing" in one_line(complaint)


@pytest.mark.parametrize("command", ["harden", "privatize", "federate", "audit"])
def test_a_black_box_is_not_trained(command, run, folder):
    code, _, complaint = run(command, f"scores:{folder}/nets.py:scores", "gray")
    assert code == 2
    assert "is a black box; this needs a torch.nn.Module" in one_line(complaint)


def test_what_was_trained_fits_the_users_own_net(run, folder, tmp_path):
    from safetensors.torch import load_file

    for command, name in (("harden", "model"), ("privatize", "private"), ("federate", "federated")):
        out = tmp_path / command
        assert run(command, f"{folder}/nets.py:packed_object", "gray", "--out", out)[0] == 0
        weights = out / "models" / f"{name}.safetensors"
        assert set(load_file(weights)) == {"first.weight", "first.bias", "last.weight", "last.bias"}
        assert run("attack", f"{folder}/nets.py:packed_tuple", "gray", "--weights", weights)[0] == 0


def write_linear_onnx(path, *nodes):
    """A matrix behind what is flattened, in an ONNX file, and operators behind that."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weight = np.random.default_rng(0).normal(size=(36, 3)).astype(np.float32)
    first = "scores" if nodes else "logits"
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], [first]),
            *(helper.make_node(kind, ["scores"], ["logits"]) for kind in nodes),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), str(path))


def test_an_onnx_file_is_certified_by_its_layers_and_by_smoothing(call, folder, tmp_path):
    write_linear_onnx(tmp_path / "model.onnx")
    words = ("--model", tmp_path / "model.onnx", "--data", folder / "gray.npz", "--limit", 2)
    code, told, complaint = call("certify", *words, "--certifier", "smoothing", "--noise-samples", 50)
    assert code == 0, complaint
    assert "certified" in told
    code, told, complaint = call("certify", *words)
    assert code == 0, complaint
    assert "certified" in told
    write_linear_onnx(tmp_path / "model.onnx", "Exp")
    code, _, complaint = call("certify", *words)
    assert code == 5
    assert "model.onnx: 'logits' (Exp) is not imported; expected one of " in one_line(complaint)
    assert "--certifier smoothing" in one_line(complaint)


def test_the_number_of_classes_is_said_where_labels_do_not_show_it(run, folder, tmp_path):
    from quintain.models import load_classifier, save_weights

    spec = f"{folder}/nets.py:tensor"
    weights = tmp_path / "seven.safetensors"
    save_weights(load_classifier(spec, num_classes=7, channels=1, size=6).net, weights)
    code, _, complaint = run("attack", spec, "gray", "--weights", weights)
    assert code == 5
    assert "give --classes 7" in one_line(complaint)
    assert (
        run("attack", spec, "gray", "--weights", weights, "--classes", 7, "--out", tmp_path / "run")[0] == 0
    )
    code, _, complaint = run("attack", spec, "gray", "--classes", 2)
    assert code == 2
    assert "--classes 2" in one_line(complaint)
    assert "has labels up to 2; expected at least 3" in complaint
    np.savez(folder / "shifted.npz", images=np.zeros((4, 6, 6), np.uint8), labels=[1, 2, 3, 4])
    code, _, complaint = run("check", spec, "shifted", "--classes", 4)
    assert code == 2
    assert "these start at 1, subtract 1 from them" in one_line(complaint)


def test_a_function_of_labels_may_know_more_classes_than_the_data(run, folder, tmp_path):
    (tmp_path / "more.py").write_text(
        "def labels(x):\n    return (x.reshape(len(x), -1).mean(1) * 10).astype(int)\n"
    )
    spec = f"labels:{tmp_path}/more.py:labels"
    code, _, complaint = run("attack", spec, "gray", "--max-queries", 30, attack="rays")
    assert code == 5
    assert "expected 0 to 2, or the number of classes that it knows: --classes" in one_line(complaint)
    assert run("attack", spec, "gray", "--max-queries", 30, "--classes", 10, attack="rays")[0] == 0


def test_a_test_set_that_lacks_a_class_is_evaluated(call, folder, tmp_path):
    arrays = dict(np.load(folder / "gray.npz"))
    kept = arrays["test_labels"] < 2
    np.savez(
        tmp_path / "lacks.npz",
        **arrays | {"test_images": arrays["test_images"][kept], "test_labels": arrays["test_labels"][kept]},
    )
    for command in ("attack", "certify", "harden"):
        words = ("--model", f"{folder}/nets.py:tensor", "--data", tmp_path / "lacks.npz", *COMMANDS[command])
        code, told, complaint = call(command, *words)
        assert code == 0, complaint
        assert "no training example" not in told


def test_classes_that_training_lacks_are_said(call, folder, tmp_path):
    arrays = dict(np.load(folder / "gray.npz"))
    kept = arrays["train_labels"] < 2
    arrays["train_images"] = np.repeat(arrays["train_images"][kept], 2, axis=0)
    arrays["train_labels"] = np.repeat(arrays["train_labels"][kept], 2)
    np.savez(tmp_path / "unseen.npz", **arrays)
    for command in ("harden", "federate", "privatize"):
        words = ("--model", f"{folder}/nets.py:tensor", "--data", tmp_path / "unseen.npz", *COMMANDS[command])
        code, told, complaint = call(command, *words)
        assert code == 0, complaint
        assert "no training example is of class 2, but 4 of 12 test examples are" in told


@pytest.mark.parametrize(
    ("command", "words"), [("attack", ("--limit", 12)), ("evaluate", ("--limit", 12)), ("harden", ())]
)
def test_a_net_without_a_gradient_at_its_input_is_refused_in_one_line(command, words, run, folder):
    code, _, complaint = run(command, f"{folder}/nets.py:Embedded", "gray", *words)
    assert code == 5
    assert "the model gives no gradient; expected logits that depend on the input" in one_line(complaint)


def test_a_net_that_takes_inputs_in_0_to_1_alone_is_checked_and_attacked_by_its_outputs(run, folder):
    code, told, complaint = run("check", f"{folder}/nets.py:Embedded", "gray")
    assert code == 0, complaint
    assert "not measured on inputs in [-1, 1], inputs in 0 .. 255" in " ".join(told.split())
    words = ("attack", f"{folder}/nets.py:Embedded", "gray", "--max-queries", 30)
    code, _, complaint = run(*words, attack="square")
    assert code == 0, complaint


def test_labels_that_start_at_1_are_named_where_a_model_has_a_class_less(run, folder, tmp_path):
    from quintain.models import load_classifier, save_weights

    arrays = dict(np.load(folder / "gray.npz"))
    shifted = {name: arrays[name] + 1 for name in ("train_labels", "test_labels")}
    np.savez(folder / "from_one.npz", **arrays | shifted)
    remedy = "if the labels are 1 .. 3, subtract 1 from them"
    for spec in (f"{folder}/nets.py:packed_tuple", f"scores:{folder}/nets.py:scores"):
        code, _, complaint = run("attack", spec, "from_one")
        assert code == 5
        assert remedy in one_line(complaint)
    spec = f"{folder}/nets.py:tensor"
    save_weights(load_classifier(spec, num_classes=3, channels=1, size=6).net, tmp_path / "three.safetensors")
    code, _, complaint = run("attack", spec, "from_one", "--weights", tmp_path / "three.safetensors")
    assert code == 5
    assert remedy in one_line(complaint)


def test_examples_of_the_train_split_are_said_to_be(run, folder):
    told = {}
    for split in ("train", "test"):
        code, told[split], _ = run("attack", f"{folder}/nets.py:tensor", "gray", "--split", split)
        assert code == 0
    assert "note: These are examples of the train split" in " ".join(told["train"].split())
    assert "train split" not in told["test"]
