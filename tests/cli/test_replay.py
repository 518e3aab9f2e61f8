"""The replay verb: another model on what an attack stored."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from quintain.core.errors import ExitCode
from quintain.data import load_data
from quintain.results.codec import load

SIZES = ("--threat", "linf:0.02", "--threat", "linf:0.05")

NETS = """
import torch
from torch import nn

def at(threshold):
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 2)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.stack((-torch.ones(784), torch.ones(784))))
        net[1].bias.copy_(784 * torch.tensor([threshold, -threshold]))
    return net

def make():
    return at(0.55)

def other():
    return at(0.57)
"""


@pytest.fixture
def attacked(call, small):
    """A run folder r with adversarial examples of a net that looks at the mean brightness."""
    Path("net.py").write_text(NETS)
    words = ("attack", "--data", small, "--model", "net.py:make", *SIZES, "--attack", "pgd", "--limit", 25)
    code, _, err = call(*words, "--seed", 3, "--out", "r")
    assert code == ExitCode.OK, err
    record = load(Path("r/result.json"))
    assert record.result.models[0].adversarial.num_stored
    return record


def uppers(record):
    return [claim.bracket.upper.value for claim in record.claims]


def test_the_same_model_on_its_own_examples_has_the_same_upper_bounds(call, attacked):
    code, out, err = call("replay", "r", "--model", "net.py:make", "--out", "s")
    assert code == ExitCode.OK, err
    record = load(Path("s/result.json"))
    assert uppers(record) == uppers(attacked)
    assert record.provenance.data == attacked.provenance.data
    assert record.result.unbroken_ids == ()
    assert "accuracy left by stored adversarial examples" in out
    assert "100.0 %" in out
    page = Path(call("report", "s")[1].strip()).read_text()
    assert "Adversarial examples that were made on net.py:make" in page


def test_another_model_is_bounded_and_a_requirement_can_fail_and_not_pass(call, attacked):
    words = ("replay", "r", "--model", "net.py:other", "--out")
    code, out, _ = call(*words, "s", "--require", "attacked_accuracy(linf:0.05) >= 0.99")
    assert (code, "FAIL" in out) == (ExitCode.FAILED, True)
    code, out, _ = call(*words, "t", "--require", "attacked_accuracy(linf:0.05) >= 0.01")
    assert code == ExitCode.UNDECIDED
    assert "quintain attack on this very model decides it" in out
    code, out, _ = call(*words, "s", "--require", "robust_accuracy(linf:0.05) >= 0.99")
    assert (code, "nothing was run" in out) == (ExitCode.FAILED, True)


def test_other_data_are_refused_and_moved_data_are_named(call, attacked, small):
    code, _, err = call("replay", "r", "--model", "net.py:make", "--data", "xrays", "--out", "s")
    assert code == ExitCode.USAGE
    assert "give the data that were attacked, with --data" in err
    assert not Path("s").exists()
    Path("moved.npz").write_bytes(small.read_bytes())
    assert (
        call("replay", "r", "--model", "net.py:make", "--data", "moved.npz", "--out", "s")[0] == ExitCode.OK
    )


def test_what_holds_no_examples_is_refused(call, attacked):
    Path("empty").mkdir()
    for folder, told in (("empty", "holds no result"), ("nowhere", "holds no result")):
        code, _, err = call("replay", folder, "--model", "net.py:make")
        assert (code, told in err) == (ExitCode.USAGE, True)
    file = Path("r/adversarial.safetensors")
    file.write_bytes(file.read_bytes()[:-4])
    code, _, err = call("replay", "r", "--model", "net.py:make")
    assert code == ExitCode.USAGE
    assert "is not the file that the run stored" in err
    file.unlink()
    assert call("replay", "r", "--model", "net.py:make")[0] == ExitCode.USAGE
    document = json.loads(Path("r/result.json").read_text())
    del document["result"]["models"][0]["adversarial"]
    Path("r/result.json").write_text(json.dumps(document))
    code, _, err = call("replay", "r", "--model", "net.py:make")
    assert (code, "holds no adversarial examples" in err) == (ExitCode.USAGE, True)


def test_any_reader_of_safetensors_reads_the_file(attacked, small):
    with safe_open("r/adversarial.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["attacks"]) == ["pgd"]
        assert json.loads(file.metadata()["threats"]) == ["linf:0.02", "linf:0.05"]
        ids, x_adv = file.get_tensor("ids"), file.get_tensor("x_adv")
        labels = file.get_tensor("labels")
    test = load_data(str(small)).split("test")
    assert len(x_adv) == len(ids) == attacked.result.models[0].adversarial.num_stored
    assert x_adv.shape[1:] == test.shape
    assert labels.tolist() == [attacked.result.models[0].examples.labels[row] for row in ids]


def test_what_an_evaluation_attacked_can_be_replayed(call, small):
    Path("net.py").write_text(NETS)
    words = ("evaluate", "--data", small, "--model", "net.py:make", *SIZES, "--attack", "pgd", "--limit", 25)
    assert call(*words, "--out", "e")[0] == ExitCode.OK
    code, _, err = call("replay", "e", "--model", "net.py:make", "--out", "s")
    assert code == ExitCode.OK, err
    assert uppers(load(Path("s/result.json"))) == uppers(load(Path("e/result.json")))
