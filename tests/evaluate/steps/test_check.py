"""Data are checked before anything else."""

from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from quintain.core.progress import NoProgress
from quintain.data import from_arrays, load_data
from quintain.data.splits import Splits
from quintain.evaluate.steps.check import run_check
from quintain.models.classifier import Classifier
from quintain.results.robustness_records import CheckResult


def test_a_check_counts_classes_and_finds_nothing_wrong_with_the_bundled_data():
    body = run_check(load_data("xrays"), None).result
    assert isinstance(body, CheckResult)
    assert dict(body.class_counts)["test"] == (234, 390)
    assert not [finding for finding in body.findings if finding.level == "error"]


class Labels(NoProgress):
    """Keeps what it is told, in order."""

    def __init__(self):
        self.seen = []

    @contextmanager
    def bar(self, label, total):
        self.seen.append(label)
        yield self.seen.append


def test_a_check_says_what_it_does_and_that_a_net_is_compiled():
    x = np.random.default_rng(0).random((6, 4), dtype=np.float32)
    splits = Splits("mine", test=from_arrays(x, [0, 1, 0, 1, 0, 1]))
    net = nn.Linear(4, 2).eval()
    for given, text in ((net, "check model"), (torch.compile(net, backend="eager"), "compiling it")):
        progress = Labels()
        run_check(splits, Classifier(given), progress=progress)
        assert progress.seen[:2] == ["check data", 1]
        assert text in progress.seen[2]
        assert progress.seen[3:] == [1]
