"""What is refused on a user's model or data is a step, or a part of one, that is not done: the rest is."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from quintain import data
from quintain.cli.screen import show_drill
from quintain.core.errors import ExitCode, ModelError, PrivacyError
from quintain.data.class_samples import missing_classes
from quintain.drill import Settings, drill, pipeline, subject
from quintain.drill.step import CHANGE
from quintain.drill.steps import attack, certify, harden
from quintain.evaluate.evasion.attacks import run_attacks
from quintain.results.codec import load
from quintain.results.records import DrillResult, SkippedResult
from quintain.results.robustness_records import AttackResult, CertifyResult, HardenResult
from tests.drill.conftest import TINY, stopped
from tests.drill.own_models import write_files

NETS = """
import torch
from torch import nn


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(x * self.scale)


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 2).bfloat16()

    def forward(self, x):
        return self.inner(x.bfloat16()).float()


def mlp():
    return nn.Linear(8, 2)


def dropped():
    return nn.Sequential(Dropped(), nn.Linear(8, 2))


def half():
    return Half()


def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 2))
"""
"""A linear net; one with a random layer without a rule; one of other weights; one of narrow pictures."""


def failing(message, kind=ModelError):
    """A function that refuses whatever it gets."""

    def refuse(*_args, **_options):
        raise kind(message)

    return refuse


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Drill steps on one of the nets, a tiny one; gives the exit code and the records by step."""
    monkeypatch.setattr(pipeline, "QUICK", TINY)
    write_files(tmp_path)
    (tmp_path / "nets.py").write_text(NETS)

    def made(net, only, table="table.npz"):
        settings = Settings(
            model=f"{tmp_path}/nets.py:{net}",
            data=f"{tmp_path}/{table}",
            only=only,
            quick=True,
            minutes=60.0,
            require=(),
        )
        code, _ = drill(tmp_path / "run", settings, clock=stopped)
        return code, {path.stem[3:]: load(path) for path in (tmp_path / "run").glob("*-*.json")}

    return made


def test_a_sticker_that_does_not_fit_is_a_part_that_is_not_done(run, tmp_path):
    rng = np.random.default_rng(0)
    pictures, labels = rng.random((160, 2, 64), dtype=np.float32), np.arange(160) % 2
    np.savez(
        tmp_path / "narrow.npz",
        train_images=pictures[:120],
        train_labels=labels[:120],
        test_images=pictures[120:],
        test_labels=labels[120:],
    )
    code, records = run("flat", ("attack",), "narrow.npz")
    assert code == ExitCode.OK
    assert isinstance(records["attack"].result, AttackResult)
    assert records["attack"].result.stickers == ()
    assert len(records["attack"].claims) == 3
    (missing,) = records["attack"].not_done
    assert missing.what == "stickers"
    assert "larger than the image 2 x 64" in missing.reason


def test_no_sticker_is_fitted_where_the_attacks_take_longer_than_was_planned_for_both(tmp_path, monkeypatch):
    seconds = [0.0]

    def clock():
        seconds[0] += 0.01
        return seconds[0]

    def slow(*given, **named):
        seconds[0] += 1800.0
        return run_attacks(*given, **named)

    monkeypatch.setattr(pipeline, "QUICK", TINY)
    monkeypatch.setattr(attack, "run_attacks", slow)
    settings = Settings(only=("attack",), quick=True, minutes=60.0, require=())
    assert drill(tmp_path / "run", settings, clock=clock)[0] == ExitCode.OK
    record = load(tmp_path / "run" / "03-attack.json")
    assert record.result.stickers == ()
    assert [one.reason for one in record.not_done] == [
        "the attacks took much longer than was planned for them and for a sticker"
    ]


def test_a_certificate_that_is_refused_leaves_the_others(run, monkeypatch):
    monkeypatch.setattr(certify, "certify_examples", failing("no bounds", PrivacyError))
    code, records = run("mlp", ("attack", "certify"))
    assert code == ExitCode.OK
    assert isinstance(records["certify"].result, CertifyResult)
    assert [one.model for one in records["certify"].result.models] == ["plain", "smoothed"]
    assert [one.reason for one in records["certify"].not_done] == ["no bounds"]


def test_an_attack_on_a_hardened_model_that_is_refused_leaves_its_training(run, monkeypatch):
    monkeypatch.setattr(harden, "run_attacks", failing("no attack"))
    code, records = run("mlp", ("harden",))
    assert code == ExitCode.OK
    assert isinstance(records["harden"].result, HardenResult)
    assert [one.model.name for one in records["harden"].result.trainings] == [
        "adversarial",
        "certified",
        "noise",
    ]
    whats = [one.what for one in records["harden"].not_done]
    assert len(whats) == 2
    assert all(what.startswith("attacks on the ") for what in whats)


def test_models_that_there_is_no_time_to_harden_are_said_to_be_left_out(run, monkeypatch):
    monkeypatch.setattr(pipeline, "FULL", replace(TINY, hardened_models=1))
    monkeypatch.setattr(pipeline, "QUICK", replace(TINY, hardened_models=1))
    code, records = run("mlp", ("harden",))
    assert code == ExitCode.OK
    assert [one.model.name for one in records["harden"].result.trainings] == ["adversarial"]
    assert [one.what for one in records["harden"].not_done] == ["certified training", "noise training"]
    reasons = {one.reason for one in records["harden"].not_done}
    assert reasons == {"there was time for no more than 1 training of useful length"}


def test_a_step_whose_trial_is_refused_is_not_done_and_the_others_are(run):
    with pytest.warns(UserWarning, match="no rule for per-example gradients"):
        code, records = run("dropped", ("train", "privatize", "audit"))
    assert code == ExitCode.OK
    assert not isinstance(records["train"].result, SkippedResult)
    for step in ("privatize", "audit"):
        assert isinstance(records[step].result, SkippedResult)
        assert "vmap: called random operation" in records[step].result.reason
        assert "dropout=0" in records[step].result.reason


def test_a_refusal_in_the_look_for_obstacles_is_the_obstacle(run, monkeypatch):
    monkeypatch.setattr(subject.Subject, "is_pictures", property(failing("no look")))
    monkeypatch.setattr(attack, "_no_sticker", lambda _context: ())
    code, records = run("mlp", ("train", "leak"))
    assert code == ExitCode.OK
    assert records["leak"].result == SkippedResult("leak", "no look", CHANGE)


def test_weights_that_cannot_be_trained_in_keep_the_steps_that_train_from_being_done(run):
    code, records = run("half", ("check", "train", "attack", "leak"))
    assert not isinstance(records["check"].result, SkippedResult)
    assert isinstance(records["train"].result, SkippedResult)
    assert re.search("torch.bfloat16; expected float32 to train in", records["train"].result.reason)
    assert "net.float()" in records["train"].result.remedy
    assert code == ExitCode.UNDECIDED


@pytest.mark.parametrize("undecided", ["fail", "warn"])
def test_a_drill_that_did_nothing_is_undecided_whatever_the_rule(run, monkeypatch, undecided):
    monkeypatch.setattr(pipeline, "Settings", Settings)
    real = pipeline.run_verdict
    monkeypatch.setattr(pipeline, "run_verdict", lambda *args, **_words: real(*args, undecided=undecided))
    code, records = run("mlp", ("leak",))
    assert code == ExitCode.UNDECIDED
    whole = records["drill"]
    assert isinstance(whole.result, DrillResult)
    assert whole.verdict is not None
    assert whole.verdict.reason.startswith("nothing was done")
    assert whole.verdict.outcome == "UNDECIDED"
    written = io.StringIO()
    show_drill(Console(file=written, width=200), list(records.values()))
    assert "nothing was done" in written.getvalue()
    assert "bounds consistent" not in written.getvalue()


def test_a_rare_class_is_among_the_examples_that_are_left_and_the_records_say_how_they_were_drawn(
    run, tmp_path
):
    x = np.random.default_rng(0).random((740, 8), dtype=np.float32)
    rare = (np.arange(740) % 150 == 3).astype(int)
    np.savez(
        tmp_path / "rare.npz",
        train_images=x[:240],
        train_labels=rare[:240],
        test_images=x[240:],
        test_labels=rare[240:],
    )
    few = data.load_data(str(tmp_path / "rare.npz")).split("test")
    assert missing_classes(few, few.sample(TINY.test_examples, seed=pipeline.TEST_SEED)) == ["1"]
    _, records = run("mlp", ("attack",), "rare.npz")
    for step in ("train", "attack"):
        (note,) = records[step].notes
        assert note.startswith("the 40 of 500 examples were drawn by class")
    assert records["train"].result.training.clean_counts.total == (39, 1)
    assert records["train"].provenance.data == records["attack"].provenance.data
