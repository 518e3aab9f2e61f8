"""Each verb alone, on the user's model and data: a result file, a screen, an exit code."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from quintain.cli.commands import COMMANDS
from quintain.core.errors import ExitCode
from quintain.core.registry import KINDS, entries
from quintain.evaluate.smoothing import SmoothingSettings
from quintain.evaluate.steps import harden
from quintain.results.codec import load
from quintain.results.json_schema import SCHEMA_FILE
from quintain.results.quantity import Basis
from quintain.results.verdict import RunVerdict


def test_check(call, weights, small):
    code, out, _ = call("check", "--data", small, "--model", "xray-cnn", "--weights", weights, "--out", "r")
    assert code == ExitCode.OK
    assert "determinism" in out
    assert load_result().result.kind == "check"


def test_attack_and_report_and_compare(call, weights, small):
    for name, seed in (("a", 0), ("b", 1)):
        arguments = ("--data", small, "--weights", weights, "--seed", seed, "--out", name)
        code, out, _ = call("attack", *arguments, "--threat", "linf:2/255", "--threat", "linf:4/255")
        assert code == ExitCode.OK
        assert "not certified" in out
    record = load_result("a")
    assert [claim.name for claim in record.claims] == ["model:clean", "model:linf:2/255", "model:linf:4/255"]
    assert {claim.bracket.lower.basis for claim in record.claims[1:]} == {Basis.TRIVIAL}
    assert record.provenance.command.startswith("quintain")
    assert {one.package for one in record.provenance.versions} >= {"quintain", "torch"}
    assert record.provenance.data.hash
    assert record.claims[0].bracket.quantity.subject_hash
    code, out, _ = call("report", "a")
    assert code == ExitCode.OK
    assert "report.html" in out
    code, out, _ = call("compare", "a", "b")
    assert code == ExitCode.OK
    assert "same" in out


def test_attack_by_name_on_some_examples_in_l2(call, weights, small):
    code, _, _ = call(
        "attack",
        "--data",
        small,
        "--weights",
        weights,
        "--attack",
        "fgm",
        "--threat",
        "l2:0.5",
        "--limit",
        7,
        "--out",
        "r",
    )
    assert code == ExitCode.OK
    record = load_result()
    assert {row.attack for row in record.result.models[0].rows} == {"fgm"}
    assert record.claims[0].lower_counts.num_examples == 7


def test_certify_by_intervals_and_by_smoothing(call, weights, small):
    code, out, _ = call(
        "certify", "--data", small, "--weights", weights, "--threat", "linf:1/255", "--out", "i"
    )
    assert code == ExitCode.OK
    assert "certified" in out
    words = (
        "--certifier",
        "smoothing",
        "--sigma",
        "0.25",
        "--noise-samples",
        200,
        "--limit",
        3,
        "--threat",
        "l2:0.1",
        "--out",
        "s",
    )
    code, _, _ = call("certify", "--data", small, "--weights", weights, *words)
    assert code == ExitCode.OK
    assert load_result("s").claims[1].bracket.lower.basis is Basis.STATISTICAL


def test_certify_by_linear_bounds(call, weights, small):
    words = ("--certifier", "crown", "--limit", 6, "--threat", "linf:1/255", "--threat", "linf:2/255")
    code, out, _ = call("certify", "--data", small, "--weights", weights, *words, "--out", "r")
    assert code == ExitCode.OK
    assert "certified" in out
    record = load_result("r")
    assert record.claims[1].bracket.lower.basis is Basis.PROOF
    assert record.claims[1].bracket.lower.method == "linear bounds (CROWN)"


BRIGHT = """
import torch
from torch import nn

def make():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 2))
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([[1.0], [-1.0]]).expand(2, 4))
        net[1].bias.copy_(torch.tensor([-2.0, 2.0]))
        net[3].weight.copy_(torch.tensor([[-1.0, 1.0], [1.0, -1.0]]))
        net[3].bias.zero_()
    return net
"""


def test_certify_by_branch_and_bound_counts_and_saves_the_inputs_that_it_breaks(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(BRIGHT)
    mean = np.array([0.2, 0.42, 0.55, 0.8], np.float32)
    np.savez(
        "bright.npz", images=np.tile(mean[:, None, None, None], (1, 1, 2, 2)), labels=(mean > 0.5).astype(int)
    )
    words = ("--certifier", "branch-and-bound", "--threat", "linf:0.02", "--threat", "linf:0.1")
    code, out, complaint = call(
        "certify", "--model", "net.py:make", "--data", "bright.npz", *words, "--out", "r"
    )
    assert code == ExitCode.OK, complaint
    assert "at least 50.0 % (certified), at most 50.0 % (attacked)" in out
    record = load_result("r")
    assert [claim.bracket.upper.value for claim in record.claims] == [1.0, 1.0, 0.5]
    assert record.result.models[0].examples.broken_radius == (math.inf, 0.1, 0.1, math.inf)
    with np.load(Path("r") / "counterexamples" / "model.npz") as held:
        assert held["rows"].tolist() == [1, 2]
        assert ((held["inputs"].mean((1, 2, 3)) > 0.5) == [True, False]).all()


def test_compare_fails_a_build_on_a_regression(call, weights, small):
    for name, threat in (("a", "linf:1/255"), ("b", "linf:2/255")):
        words = ("--data", small, "--weights", weights, "--threat", threat, "--attack", "fgsm", "--out", name)
        assert call("attack", *words)[0] == ExitCode.OK
    code, out, _ = call("compare", "a", "a", "--fail-on-regression")
    assert code == ExitCode.OK
    assert "no claim is worse by more than 0.01" in out
    assert call("compare", "a", "b")[0] == ExitCode.OK
    code, out, _ = call("compare", "a", "b", "--fail-on-regression")
    assert code == ExitCode.FAILED
    assert "REGRESSION  model:linf:1/255: the later run does not have this claim" in out
    assert out.count("REGRESSION") == 1
    code, _, err = call("compare", "a", "b", "--tolerance", 0.5)
    assert code == ExitCode.USAGE
    assert "--tolerance 0.5 without --fail-on-regression" in err
    assert call("compare", "a", "b", "--fail-on-regression", "--tolerance", "nan")[0] == ExitCode.USAGE
    assert call("compare", "a", "nowhere", "--fail-on-regression")[0] == ExitCode.USAGE
    call("check", "--data", small, "--out", "c")
    code, _, err = call("compare", "c", "a", "--fail-on-regression")
    assert code == ExitCode.USAGE
    assert "the earlier run claims nothing" in err


def test_harden_against_l2_attacks_in_l2(call, small):
    code, _, err = call(
        "harden", "--data", small, "--defense", "pgd-at", "--threat", "l2:0.5", "--epochs", 1, "--out", "h"
    )
    assert code == ExitCode.OK, err
    assert load_result("h").claims[1].bracket.quantity.threat == "l2:0.5"


@pytest.mark.parametrize("defense", ["pgd-at", "ibp", "gaussian"])
def test_harden_writes_weights_that_attack_reads(call, small, defense, monkeypatch):
    monkeypatch.setattr(
        harden,
        "SmoothingSettings",
        lambda method: SmoothingSettings(
            replace(method, noise_samples=500), num_examples=5, vote_samples=200
        ),
    )
    code, out, _ = call("harden", "--data", small, "--defense", defense, "--epochs", 1, "--out", "h")
    assert code == ExitCode.OK
    assert f"weights of the {defense} model, for --weights: h/models/model.safetensors" in out
    code, _, _ = call(
        "attack", "--data", small, "--weights", "h/models/model.safetensors", "--attack", "fgsm", "--out", "a"
    )
    assert code == ExitCode.OK
    subject = load_result("h").result.trainings[0].model.model_hash
    assert load_result("a").claims[0].bracket.quantity.subject_hash == subject


def test_privatize(call, small):
    words = (
        "--batch",
        50,
        "--steps",
        5,
        "--epsilon",
        3,
        "--require",
        "epsilon(delta=1e-5) <= 3",
        "--out",
        "p",
    )
    code, out, _ = call("privatize", "--data", small, *words)
    assert code == ExitCode.OK
    assert "PASS" in out
    assert load_result("p").result.plan.epsilon <= 3


def test_audit(call, small, monkeypatch):
    """Three of four records are in each batch, so that the control misses no canary that counts;
    ``test_audit_alarms`` measures all.
    """
    monkeypatch.setattr("quintain.evaluate.steps.audit.measurements", lambda *_plan, **_words: ())
    code, out, _ = call(
        "audit", "--data", small, "--batch", 150, "--steps", 5, "--canaries", 60, "--out", "u"
    )
    assert code == ExitCode.OK
    assert "accounted" in out
    body = load_result("u").result
    assert body.control.lower.value > body.audit.lower.value
    assert all(test.passed for test in body.mechanism_tests)


def test_leak(call, small):
    code, out, _ = call("leak", "--data", small, "--steps", 5, "--out", "l")
    assert code == ExitCode.OK
    assert len(load_result("l").result.reconstructions) == 3
    shown = " ".join(out.split())
    assert re.search(r"securely aggregated sum of 5: [\d.]+ dB \(site \d, [\d.]+ dB without it\)", shown)
    assert "--show-private" in out


@pytest.mark.parametrize(
    ("bundled", "arguments", "pictures"),
    [(False, (), 0), (False, ("--show-private",), 6), (True, (), 6)],
    ids=["private", "asked", "bundled"],
)
def test_a_report_shows_private_pictures_only_where_asked(call, small, bundled, arguments, pictures):
    data = () if bundled else ("--data", small)
    assert call("leak", *data, "--steps", 1, "--out", "l", *arguments)[0] == ExitCode.OK
    assert call("report", "l")[0] == ExitCode.OK
    assert len(list(Path("l").rglob("*.png"))) == pictures
    assert Path("l/report.html").read_text().count("data:image/png;base64,") == pictures


NORMALISED = """
from torch import nn

def make():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(1352, 2))
"""


def test_a_net_that_cannot_be_trained_privately_is_attacked_all_the_same_and_its_private_row_says_why(
    call, small
):
    Path("net.py").write_text(NORMALISED)
    code, out, err = call("leak", "--model", "net.py:make", "--data", small, "--steps", 2, "--out", "l")
    assert code == ExitCode.OK, err
    plain, summed, private = load_result("l").result.reconstructions
    assert plain.psnr > 0 < summed.psnr
    assert private.psnr is None
    assert "cannot be trained privately: layer '1' is a BatchNorm2d" in private.failure_reason
    assert "a privatized update (noise 1 C): not reconstructed" in out
    assert call("report", "l")[0] == ExitCode.OK
    assert "is a BatchNorm2d" in Path("l/report.html").read_text()


def test_federate(call, small):
    code, _, _ = call("federate", "--data", small, "--sites", 4, "--rounds", 2, "--out", "f")
    assert code == ExitCode.OK
    assert [one.sum_exact for one in load_result("f").result.rounds] == [True, True]
    assert [one.name for one in load_result("f").result.sites] == [f"site-{k}" for k in (1, 2, 3, 4)]


def test_masks_that_hide_too_little_are_an_alarm(call, small, monkeypatch):
    from quintain.federated.secagg import masks

    whole = masks.add_stream

    def narrow(words, key, *, subtract=False):
        stream = np.zeros_like(words)
        whole(stream, key)
        (np.subtract if subtract else np.add)(words, stream & 0x7FFF, out=words)

    monkeypatch.setattr(masks, "add_stream", narrow)
    code, out, err = call("federate", "--data", small, "--sites", 4, "--rounds", 1, "--out", "f")
    assert code == ExitCode.ALARM
    assert "gives away the vector of 'site-1'" in out + err


def test_requirements_of_the_command_line_are_added_to_those_of_the_project(call, weights, small, tmp_path):
    path = tmp_path / "pyproject.toml"
    path.write_text('[tool.quintain]\nrequire = ["robust_accuracy(linf:4/255) >= 0.99"]\n')
    arguments = ("attack", "--data", small, "--weights", weights, "--attack", "fgsm")
    code, out, _ = call(*arguments, "--out", "a")
    assert code == ExitCode.FAILED
    assert f"1 requirement from {path}\n" in out
    assert "FAIL" in out
    code, out, _ = call(*arguments, "--out", "b", "--require", "robust_accuracy(linf:4/255) >= 0.01")
    assert code == ExitCode.FAILED
    assert f"1 requirement from {path}, 1 from --require\n" in out
    assert out.count("FAIL  robust") == out.count("UNDECIDED  robust") == 1
    assert [(one.path, one.line) for one in load_result("b").requirements] == [(str(path), 2), ("", 0)]


def test_what_is_undecided_is_a_failure_or_a_warning_as_the_user_chooses(call, weights, small, tmp_path):
    words = ("--require", "robust_accuracy(linf:4/255) >= 0.01")
    arguments = ("attack", "--data", small, "--weights", weights, "--attack", "fgsm", *words)
    code, out, _ = call(*arguments, "--out", "a")
    assert (code, "warning" in out) == (ExitCode.UNDECIDED, False)
    code, out, _ = call(*arguments, "--out", "b", "--undecided", "warn")
    assert code == ExitCode.OK
    assert "warning: 1 of 1 requirement undecided; the exit code is 0 by --undecided warn" in out
    verdict = load_result("b").verdict
    assert (verdict.outcome, verdict.exit_code, verdict.undecided) == ("UNDECIDED", 0, "warn")
    (tmp_path / "pyproject.toml").write_text("[tool.quintain]\nundecided = 'warn'\n")
    code, out, _ = call(*arguments, "--out", "c")
    assert code == ExitCode.OK
    assert f"the exit code is 0 by undecided = 'warn' in {tmp_path / 'pyproject.toml'}" in out
    assert call(*arguments, "--out", "d", "--undecided", "fail")[0] == ExitCode.UNDECIDED
    assert call(*arguments, "--out", "e", "--undecided", "pass")[0] == ExitCode.USAGE


def test_a_verb_judges_of_the_projects_requirements_only_those_about_what_it_speaks_of(call, small, tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        '[tool.quintain]\nrequire = ["robust_accuracy(linf:4/255) >= 0.99", "epsilon <= 3"]\n'
    )
    code, out, _ = call("check", "--data", small, "--out", "c")
    assert code == ExitCode.OK
    assert out.count("not checked, because this result has no ") == 2
    code, out, _ = call("privatize", "--data", small, "--batch", 50, "--steps", 3, "--out", "p")
    assert code == ExitCode.OK
    assert "PASS  epsilon <= 3" in out
    assert "not checked, because this result has no robust_accuracy: robust_accuracy" in out
    words = ("--require", "robust_accuracy(linf:4/255) >= 0.9")
    assert (
        call("privatize", "--data", small, "--batch", 50, "--steps", 3, "--out", "q", *words)[0]
        == ExitCode.UNDECIDED
    )


def test_a_project_may_require_sizes_of_several_types_of_which_a_run_decides_its_own(
    call, weights, small, tmp_path
):
    (tmp_path / "pyproject.toml").write_text(
        "[tool.quintain]\n"
        "require = ['robust_accuracy(l2:0.5) >= 0.9', 'attacked_accuracy(linf:1/255) >= 0']\n"
    )
    arguments = ("--data", small, "--weights", weights, "--threat", "linf:1/255")
    code, out, _ = call("attack", *arguments, "--attack", "fgsm", "--out", "a")
    assert code == ExitCode.OK
    assert "PASS  attacked_accuracy(linf:1/255) >= 0: attacks left " in out
    assert "this is no robust accuracy" in out
    assert (
        "not checked, because this result has no robust_accuracy within l2: robust_accuracy(l2:0.5) >= 0.9\n"
        in out
    )
    record = load_result("a")
    assert record.not_checked == ("robust_accuracy(l2:0.5) >= 0.9",)
    assert record.verdict == RunVerdict("OK", 0, "1 of 1 requirement passed")
    code, out, _ = call("certify", *arguments, "--out", "c")
    assert code == ExitCode.OK
    assert "no attacked_accuracy within linf: attacked_accuracy(linf:1/255) >= 0\n" in out
    assert load_result("c").verdict.reason == "no requirement was decided"


def test_every_size_that_was_asked_about_is_in_the_table_and_what_nobody_attacked_is_not_called_attacked(
    call, weights, small
):
    words = (
        "--data",
        small,
        "--weights",
        weights,
        "--threat",
        "linf:1/255",
        "--threat",
        "linf:2/255",
        "--threat",
        "linf:1/255",
    )
    code, out, _ = call("certify", *words, "--out", "c")
    assert code == ExitCode.OK
    table = out[out.index("lower bound") :]
    assert [table.count(f"model:{claim} ") for claim in ("clean", "linf:1/255", "linf:2/255")] == [1, 1, 1]
    assert "attacked" not in out.replace("not attacked", "")
    assert out.count("(not attacked)") >= 2


def test_check_looks_at_data_without_a_test_part(call, tmp_path):
    x = np.random.default_rng(0).random((20, 28, 28)).astype(np.float32)
    np.savez(tmp_path / "d.npz", train_images=x, train_labels=np.arange(20) % 2)
    assert call("check", "--data", "d.npz", "--out", "c")[0] == ExitCode.OK


def test_weights_alone_are_checked_in_the_default_net(call, weights, small):
    code, out, _ = call("check", "--data", small, "--weights", weights, "--out", "c")
    assert code == ExitCode.OK
    assert "determinism" in out


def test_narrow_terminals_lose_no_number(call, weights, small, monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    _, out, _ = call("attack", "--data", small, "--weights", weights, "--attack", "fgsm", "--out", "a")
    assert "…" not in out


def test_a_folder_name_is_no_markup(call, weights, small):
    _, out, _ = call(
        "attack", "--data", small, "--weights", weights, "--attack", "fgsm", "--limit", 5, "--out", "[red]ö x"
    )
    assert "[red]ö x/result.json" in out
    assert "[red]ö x/report.html" in call("report", "[red]ö x")[1]


def test_list_shows_everything_registered_and_the_exemptions(call):
    code, out, _ = call("list")
    assert code == ExitCode.OK
    for name in (
        "pgd",
        "fgsm",
        "interval",
        "smoothing",
        "pgd-at",
        "xray-cnn",
        "linf",
        "l2",
        "dp-sgd",
        "secagg",
    ):
        assert name in out
    assert len(out.splitlines()) <= 24  # a screen
    _, out, _ = call("list", "attack")
    assert "pgd" in out
    assert "secagg" not in out
    assert len(out.splitlines()) == len(entries("attack"))
    _, out, _ = call("list", "certifier", "--long")
    said = " ".join(out.split())
    for entry in entries("certifier").values():
        assert f"certifier {entry.name} {entry.summary} guarantee: {entry.guarantee}" in said
    _, out, _ = call("list", "--exemptions")
    exempt = [
        (name, law) for kind in KINDS for name, entry in entries(kind).items() for law, _ in entry.exemptions
    ]
    assert [
        line for name, law in exempt if (line := f'{name}: not held to "{law}", because ') not in out
    ] == []
    assert ("no exemptions" in out) == (not exempt)


@pytest.mark.parametrize("verb", COMMANDS, ids=lambda verb: verb.name)
def test_help_shows_two_examples_that_name_real_options(call, verb):
    code, out, _ = call(verb.name, "--help")
    assert code == ExitCode.OK
    assert out.count(f"quintain {verb.name}") >= 3
    plain = re.sub(r"\s+", " ", out)
    for option in re.findall(r"--[a-z-]+", " ".join(verb.examples)):
        assert option in plain.split("Examples")[0]


def test_the_drill_is_a_verb(call):
    _, out, _ = call("--help")
    assert [name for name in (verb.name for verb in COMMANDS) if name not in out] == []


def load_result(folder="r"):
    path = Path(folder) / "result.json"
    jsonschema.validate(json.loads(path.read_bytes()), json.loads(SCHEMA_FILE.read_text()))
    record = load(path)
    assert record.verdict is not None
    return record


def test_a_net_without_interval_rules_is_hardened_and_says_that_nothing_is_proved(call, small, tmp_path):
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(784, 2)\n"
        "    def forward(self, x):\n        return self.layer(torch.cos(x.flatten(1)))\n"
    )
    code, out, _ = call(
        "harden", "--model", "net.py:Net", "--data", small, "--defense", "pgd-at", "--epochs", 1, "--out", "h"
    )
    assert code == ExitCode.OK
    assert "interval bounds cannot certify this net" in out
    assert load_result("h").claims[1].bracket.lower.basis is Basis.TRIVIAL


def test_the_words_of_earlier_versions_are_still_taken(call, small):
    words = ("--defence", "adversarial", "--threat", "l2:0.5", "--epochs", 1, "--out", "h")
    code, _, err = call("harden", "--data", small, *words)
    assert code == ExitCode.OK, err
    assert load_result("h").result.trainings[0].model.title == "pgd-at model"
    assert "pgd-at" in call("list", "defence")[1]


def test_draws_are_still_a_word_for_noise_samples(call, weights, small):
    words = ("--certifier", "smoothing", "--draws", 50, "--limit", 2, "--threat", "l2:0.1", "--out", "s")
    code, _, err = call("certify", "--data", small, "--weights", weights, *words)
    assert code == ExitCode.OK, err
