"""``quintain evaluate``: both bounds of the user's model in one run."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from quintain.core.errors import ExitCode
from quintain.evaluate.steps import evaluate
from quintain.results.bounds import Consistency
from quintain.results.codec import load
from quintain.results.verdict import RunVerdict


@pytest.fixture
def run(call, weights, small):
    """Evaluate the small model with other words."""

    def run(*words):
        code, out, err = call(
            "evaluate", "--data", small, "--weights", weights, "--limit", 12, "--out", "r", *words
        )
        return code, out, " ".join(err.split())

    return run


def result():
    return load(Path("r") / "result.json")


def test_both_bounds_decide_requirements_and_stand_in_the_report(call, run):
    words = ("--threat", "linf:0.001", "--threat", "linf:4/255", "--attack", "fgsm")
    code, out, _ = run(
        *words,
        *("--require", "attacked_accuracy(linf:4/255) >= 0"),
        *("--require", "robust_accuracy(linf:0.001) >= 0.01"),
    )
    record = result()
    assert code == ExitCode.OK, out
    assert record.result.kind == "evaluate"
    assert [claim.name for claim in record.claims] == [
        "model:clean",
        "model:linf:0.001",
        "model:linf:4/255",
    ]
    certified = record.claims[1].bracket.lower.evidence.hits
    assert certified > 0
    both = "interval bounds + linear bounds (CROWN)"
    assert f"certified by {both}, of 12 examples: linf:0.001 {certified}, linf:4/255 " in out
    assert "attacked at each size: the examples that are not certified there" in out
    assert record.verdict == RunVerdict("OK", 0, "2 of 2 requirements passed")
    assert [path.name for path in Path("r").iterdir() if path.name == "unfinished"] == []
    code, out, _ = call("report", "r")
    page = (Path("r") / "report.html").read_text()
    assert code == ExitCode.OK
    assert "Evaluation on" in page
    assert "Both bounds of every certified model" in page
    assert "Accuracy under attack" in page


def test_smoothing_bounds_the_smoothed_model_also_of_a_black_box(call, small, tmp_path):
    (tmp_path / "box.py").write_text(
        "def predict(x):\n    return x.mean((1, 2, 3))[:, None] * [[-1, 1]] + [[0.5, -0.5]]\n"
    )
    words = ("--certifier", "smoothing", "--noise-samples", 300, "--limit", 4, "--out", "r")
    code, out, err = call("evaluate", "--data", small, "--model", "scores:box.py:predict", *words)
    assert code == ExitCode.OK, err
    assert [claim.name for claim in result().claims] == ["model:clean", "smoothed:l2:0.25"]
    assert "certified by randomized smoothing, of 4 examples: l2:0.25 " in out


def test_a_black_box_is_attacked_and_the_reason_why_nothing_is_certified_is_said(call, small, tmp_path):
    (tmp_path / "box.py").write_text(
        "def predict(x):\n    return x.mean((1, 2, 3))[:, None] * [[-1, 1]] + [[0.5, -0.5]]\n"
    )
    words = ("--attack", "square", "--max-queries", 10, "--limit", 4, "--out", "r")
    own = ("evaluate", "--data", small, "--model", "scores:box.py:predict", *words)
    code, out, err = call(*own)
    assert code == ExitCode.OK, err
    assert "note: Nothing is certified, since interval refuses this model: " in out
    assert result().result.certified is None
    asked = ("--require", "attacked_accuracy(linf:4/255) >= 0.01")
    code, out, _ = call(*own, *asked)
    assert code == ExitCode.UNDECIDED
    assert (
        "but trust is not judged: 10 queries per example, below the 500 that square needs; more queries"
        in out
    )
    assert call(*own, *asked, "--undecided", "warn")[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--attack", "fgms"), "Did you mean fgm or fgsm"),
        (("--certifier", "intervall"), "Did you mean interval"),
        (("--threat", "lonf:4/255"), "Did you mean linf"),
        (("--threat", "linf:4/255", "--threat", "l2:1"), "of different types"),
        (
            ("--certifier", "smoothing", "--threat", "linf:4/255"),
            "smoothing certifies l2; give sizes such as",
        ),
        (("--certifier", "smoothing", "--attack", "fgsm"), "leave --attack out"),
        (("--certifier", "smoothing", "--max-queries", "9"), "leave --max-queries out"),
        (("--certifier", "smoothing", "--threat", "l2:9"), "can never be certified"),
        (("--certifier", "interval", "--threat", "l0:3"), "interval certifies linf, l2"),
        (("--attack", "fgsm", "--threat", "l2:0.5"), "fgsm does not support"),
        (("--attack", "uap"), "'uap' is no attack but a universal_attack"),
        (("--sigma", "0", "--certifier", "smoothing"), "sigma"),
        (
            ("--require", "robust_accuracy(linf:8/255) >= 0.5"),
            "on linf:8/255, and this run measures linf:4/255: add --threat linf:8/255",
        ),
        (
            (
                *("--require", "robust_accuracy(linf:8/255) >= 0.5"),
                *("--require", "attacked_accuracy(linf:16/255) >= 0.5"),
            ),
            "this run measures linf:4/255: add --threat linf:8/255 --threat linf:16/255",
        ),
        (
            ("--require", "attacked_accuracy(l2:1) >= 0.5"),
            "on l2:1, and this run measures linf:4/255: run it with --threat l2:1",
        ),
    ],
)
def test_wrong_input_is_refused(run, words, told):
    code, _, err = run(*words)
    assert code == ExitCode.USAGE, err
    assert told in err
    assert not Path("r").exists()


DARK_OR_LIGHT = """
import torch
from torch import nn

def make():
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[-1.0 / 784] * 784, [1.0 / 784] * 784]))
        net[1].bias.copy_(torch.tensor([0.5, -0.5]))
    return net.eval()
"""


def test_a_contradiction_is_stored_with_its_inputs_before_it_is_an_alarm(call, small, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(DARK_OR_LIGHT)
    honest = evaluate.certify_examples

    def boasting(*args, **words):
        found = honest(*args, **words)
        radii = tuple(max(radius, 0.199) for radius in found.examples.certified_radius)
        return replace(found, examples=replace(found.examples, certified_radius=radii))

    monkeypatch.setattr(evaluate, "certify_examples", boasting)
    words = (
        "--data",
        small,
        "--model",
        "net.py:make",
        "--attack",
        "pgd",
        "--certifier",
        "interval",
        "--out",
        "r",
    )
    code, out, err = call("evaluate", *words, "--threat", "linf:0.2")
    assert code == ExitCode.ALARM
    assert "CONTRADICTION" in out
    assert "both certified and broken" in err
    record = result()
    assert record.verdict.outcome == "ALARM"
    assert record.claims[-1].bracket.consistency is Consistency.CONTRADICTION
    examples = record.result.certified.examples
    crossed = [
        row for row in examples.contradictory_ids(0.2) if examples.predicted[row] == examples.labels[row]
    ]
    stored = load_file(Path("r") / record.result.attacked.adversarial.path)
    assert crossed
    assert set(crossed) <= set(stored["ids"].tolist())


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(run, monkeypatch):
    from quintain.evaluate import certify_workers
    from quintain.evaluate.evasion import attacks

    def cut(*_, **__):
        raise KeyboardInterrupt

    words = ("--attack", "fgsm", "--certifier", "interval")
    with monkeypatch.context() as patch:
        patch.setattr(attacks, "merge_chunks", cut)
        code, _, err = run(*words)
    assert code == ExitCode.INTERRUPTED
    assert "to resume: " in err
    kept = [path.name.startswith("certified-") for path in (Path("r") / "unfinished").glob("*.npz")]
    assert {*kept} == {True, False}
    with monkeypatch.context() as patch:
        patch.setattr(certify_workers, "search_radius", cut)
        code, _, err = run(*words)
    assert code == ExitCode.OK, err
    assert not (Path("r") / "unfinished").exists()
