"""Changes that are one for all pictures, from the command line."""

from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.core.registry import Entry, declared_entries, get_entry
from quintain.results.codec import load


@pytest.fixture
def short_fits(monkeypatch):
    """Attacks in the settings of the laws, which take few steps."""

    def short(kind, name):
        entry = get_entry(kind, name)
        settings = entry.numbers("test_settings")
        monkeypatch.setattr(type(entry), "build", lambda self, **given: build(self, **given, **settings))
        return entry

    build = Entry.build
    monkeypatch.setattr("quintain.core.registry.get_entry", short)


@pytest.mark.parametrize("name", sorted(declared_entries("universal_attack")))
def test_each_is_fitted_on_one_split_and_scored_on_another(name, call, weights, small, short_fits):
    words = ("attack", "--data", small, "--weights", weights, "--attack", name, "--out", "r")
    code, out, err = call(*words)
    assert code == ExitCode.OK, err
    assert "pictures that it was not fitted on are read as any wrong class" in out
    (found,) = load(Path("r/result.json")).result.stickers
    assert found.description.startswith(f"{name}, ")
    assert 0 <= found.area <= 1
    assert 0 <= found.successes <= found.eligible <= 30
    assert not load(Path("r/result.json")).result.models
    assert call("report", "r")[0] == ExitCode.OK
    assert name in Path("r/report.html").read_text(encoding="utf-8").lower()


def test_each_threat_that_was_named_is_fitted_in_and_a_class_can_be_aimed_at(
    call, weights, small, short_fits
):
    words = ("attack", "--data", small, "--weights", weights, "--attack", "uap", "--target-class", 0)
    code, _, err = call(*words, "--threat", "linf:8/255", "--threat", "linf:0.1", "--out", "r")
    assert code == ExitCode.OK, err
    found = load(Path("r/result.json")).result.stickers
    assert [one.description.rpartition("within ")[2] for one in found] == ["linf:8/255", "linf:0.1"]
    assert {one.target_class for one in found} == {"0"}
    pictures = [picture.path for one in found for row in one.gallery for picture in row]
    assert len(set(pictures)) == len(pictures)
    assert call("report", "r")[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("uap", "--attack", "fgsm"), "run the command once for each"),
        (("uap", "--max-queries", 5), "--max-queries 5: --attack uap is fitted on batches of pictures"),
        (("uap", "--threat", "l0:5"), "--threat l0:5: uap does not support it; it supports linf, l2, mask"),
        (("phantom", "--threat", "linf:0.1"), "--threat linf:0.1 with --attack phantom"),
        (("uap", "--threat", "lonf:0.1"), "Did you mean linf"),
        (("uap", "--target-class", 7), "--target-class 7; expected a class from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(words, said, call, weights, small):
    code, _, err = call("attack", "--data", small, "--weights", weights, "--out", "r", "--attack", *words)
    assert code == ExitCode.USAGE
    assert said in " ".join(err.split())
    assert not Path("r/result.json").exists()


def test_data_without_a_split_to_fit_on_and_models_without_gradients_are_refused(
    call, weights, small, tmp_path
):
    import numpy as np

    with np.load(small) as arrays:
        np.savez(tmp_path / "test.npz", images=arrays["test_images"], labels=arrays["test_labels"])
    code, _, err = call(
        "attack", "--data", "test.npz", "--weights", weights, "--attack", "uap", "--split", ""
    )
    assert code != ExitCode.OK
    assert "no 'train' split" in " ".join(err.split())
    (tmp_path / "box.py").write_text(
        "import numpy as np\n\ndef scored(x):\n    return np.zeros((len(x), 2), dtype=np.float32)\n"
    )
    spec = f"scores:{tmp_path / 'box.py'}:scored"
    code, _, err = call("attack", "--data", small, "--model", spec, "--attack", "uap")
    assert code == ExitCode.EXECUTION
    assert "uap needs gradients, and the model gives scores only" in " ".join(err.split())


def test_several_processes_are_refused(call, weights, small, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = call("attack", "--data", small, "--weights", weights, "--attack", "uap")
    assert code == ExitCode.USAGE
    assert "--attack uap runs in one process" in " ".join(err.split())
