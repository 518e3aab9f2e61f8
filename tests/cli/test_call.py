"""A result on its way out of a command: judged, stored and shown, in this order and each once."""

import re
from pathlib import Path

import numpy as np
import pytest

from quintain.cli import screen
from quintain.cli.call import VerbCall
from quintain.core.errors import ContradictionError, ExitCode
from quintain.evaluate.step import StepOutput
from quintain.results import codec, gate
from quintain.results.records import Claim
from quintain.results.robustness_records import AttackResult
from quintain.results.verdict import RunVerdict
from tests.report.support.claims import accuracy


def call_on(small: Path, out: Path, *require: str) -> VerbCall:
    return VerbCall(verb="attack", data=str(small), split="test", out=out, require=require)


def claim(lower: int, upper: int) -> Claim:
    return accuracy("net:linf:4/255", "Robust accuracy, net", lower, upper, primary=True)


def test_a_result_is_judged_stored_and_shown_once_each(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = []
    for module, name in ((gate, "decide"), (codec, "save"), (screen, "show_record")):

        def noted(*args: object, real: object = getattr(module, name), name: str = name) -> object:
            events.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, noted)
    call = call_on(small, tmp_path / "run", "robust_accuracy(linf:4/255) >= 0.9")
    code = call.run(lambda: StepOutput(AttackResult(()), (claim(100, 300),)))
    assert events == ["decide", "save", "show_record"]
    assert code == ExitCode.FAILED
    record = codec.load(tmp_path / "run" / "result.json")
    assert [one.verdict.decision for one in record.requirements] == ["FAIL"]
    assert record.verdict == RunVerdict("FAILED", 1, "1 of 1 requirement failed")


def test_a_contradiction_is_stored_and_shown_before_it_is_raised(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ContradictionError):
        call_on(small, tmp_path / "run").run(lambda: StepOutput(AttackResult(()), (claim(480, 461),)))
    record = codec.load(tmp_path / "run" / "result.json")
    assert record.claims == (claim(480, 461),)
    assert (record.verdict.outcome, record.verdict.exit_code) == ("ALARM", ExitCode.ALARM)
    assert "CONTRADICTION" in capsys.readouterr().out


def test_a_requirement_of_the_project_on_another_metric_is_named_and_left_out(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.quintain]\nrequire = ['epsilon(delta=1e-5) <= 3', 'robust_accuracy(linf:4/255) >= 0.1']\n"
    )
    monkeypatch.chdir(tmp_path)
    code = call_on(small, tmp_path / "run").run(lambda: StepOutput(AttackResult(()), (claim(100, 300),)))
    assert code == ExitCode.OK
    (decided,) = codec.load(tmp_path / "run" / "result.json").requirements
    assert decided.requirement == "robust_accuracy(linf:4/255) >= 0.1"
    assert "not checked, because this result has no epsilon: epsilon(delta=1e-5) <= 3" in " ".join(
        capsys.readouterr().out.split()
    )


def test_a_limit_that_leaves_a_class_out_is_said_to(tmp_path: Path) -> None:
    data, labels = tmp_path / "rare.npz", np.arange(10) % 2
    np.savez(data, test_images=np.random.default_rng(0).random((10, 4), dtype=np.float32), test_labels=labels)

    def notes(limit: int) -> tuple[str, ...]:
        call = VerbCall(verb="attack", data=str(data), limit=limit, out=tmp_path / f"run-{limit}")
        call.run(lambda: StepOutput(AttackResult(()), (claim(1, 2),)))
        return codec.load(tmp_path / f"run-{limit}" / "result.json").notes

    (note,) = notes(1)
    assert re.match(r"no example of class [01] among these 1 of 10: nothing here is about it", note)
    assert notes(0) == ()
