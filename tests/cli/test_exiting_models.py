"""Models that end the process while they are queried: no run of theirs is green."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from quintain.core.errors import ExitCode

NETS = """
import argparse, asyncio, sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, end, in_training=False):
        super().__init__()
        self.layer, self.end, self.in_training = nn.Linear(16, 2), end, in_training

    def forward(self, x):
        if self.training is self.in_training:
            self.end()
        return self.layer(x.flatten(1))

def at_once():
    return Net(lambda: sys.exit(0))

def undecided():
    return Net(lambda: sys.exit(3))

def without_code():
    return Net(sys.exit)

def in_training():
    return Net(lambda: sys.exit(0), in_training=True)

def cancelled():
    def end():
        raise asyncio.CancelledError
    return Net(end, in_training=True)

def predict(x):
    return argparse.ArgumentParser(prog="tool").parse_args(["--version-of-another-tool"])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with nets that end the process, and data for them."""
    folder = tmp_path_factory.mktemp("exiting")
    (folder / "nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 64), ("test", 20)):
        arrays[f"{part}_images"] = rng.random((count, 4, 4)).astype(np.float32)
        arrays[f"{part}_labels"] = np.arange(count) % 2
    np.savez(folder / "data.npz", **arrays)
    return folder


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("attack", "--model", "nets.py:at_once"), "nets.py:at_once fails on an input of shape"),
        (("attack", "--model", "nets.py:undecided"), "SystemExit: 3 (sys.exit, which would end the whole"),
        (("evaluate", "--model", "nets.py:without_code"), "SystemExit (sys.exit, which would"),
        (("evaluate", "--model", "scores:nets.py:predict"), "SystemExit: 2 (sys.exit, which would"),
        (("drill", "--model", "nets.py:at_once", "--only", "attack"), "SystemExit: 0 (sys.exit, which would"),
        (
            ("harden", "--model", "nets.py:in_training", "--defense", "pgd-at"),
            "code that the run calls may not end it",
        ),
        (("privatize", "--model", "nets.py:cancelled"), "CancelledError in "),
    ],
)
def test_a_model_that_ends_the_process_fails_the_run_and_its_files_say_so(ready, home, tmp_path, words, told):
    files = ("--out", tmp_path / "r", "--junit", tmp_path / "j.xml")
    found = ready.quintain(*words, "--data", "data.npz", *files, home=home, NO_COLOR="1", COLUMNS="400")
    assert found.code == ExitCode.EXECUTION, found
    assert told in found.err
    assert "Traceback" not in found.err
    assert ET.parse(tmp_path / "j.xml").getroot().find(".//error") is not None


@pytest.mark.parametrize(("words", "code"), [(("--version",), 0), (("attack", "--no-such-option"), 2)])
def test_the_command_line_still_ends_by_its_own_codes(ready, home, words, code):
    assert ready.quintain(*words, home=home).code == code
