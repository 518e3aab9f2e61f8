"""Commands that certify in several processes: the same certificates, of the user's own nets, too."""

from pathlib import Path

import pytest
import torch

from quintain.cli.inputs import CallInputs
from quintain.core.errors import ExitCode
from quintain.results.codec import load
from tests.evaluate.support.inline_pool import InlinePool, inline_jobs

OWN = """
from quintain.models import xray_cnn

def make(num_classes):
    return xray_cnn(num_classes, seed=torch.initial_seed() % 1000)
"""


@pytest.fixture
def certified(call, small, monkeypatch):
    """Run a command in so many processes; gives the examples' records, and the jobs that others did."""

    def run(processes, verb, *words):
        monkeypatch.setattr(CallInputs, "processes", processes)
        with inline_jobs() as jobs:
            code, out, err = call(verb, "--data", small, "--out", f"{verb}-{processes}", *words)
            assert code == ExitCode.OK, (out, err)
            assert InlinePool.refused == []
        result = load(Path(f"{verb}-{processes}") / "result.json").result
        (model,) = result.models if verb == "certify" else (result.certified,)
        return model.examples, jobs

    return run


@pytest.mark.parametrize("own", [False, True])
def test_certify_shares_linear_bounds(certified, weights, own):
    Path("own.py").write_text("import torch\n" + OWN)
    words = ("--certifier", "crown", "--threat", "linf:2/255", "--weights", weights)
    words += ("--model", "own.py:make") if own else ()
    alone, jobs = certified(1, "certify", *words)
    assert not jobs
    together, jobs = certified(2, "certify", *words)
    assert jobs
    assert together == alone
    assert any(together.certified_radius)


def test_evaluate_shares_what_intervals_leave_open(certified, weights):
    words = ("--weights", weights, "--threat", "linf:2/255", "--attack", "fgsm")
    alone, _ = certified(1, "evaluate", *words)
    together, jobs = certified(2, "evaluate", *words)
    assert jobs
    assert together == alone


def test_as_many_as_threads():
    assert CallInputs().processes == torch.get_num_threads()
