"""Wrong input: a message that says what was got, what was expected and what to do; never a traceback; nothing
lost.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from quintain.core.errors import ExitCode

USAGE, TARGET = ExitCode.USAGE, ExitCode.EXECUTION


def npz(path, images, labels):
    np.savez(path, images=images, labels=labels)
    return path


@pytest.fixture
def attack(call, weights):
    """Attack the small model with other words."""

    def run(*words):
        code, _, err = call(
            "attack", "--weights", weights, "--limit", 5, "--attack", "fgsm", "--out", "r", *words
        )
        return code, " ".join(err.split())

    return run


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("--threat", "linf:8"), USAGE, "Did you mean 8/255?"),
        (("--threat", "linf:-1/255"), USAGE, "eps = -"),
        (("--threat", "linf:nan"), USAGE, "expected"),
        (("--threat", "linf"), USAGE, "has no size"),
        (("--threat", "lonf:4/255"), USAGE, "Did you mean linf"),
        (("--threat", "linf:4/255", "--threat", "l2:1"), USAGE, "of different types"),
        (("--threat", "color:hue=0.1", "--threat", "color:hue=0.2"), USAGE, "one at a time"),
        (("--threat", "negative"), USAGE, "fgsm does not support the threat negative"),
        (("--target", "2"), USAGE, "expected a class from 0 to 1: normal, pneumonia"),
        (("--max-queries", "1"), USAGE, "expected at least 2"),
        (("--attack", "fgms"), USAGE, "Did you mean fgm or fgsm"),
        (("--require", "robust_accuracy(linf:4/255) > 1"), USAGE, "cannot be read"),
        (("--require", "robust_acuracy(linf:4/255) >= 0.5"), USAGE, "Did you mean robust_accuracy"),
        (("--data", "nowhere.npz"), USAGE, "nowhere.npz"),
        (("--data", "xray"), USAGE, "Did you mean xrays?"),
        (("--model", "xray-cn"), USAGE, "Did you mean xray-cnn?"),
        (("--model", "nets:Net"), USAGE, "no model is called 'nets:Net'"),
        (("--model", "nofile.py:make"), USAGE, "there is no file nofile.py"),
        (("--weights", "none.safetensors"), USAGE, "there is no weights file"),
        (("--split", "holdout"), USAGE, "it has train, val, test"),
        (("--data", "notes.txt"), USAGE, "there is no notes.txt"),
        (("--model", "net.py"), USAGE, "names no factory"),
    ],
)
def test_names_and_numbers(attack, words, code, told):
    got, err = attack(*words)
    assert got == code
    assert told in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("model.onnx", "there is no file model.onnx"),
        ("endpoint.toml", "there is no file endpoint.toml"),
        ("scores:net", "names no function"),
        ("labels:net.py:predict", "there is no file net.py"),
    ],
)
def test_black_boxes_that_are_not_there(call, model, told):
    code, _, err = call("attack", "--model", model, "--limit", 5, "--out", "r")
    assert code == USAGE
    assert told in " ".join(err.split())
    assert not Path("r").exists()


def images(count=8):
    return np.random.default_rng(0).random((count, 28, 28)).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "labels", "told"),
    [
        (lambda x: x * 255, [0, 1] * 4, "[0, 1]"),
        (lambda x: x - 0.5, [0, 1] * 4, "[0, 1]"),
        (lambda x: np.where(x == x.max(), np.nan, x), [0, 1] * 4, "NaN"),
        (lambda x: x, [0, -1] * 4, "labels"),
        (lambda x: x, [0.5] * 8, "labels"),
        (lambda x: x, [0, 1], "labels"),
        (lambda x: x[:0], [], "empty"),
    ],
    ids=["bytes", "negative", "nan", "negative label", "fraction", "too few labels", "empty"],
)
def test_bad_data(attack, tmp_path, change, labels, told):
    code, err = attack("--data", npz(tmp_path / "d.npz", change(images()), np.array(labels)))
    assert code == TARGET
    assert told in err


def test_labels_beyond_the_models_classes(attack, tmp_path):
    code, err = attack("--data", npz(tmp_path / "d.npz", images(), np.arange(8)))
    assert code == TARGET
    assert "does not fit" in err


def test_pickles_are_refused_as_data_and_as_weights(attack, tmp_path):
    np.savez(tmp_path / "d.npz", images=np.array([{"a": 1}] * 3, dtype=object), labels=np.zeros(3, int))
    code, err = attack("--data", tmp_path / "d.npz")
    assert code == TARGET
    assert "pickle" in err.lower()
    torch.save({"net": torch.nn.Linear(2, 2)}, tmp_path / "w.pt")
    code, err = attack("--weights", tmp_path / "w.pt")
    assert code == TARGET
    assert "unpickling can run any code" in err
    (tmp_path / "w.pkl").write_bytes(b"x")
    code, err = attack("--weights", tmp_path / "w.pkl")
    assert code == TARGET
    assert "refused" in err


def test_weights_that_do_not_fit_name_the_keys(attack, tmp_path):
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "w.pt")
    code, err = attack("--weights", tmp_path / "w.pt")
    assert code == TARGET
    assert "missing: " in err
    assert "unexpected: bias, weight" in err


MODELS = {
    "shape": ("nn.Sequential(nn.Flatten(), nn.Unflatten(1, (28, 28)))", "returns shape (5, 28, 28)"),
    "nan": ("nn.Sequential(nn.Flatten(), Nan())", "NaN for every example"),
    "batchless": ("nn.Sequential(nn.Flatten(0), nn.Linear(784, 2))", "shape"),
    "raises": ("nn.Linear(3, 2)", "fails on an input of shape"),
    "train mode": ("Stubborn()", "training mode"),
    "not a module": ("42", "torch.nn.Module"),
    "error": ("nn.Linear('x')", "TypeError"),
}


@pytest.mark.parametrize(("code", "told"), MODELS.values(), ids=MODELS)
def test_bad_models(call, tmp_path, code, told):
    (tmp_path / "net.py").write_text(
        f"""
from torch import nn
class Nan(nn.Module):
    def forward(self, x):
        return x[:, :2] * float("nan")
class Stubborn(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 2)
    def forward(self, x):
        return self.layer(x.flatten(1))
    def train(self, mode=True):
        return super().train(True)
def make():
    return {code}
"""
    )
    got, _, err = call("attack", "--model", "net.py:make", "--limit", 5, "--attack", "fgsm", "--out", "r")
    assert got == TARGET
    assert told in " ".join(err.split())
    assert "Traceback" not in err


def test_an_untrained_registered_net_is_refused(call):
    code, _, err = call("attack", "--limit", 5, "--out", "r")
    assert code == USAGE
    assert "untrained" in err


def test_batchnorm_under_differential_privacy_is_refused_with_the_cure(call, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(2704, 2))\n"
    )
    code, _, err = call("privatize", "--model", "net.py:make", "--steps", 2, "--batch", 8, "--out", "p")
    assert code == TARGET
    assert "GroupNorm" in err


def test_a_folder_that_holds_the_result_of_other_settings_is_not_overwritten(call, weights, small):
    arguments = ("attack", "--data", small, "--weights", weights, "--attack", "fgsm", "--out", "r")
    assert call(*arguments)[0] == ExitCode.OK
    before = Path("r/result.json").read_bytes()
    code, _, err = call(*arguments, "--seed", 1)
    assert code == USAGE
    assert "r holds the result of a run of other settings (--seed = 0, now 1)" in err
    assert call("check", "--data", small, "--out", "r")[0] == USAGE
    Path("r/run.json").unlink()
    code, _, err = call(*arguments)
    assert code == USAGE
    assert "not an empty folder" in err
    assert Path("r/result.json").read_bytes() == before
    assert not list((Path("r") / "unfinished").glob("*"))


def test_reports_of_nothing_and_of_broken_files(call, tmp_path):
    code, _, err = call("report", "nowhere")
    assert code in (USAGE, TARGET)
    assert "nowhere" in err
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "result.json").write_text('{"schema": 1, "prov')
    code, _, err = call("report", "r")
    assert code == USAGE
    assert "cut short" in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("attack", "--threat", "linf:2/255"), "this run measures linf:2/255: add --threat linf:8/255"),
        (("attack",), "this run measures linf:4/255: add --threat linf:8/255"),
        (("attack", "--threat", "l2:0.5"), "this run measures l2:0.5: run it with --threat linf:8/255"),
        (("certify",), "this run measures linf:4/255: add --threat linf:8/255"),
        (("harden", "--threat", "linf:2/255"), "this run measures linf:2/255: add --threat linf:8/255"),
        (
            ("harden", "--defense", "gaussian", "--sigma", "0.5"),
            "measures l2:1.0: run it with --threat linf:8/255",
        ),
    ],
)
def test_a_requirement_at_a_size_that_the_run_does_not_measure_is_refused_before_it(
    call, weights, small, words, told
):
    options = ("--data", small, "--out", "r", *(() if words[0] == "harden" else ("--weights", weights)))
    code, _, err = call(*words, *options, "--require", "robust_accuracy(linf:8/255) >= 0.1")
    assert code == USAGE
    assert told in " ".join(err.split())
    assert not Path("r").exists()


def test_a_requirement_of_the_project_at_another_size_is_refused_with_its_line(
    call, weights, small, tmp_path
):
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool.quintain]\nrequire = ['robust_accuracy(linf:8/255) >= 0.1']\n")
    code, _, err = call("attack", "--data", small, "--weights", weights, "--out", "r")
    assert code == USAGE
    assert f"({path}, line 2) is on linf:8/255, and this run measures linf:4/255: add --threat" in err


def test_a_full_disk_is_a_message(call, weights, small, monkeypatch):
    import errno
    import os

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call("attack", "--data", small, "--weights", weights, "--attack", "fgsm", "--out", "r")
    assert code == TARGET
    assert "No space left" in err


@pytest.fixture
def vectors(tmp_path):
    """Data that no net for images takes."""
    x = np.random.default_rng(0).random((60, 5)).astype(np.float32)
    np.savez(
        tmp_path / "v.npz",
        train_images=x,
        train_labels=np.arange(60) % 2,
        test_images=x,
        test_labels=np.arange(60) % 2,
    )
    return tmp_path / "v.npz"


@pytest.mark.parametrize(
    "token", ["mask:eyeglasses:0.1", "patch:area=5%", "l1:1.5", "l0:3", "negative", "color:brightness=0.2"]
)
def test_what_a_defense_does_not_train_against_is_refused(call, token):
    code, _, err = call("harden", "--threat", token, "--out", "r")
    assert code == USAGE
    assert f"--threat {token}: ibp trains against linf, l2; give a size such as" in " ".join(err.split())


def test_a_second_threat_is_for_a_defense_that_takes_several(call, small):
    words = ("harden", "--data", small, "--defense", "pgd-at", "--also", "l2:0.5", "--out", "r")
    code, _, err = call(*words)
    assert code == USAGE
    assert "--also l2:0.5: pgd-at takes one threat; use it with union-at" in err
    code, _, err = call(*words[:4], "union-at", "--also", "negative", "--out", "r")
    assert code == USAGE
    assert "--also negative: union-at trains against linf, l2" in " ".join(err.split())


@pytest.mark.parametrize("token", ["l0:3", "negative", "color:brightness=0.2"])
def test_what_nothing_is_proved_of_is_refused_by_name_where_something_is_to_be_proved(call, weights, token):
    code, _, err = call("certify", "--weights", weights, "--threat", token, "--out", "r")
    assert code == USAGE
    assert f"no certifier handles {token.partition(':')[0]}" in " ".join(err.split())


@pytest.mark.parametrize("verb", ["harden", "privatize", "audit", "federate"])
def test_a_net_that_does_not_take_the_data_is_refused_before_training(call, vectors, verb):
    code, _, err = call(verb, "--data", vectors, "--out", "r")
    assert code == TARGET
    assert "xray-cnn fails on an input of shape (1, 5)" in " ".join(err.split())
    assert not (vectors.parent / "r").exists()


def test_a_net_that_fails_in_training_alone_is_a_message(call, small, tmp_path):
    (tmp_path / "net.py").write_text(
        """
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(784, 2)
    def forward(self, x):
        if self.training:
            raise KeyError("lost")
        return self.layer(x.flatten(1))
"""
    )
    code, _, err = call(
        "harden", "--model", "net.py:Net", "--data", small, "--defense", "gaussian", "--out", "r"
    )
    assert code == TARGET
    assert "KeyError: 'lost'" in err
    assert "net.py, line 9" in err


@pytest.mark.parametrize(("verb", "how"), [("federate", "half"), ("federate", "double"), ("harden", "half")])
def test_a_net_of_another_precision_is_refused_before_training_with_what_to_do(
    call, small, tmp_path, verb, how
):
    (tmp_path / "net.py").write_text(
        f"from torch import nn\ndef make(): return nn.Sequential(nn.Flatten(), nn.Linear(784, 2)).{how}()\n"
    )
    code, _, err = call(verb, "--model", "net.py:make", "--data", small, "--out", "r")
    assert code == TARGET
    assert "not foreseen" not in err
    assert "has '1.weight' in torch.float" in err
    assert "return net.float()" in err


def test_a_folder_that_cannot_be_written_to_is_told_before_the_work(
    call, weights, small, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "quintain.evaluate.step.record_step", lambda *_args, **_words: pytest.fail("worked in vain")
    )
    code, _, err = call("attack", "--data", small, "--weights", weights, "--out", "file/r")
    assert code == TARGET
    assert "choose another folder with --out" in err


def test_an_audit_of_too_few_canaries_is_a_usage_error(call):
    code, _, err = call("audit", "--canaries", 2)
    assert code == USAGE
    assert "20" in err


def test_unknown_verbs_and_options_are_usage_errors(call):
    assert call("atack")[0] == USAGE
    assert call("attack", "--epsilon", "1")[0] == USAGE


def test_interruption_has_its_own_exit_code(call, monkeypatch):
    def interrupted(*_args, **_words):
        raise KeyboardInterrupt

    monkeypatch.setattr("quintain.drill.pipeline.drill", interrupted)
    code, _, err = call("drill", "--quick", "--out", "d")
    assert code == ExitCode.INTERRUPTED
    assert "to resume: " in err


def test_a_threat_that_noise_cannot_be_certified_for_is_refused_and_not_replaced(call, small, tmp_path):
    code, _, err = call(
        "harden", "--data", small, "--defense", "gaussian", "--threat", "linf:4/255", "--out", "r"
    )
    assert code == ExitCode.USAGE
    assert "--threat linf:4/255: gaussian trains against l2; give a size such as" in " ".join(err.split())
    assert not (tmp_path / "r").exists()


def test_an_option_that_cannot_be_is_refused_before_a_folder_is_announced(call, weights, tmp_path):
    for words in (
        ("--require", "robust(linf:1) >= 2"),
        ("--split", "trian"),
        ("--target-class", 7),
        ("--threat", "linff:1"),
    ):
        code, out, _ = call("attack", "--weights", weights, *words)
        assert code in (ExitCode.USAGE, ExitCode.EXECUTION)
        assert "writing to" not in out
        assert not (tmp_path / "runs").exists()


def test_a_file_in_the_place_of_the_run_folder_is_called_one(call, weights, tmp_path):
    (tmp_path / "f").write_text("x")
    for verb, words in (("certify", ("--weights", weights)), ("drill", ())):
        code, out, err = call(verb, *words, "--out", "f")
        assert (code, "writing to" in out) == (ExitCode.USAGE, False)
        assert "--out f is a file" in err


def test_an_interrupted_command_says_that_nothing_was_saved_where_nothing_was(
    call, weights, monkeypatch, tmp_path
):
    def interrupted(*_args, **_words):
        raise KeyboardInterrupt

    monkeypatch.setattr("quintain.evaluate.steps.certify.run_certify", interrupted)
    code, _, err = call("certify", "--weights", weights, "--out", "a")
    assert code == ExitCode.INTERRUPTED
    assert "nothing is kept" in err
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr("quintain.evaluate.steps.attack.run_attack", interrupted)
    code, out, err = call("attack", "--weights", weights, "--out", "a")
    assert code == ExitCode.INTERRUPTED
    assert "nothing is kept" in err
    assert "writing to a. To resume after an interruption: " in out
    assert not (tmp_path / "a").exists()


def test_the_command_that_goes_on_with_a_drill_has_all_its_words(call, monkeypatch):
    monkeypatch.setattr(
        "quintain.drill.pipeline.drill", lambda *_args, **_words: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    monkeypatch.setattr(sys, "argv", ["quintain", "drill", "--quick", "--seed", "3"])
    _, out, _ = call("drill", "--quick", "--seed", 3)
    assert "quintain drill --quick --seed 3 --out runs/" in out


def test_a_reader_that_leaves_early_changes_no_exit_code(tmp_path):
    program = "import sys; from quintain.cli.main import run; sys.stdin.readline(); run()"
    told = subprocess.Popen(
        [sys.executable, "-c", program, "list"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    told.stdout.close()
    told.stdin.write(b"go\n")
    told.stdin.close()
    complaint = told.stderr.read()
    told.stderr.close()
    assert told.wait() == ExitCode.OK
    assert complaint == b""


def test_the_real_command_prints_one_message_and_no_traceback(fresh, tmp_path):
    (tmp_path / "quintain").write_text("from quintain.cli.main import run; run()")
    told = fresh(
        tmp_path / "quintain", "attack", "--threat", "linf:8", "--weights", "x.safetensors", home=tmp_path
    )
    assert told.code == USAGE
    assert told.err.count("\n") == 1
    assert "8/255" in told.err
