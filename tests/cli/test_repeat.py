"""A finished run folder answers the same command again, without work."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from quintain.cli.main import app
from quintain.core.errors import ExitCode
from quintain.models.nets import xray_cnn
from quintain.models.weights import save_weights
from quintain.results.codec import load

NEVER = "quintain.evaluate.steps.attack.run_attack"


@pytest.fixture(scope="module")
def whole(weights, small, tmp_path_factory):
    """The words of a run, and the folder in which its r is."""
    home = tmp_path_factory.mktemp("whole")
    words = ("attack", "--data", small, "--weights", weights, "--attack", "fgsm", "--out", "r")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False).exit_code == ExitCode.OK
    return words, home


@pytest.fixture
def finished(call, whole):
    """The words of a run that is finished, in r."""
    words, home = whole
    shutil.copytree(home / "r", "r")
    return words


def claims(out):
    """What the screen says of the result, without where it is stored and what is required."""
    return [
        line for line in out.splitlines() if "result.json" not in line and "writing to" not in line and line
    ]


def test_the_same_command_shows_the_same_and_runs_nothing(call, finished, monkeypatch):
    (Path("before")).mkdir()
    record = load(Path("r/result.json"))
    monkeypatch.setattr(NEVER, None)
    code, out, _ = call(*finished)
    assert code == ExitCode.OK
    assert "finished before: nothing was run" in out
    assert "accuracy under attack" in out
    assert load(Path("r/result.json")) == record


def test_requirements_are_decided_anew_and_give_the_exit_code(call, finished, monkeypatch):
    monkeypatch.setattr(NEVER, None)
    code, out, _ = call(*finished, "--require", "robust_accuracy(linf:4/255) >= 0.999")
    assert code == ExitCode.FAILED
    assert "FAIL" in out
    assert load(Path("r/result.json")).requirements[0].verdict.decision == "FAIL"
    assert call(*finished)[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--limit", 5), "--limit = 0, now 5"),
        (("--threat", "linf:2/255"), "--threat = None, now ['linf:2/255']"),
        (("--attack", "pgd"), "--attack = ['fgsm'], now ['fgsm', 'pgd']"),
    ],
)
def test_other_settings_are_refused_by_the_difference(call, finished, more, told):
    code, _, err = call(*finished, *more)
    assert code == ExitCode.USAGE
    assert told in " ".join(err.split())


def test_other_weights_under_the_same_name_are_other_settings(call, weights, small):
    Path("w.safetensors").write_bytes(weights.read_bytes())
    words = ("attack", "--data", small, "--weights", "w.safetensors", "--attack", "fgsm", "--out", "r")
    assert call(*words)[0] == ExitCode.OK
    save_weights(xray_cnn(seed=9), Path("w.safetensors"))
    code, _, err = call(*words)
    assert code == ExitCode.USAGE
    assert "content of --weights = " in err


def test_data_that_were_written_anew_are_other_settings_and_no_hash_of_them_is_kept(call, weights, small):
    Path("d.npz").write_bytes(small.read_bytes())
    words = ("attack", "--data", "d.npz", "--weights", weights, "--attack", "fgsm", "--out", "r")
    assert call(*words)[0] == ExitCode.OK
    settings = json.loads(Path("r/run.json").read_text())
    assert "content of --data" not in settings
    os.utime("d.npz", ns=(0, settings["last change of --data"] + 1))
    code, _, err = call(*words)
    assert code == ExitCode.USAGE
    assert "last change of --data = " in err


@pytest.fixture
def letters():
    """Pictures and labels in the IDX files of a folder; gives a file of other labels."""
    Path("idx").mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    for name in ("train", "t10k"):
        write_idx(f"idx/{name}-images-idx3-ubyte", pictures)
        write_idx(f"idx/{name}-labels-idx1-ubyte", np.arange(40, dtype=np.uint8) % 3)
    write_idx("other", (np.arange(40, dtype=np.uint8) + 1) % 3)
    Path("net.py").write_text(
        "from torch import nn\ndef make(seed=0): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
    )
    return Path("other")


def write_idx(path, array):
    """An unsigned byte array as an IDX file."""
    head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes()
    Path(path).write_bytes(head + array.tobytes())


ON_IDX = (
    "attack",
    "--model",
    "net.py:make",
    "--data",
    "idx",
    "--attack",
    "fgsm",
    "--limit",
    20,
    "--out",
    "r",
)


@pytest.mark.parametrize("told", ["names, sizes and dates of --data = ", "r holds the result of other data"])
def test_a_file_of_a_folder_that_is_replaced_by_an_older_one_is_seen(call, letters, told):
    code, _, err = call(*ON_IDX, "--target-class", 2)
    assert code == ExitCode.OK, err
    assert call(*ON_IDX, "--target-class", 2)[0] == ExitCode.OK
    labels = Path("idx/t10k-labels-idx1-ubyte")
    stat = labels.stat()
    labels.write_bytes(letters.read_bytes())
    # an older date is seen by the dates; where all dates are as before, the examples are compared
    os.utime(labels, ns=(0, 0 if "dates" in told else stat.st_mtime_ns))
    code, _, err = call(*ON_IDX, "--target-class", 2)
    assert code == ExitCode.USAGE
    assert told in " ".join(err.split())


def test_settings_that_cannot_be_read_are_refused(call, finished):
    Path("r/run.json").write_text("[")
    code, _, err = call(*finished)
    assert code == ExitCode.USAGE
    assert "r/run.json cannot be read" in err
    Path("r/run.json").write_text("[]")
    assert call(*finished)[0] == ExitCode.USAGE


def test_the_settings_are_no_record_and_name_no_requirement(call, finished):
    settings = json.loads(Path("r/run.json").read_text())
    assert settings["command"] == "attack"
    assert settings["--attack"] == ["fgsm"]
    assert not {"--out", "--require"} & settings.keys()
    assert call("report", "r")[0] == ExitCode.OK


def test_files_for_ci_are_written_again(call, finished, monkeypatch):
    monkeypatch.setattr(NEVER, None)
    assert call(*finished, "--junit", "j.xml")[0] == ExitCode.OK
    assert "<testsuite" in Path("j.xml").read_text()


LOADS = """
import torch
from safetensors.torch import load_file
from torch import nn


def make():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    net.load_state_dict(load_file("own.safetensors"))
    return net.eval()
"""


def linear(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 2))


@pytest.mark.parametrize(
    "verb", [("attack", "--attack", "fgsm"), ("certify",), ("federate", "--sites", 3, "--rounds", 1)]
)
def test_a_file_of_weights_that_the_factory_reads_is_seen(call, small, verb):
    Path("net.py").write_text(LOADS)
    save_weights(linear(0), Path("own.safetensors"))
    words = (*verb, "--data", small, "--model", "net.py:make", "--out", "r")
    code, _, err = call(*words)
    assert code == ExitCode.OK, err
    assert call(*words)[0] == ExitCode.OK
    save_weights(linear(1), Path("own.safetensors"))
    code, _, err = call(*words)
    assert code == ExitCode.USAGE
    assert "r holds the result of another model: --model net.py:make has the hash" in " ".join(err.split())


def test_the_weights_beside_an_onnx_file_are_seen(call, small):
    import onnx

    write_onnx(onnx, 0)
    words = ("attack", "--data", small, "--model", "m.onnx", "--limit", 5, "--max-queries", 20, "--out", "r")
    code, _, err = call(*words)
    assert code == ExitCode.OK, err
    assert call(*words)[0] == ExitCode.OK
    before = Path("m.onnx").read_bytes()
    write_onnx(onnx, 1)
    assert Path("m.onnx").read_bytes() == before
    code, _, err = call(*words)
    assert code == ExitCode.USAGE
    assert "content of m.onnx.data = " in err


def write_onnx(onnx, seed):
    """A linear classifier whose weights lie in m.onnx.data."""
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    weights = np.random.default_rng(seed).normal(size=(784, 2)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", real, [None, 1, 28, 28])],
        [helper.make_tensor_value_info("logits", real, [None, 2])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    Path("m.onnx.data").unlink(missing_ok=True)
    onnx.save_model(model, "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)


def test_a_replay_of_a_run_that_was_made_anew_is_another(call, weights, small):
    attack = ("attack", "--data", small, "--weights", weights, "--attack", "fgsm", "--out", "a")
    replay = ("replay", "a", "--weights", weights, "--out", "r")
    assert call(*attack)[0] == call(*replay)[0] == ExitCode.OK
    assert call(*attack, "--require", "clean_accuracy >= 0.1")[0] == ExitCode.OK
    assert call(*replay)[0] == ExitCode.OK
    shutil.rmtree("a")
    assert call(*attack, "--threat", "linf:8/255")[0] == ExitCode.OK
    code, _, err = call(*replay)
    assert code == ExitCode.USAGE
    assert "content of --source = " in err


@pytest.mark.parametrize(
    ("variables", "is_heard"),
    [
        ({"RANK": "1"}, True),
        ({"RANK": "1", "WORLD_SIZE": "1"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_every_process_returns_the_code_and_one_of_several_speaks(
    call, finished, monkeypatch, variables, is_heard
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    code, out, _ = call(*finished, "--require", "robust_accuracy(linf:4/255) >= 0.999")
    assert code == ExitCode.FAILED
    assert ("FAIL" in out) == is_heard
    code, _, err = call(*finished, "--limit", 5)
    assert code == ExitCode.USAGE
    assert ("--limit = 0, now 5" in err) == is_heard
