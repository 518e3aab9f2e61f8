"""``--device``: on every command that runs a model, refused where the device is absent, and in the record."""

from pathlib import Path

import pytest
import torch

from quintain.cli.call import VerbCall
from quintain.cli.commands import COMMANDS
from quintain.core.errors import ExitCode, SettingError
from quintain.models import devices
from quintain.results.codec import load
from quintain.testing import FAKE_DEVICE, fake_device

WITH_MODEL = [
    command
    for command in COMMANDS
    if command.name == "drill" or "model" in [one.name for one in command.options]
    if command.name != "referee"
]
"""A referee reads an ONNX file, and decides on the CPU, in float64."""


@pytest.mark.parametrize("command", WITH_MODEL, ids=lambda command: command.name)
def test_every_command_that_runs_a_model_refuses_an_absent_device(call, command, small, weights):
    given = {"data": small, "weights": weights, "out": "r"}
    options = [
        word
        for name, value in given.items()
        if name in [one.name for one in command.options]
        for word in (f"--{name}", value)
    ]
    if command.name == "replay":
        attacked = ("--data", small, "--weights", weights, "--attack", "fgsm", "--limit", 4, "--out", "a")
        assert call("attack", *attacked)[0] == ExitCode.OK
        options = ["a", *options[2:]]
    code, _, error = call(command.name, *options, "--device", "cuda:97")
    assert code == ExitCode.USAGE
    assert "'cuda:97'" in error
    assert "expected auto, cpu" in error or "expected auto or cpu" in error
    assert not Path("r").exists()


def test_a_black_box_is_on_no_device(call, small):
    Path("f.py").write_text("def f(x): return x.reshape(len(x), -1)[:, :2]\n")
    code, _, error = call("attack", "--data", small, "--model", "scores:f.py:f", "--device", "cuda")
    assert code == ExitCode.USAGE
    assert "leave --device out" in error


def test_the_record_has_the_device(call, small, weights):
    options = ("--data", small, "--weights", weights, "--attack", "fgsm", "--limit", 2, "--device", "cpu")
    assert call("attack", *options, "--out", "r")[0] == ExitCode.OK
    assert load(Path("r") / "result.json").provenance.device == "cpu"


def test_a_run_is_on_the_device_and_its_page_says_so_at_the_head(call, small, weights, monkeypatch):
    monkeypatch.setattr(devices, "choose_device", lambda _name, **_: FAKE_DEVICE)
    monkeypatch.setattr(devices, "describe_device", lambda device: f"{device} (a fake one)")
    options = ("--data", small, "--weights", weights, "--attack", "fgsm", "--limit", 4, "--out", "r")
    seen, forward = set(), torch.nn.Linear.forward

    def watched(layer, x):
        seen.add(x.device)
        return forward(layer, x)

    monkeypatch.setattr(torch.nn.Linear, "forward", watched)
    with fake_device():
        assert call("attack", *options)[0] == ExitCode.OK
    assert seen == {FAKE_DEVICE}
    assert call("report", "r")[0] == ExitCode.OK
    head = (Path("r") / "report.html").read_text().partition("</header>")[0]
    assert "cpu:1 (a fake one)" in head


def test_the_models_weights_are_put_on_the_device(small, weights, monkeypatch):
    moved = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda net, device: moved.append(device) or net)
    monkeypatch.setattr(VerbCall, "torch_device", torch.device("meta"))
    call = VerbCall(verb="attack", data=str(small), weights=weights)
    _ = call.model_under_test
    call.net()
    assert moved == [torch.device("meta")] * 2


def test_work_in_float64_says_so_before_it_starts(small, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 1)
    call = VerbCall(verb="harden", data=str(small), device="mps", needs_float64=True)
    with pytest.raises(SettingError, match="no float64"):
        _ = call.torch_device
