"""Verbs on black-box models."""

import json
from pathlib import Path

from quintain.core.errors import ExitCode
from quintain.results.codec import load
from quintain.testing import running_endpoint

FUNCTIONS = """
import numpy as np

def scored(x):
    mean = x.reshape(len(x), -1).mean(1)
    return np.stack([np.full_like(mean, 0.55), mean], 1)

def labeled(x):
    return scored(x).argmax(1)
"""


def test_a_function_of_labels_is_attacked_by_what_labels_allow(call, small, tmp_path):
    (tmp_path / "asked.py").write_text(FUNCTIONS)
    spec = f"labels:{tmp_path / 'asked.py'}:labeled"
    settings = (
        "--data",
        small,
        "--limit",
        4,
        "--threat",
        "linf:0.2",
        "--max-queries",
        60,
        "--out",
        tmp_path / "run",
    )
    code, told, _ = call("attack", "--model", spec, "--attack", "rays", *settings)
    assert code == 0
    assert "broken by: rays" in told
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["result"]["models"][0]["rows"][0]["backwards"] == 0


def test_a_box_that_was_hardly_queried_is_not_judged_on_screen_in_json_and_in_the_report(
    call, small, tmp_path
):
    (tmp_path / "asked.py").write_text(FUNCTIONS)
    run = tmp_path / "run"
    words = ("--model", f"scores:{tmp_path / 'asked.py'}:scored", "--data", small, "--limit", 8)
    code, told, _ = call("attack", *words, "--threat", "linf:0.001", "--max-queries", 19, "--out", run)
    assert code == 0
    reason = "19 queries per example, below the 500 that square needs"
    assert f"trust: not judged: {reason}" in told
    diagnostics = json.loads((run / "result.json").read_text())["result"]["models"][0]["diagnostics"]
    assert (diagnostics["not_judged"], diagnostics["num_probed"]) == (reason, 0)
    assert call("report", run)[0] == 0
    page = (run / "report.html").read_text()
    assert f"trust: not judged: {reason}" in page
    assert "trust: high" not in page


def test_gradients_of_it_are_refused_with_the_attacks_that_can(call, small, tmp_path):
    (tmp_path / "asked.py").write_text(FUNCTIONS)
    code, _, complaint = call(
        "attack",
        "--model",
        f"scores:{tmp_path / 'asked.py'}:scored",
        "--data",
        small,
        "--limit",
        4,
        "--attack",
        "pgd",
    )
    assert code == 5
    assert "pgd needs gradients, and the model gives scores only. Attacks that can:" in complaint
    assert "rays" in complaint


def test_proofs_and_training_of_it_are_refused(call, small, tmp_path):
    (tmp_path / "asked.py").write_text(FUNCTIONS)
    spec = f"scores:{tmp_path / 'asked.py'}:scored"
    code, _, complaint = call("certify", "--model", spec, "--data", small, "--limit", 4)
    assert (code, "whose layers are not seen" in complaint) == (5, True)
    code, _, complaint = call("harden", "--model", spec, "--data", small)
    assert (code, "is a black box; this needs a torch.nn.Module" in complaint) == (2, True)


def test_it_is_certified_by_smoothing_which_only_asks(call, small, tmp_path):
    (tmp_path / "asked.py").write_text(FUNCTIONS)
    for access, name in (("scores", "scored"), ("labels", "labeled")):
        spec = f"{access}:{tmp_path / 'asked.py'}:{name}"
        words = (
            "--certifier",
            "smoothing",
            "--data",
            small,
            "--limit",
            2,
            "--noise-samples",
            50,
            "--out",
            tmp_path / access,
        )
        code, told, complaint = call("certify", "--model", spec, *words)
        assert (code, complaint, "robust accuracy of smoothed at l2:0.25: at least " in told) == (0, "", True)


def test_a_size_that_smoothing_can_never_certify_is_refused_with_the_largest(call, small, tmp_path):
    (tmp_path / "asked.py").write_text(FUNCTIONS)
    words = (
        "--certifier",
        "smoothing",
        "--threat",
        "l2:5",
        "--data",
        small,
        "--limit",
        2,
        "--noise-samples",
        50,
    )
    code, _, complaint = call("certify", "--model", f"scores:{tmp_path / 'asked.py'}:scored", *words)
    assert code == 2
    told = " ".join(complaint.split())
    assert (
        "eps = 5 can never be certified: 50 noise samples at sigma = 0.25 and alpha = 0.001 reach 0.2686 at "
        "most" in told
    )
    assert "Give more noise samples, a larger sigma" in told


def test_an_endpoint_that_falls_silent_leaves_what_was_found_and_the_run_goes_on(call, small, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_endpoint() as server:
        Path("e.toml").write_text(f'url = "{server.url}"\ntimeout = 3\nretries = 0\n')
        words = ("attack", "--model", "e.toml", "--data", small, "--limit", 8, "--max-queries", 40)
        words += ("--attack", "square", "--threat", "linf:0.01", "--threat", "linf:0.2")
        assert call(*words, "--out", "whole")[0] == ExitCode.OK
        needed = len(server.requests)
        server.requests.clear()
        server.hangs_after = needed - 3
        code, out, err = call(*words, "--out", "r")
        assert code == ExitCode.EXECUTION
        assert "gives no answer after one try (ReadTimeout" in err
        assert "What was found so far is in r" in err
        assert "stopped early" in out
        server.hangs_after = None
        assert call(*words, "--out", "r")[0] == ExitCode.OK
    whole, again = (load(Path(name) / "result.json") for name in ("whole", "r"))
    assert again.claims == whole.claims


def test_an_endpoint_that_falls_silent_before_anything_is_finished_leaves_nothing_and_claims_nothing(
    call, small, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_endpoint() as server:
        Path("e.toml").write_text(
            f'url = "{server.url}"\ntimeout = 3\nretries = 0\ncache = "answers.sqlite"\n'
        )
        words = ("attack", "--model", "e.toml", "--data", small, "--limit", 8, "--max-queries", 40)
        words += ("--attack", "square", "--threat", "linf:0.1", "--out", "r")
        server.hangs_after = 3
        code, _, err = call(*words)
        assert code == ExitCode.EXECUTION
        assert "gives no answer after one try (ReadTimeout" in err
        assert "What was found so far" not in err
        assert not Path("r").exists()
        sent = len(server.requests)
        server.hangs_after = None
        assert call(*words)[0] == ExitCode.OK
    answered, later = server.requests[: sent - 1], server.requests[sent:]
    assert not [request for request in later if request in answered]
