"""Federated training that a signal ends: the same command goes on with the same rounds to the same result."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import load
from tests.cli.test_killed_fits import COUNT, KILL, RUN, TERM

TRAININGS = """
from quintain.federated import client
client.local_update = counted(client.local_update)
"""
"""A step is the training of one site in one round; of four sites here, in three rounds."""

WORDS = ("--sites", 4, "--rounds", 3, "--epochs", 1, "--out")


@pytest.fixture
def run(ready, tmp_path, monkeypatch):
    """Run the command as a process that gets a signal in its step of that number."""
    monkeypatch.chdir(tmp_path)

    def run(step, number, *words):
        (tmp_path / "program.py").write_text(COUNT + TRAININGS + RUN)
        told = ready(tmp_path / "program.py", step, number, "federate", *words, home=tmp_path)
        return told, told.err.splitlines().count("step")

    return run


def timeless(folder):
    """What a record says, but for how long it took."""
    record = load(Path(folder) / "result.json")
    rounds = tuple(replace(one, seconds=0.0) for one in record.result.rounds)
    return replace(record.result, rounds=rounds), record.claims, record.notes


def test_a_training_that_was_killed_twice_goes_on_with_the_same_rounds(run, small):
    whole, steps = run(-1, TERM, "--data", small, *WORDS, "whole")
    assert (whole.code, steps) == (ExitCode.OK, 12), whole.err
    lines = [line for line in whole.err.splitlines() if line.startswith("round ")]
    assert [line[:12] for line in lines] == ["round 1 of 3", "round 2 of 3", "round 3 of 3"]
    assert [re.search(r"sum of \d sites( without \S+)?, acc", line) is not None for line in lines] == [
        True
    ] * 3
    assert " without site-3, accuracy " in lines[1]
    cut, _ = run(6, KILL, "--data", small, *WORDS, "r")
    assert cut.code == -KILL
    cut, again = run(6, TERM, "--data", small, *WORDS, "r")
    assert (cut.code, again) == (ExitCode.INTERRUPTED, 6)
    said = " ".join(cut.err.split())
    assert "interrupted: 2 of 3 rounds of federated training are kept in r; to resume: quintain fed" in said
    other, _ = run(-1, TERM, "--data", small, "--seed", 1, *WORDS, "r")
    assert other.code == ExitCode.USAGE
    done, rest = run(-1, TERM, "--data", small, *WORDS, "r")
    assert (done.code, rest) == (ExitCode.OK, 2), done.err
    assert timeless("r") == timeless("whole")
    assert (
        Path("r/models/federated.safetensors").read_bytes()
        == Path("whole/models/federated.safetensors").read_bytes()
    )
    assert not Path("r/unfinished").exists()


def test_without_secure_aggregation_the_record_says_what_the_server_saw(call, small):
    code, out, err = call("federate", "--data", small, "--secure", "none", *WORDS, "p")
    assert code == ExitCode.OK, err
    result = load(Path("p/result.json"))
    assert result.result.server_saw_updates
    assert "the server saw each site's update" in " ".join(out.split())
    assert any("nothing is hidden" in note for note in result.notes)
    assert all(one.masked_vectors == 0 and one.sum_exact for one in result.result.rounds)
    code, _, err = call("federate", "--data", small, "--secure", "secag", *WORDS, "q")
    assert code == ExitCode.USAGE
    assert "Did you mean secagg" in " ".join(err.split())
