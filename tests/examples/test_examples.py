"""Each example runs as it stands."""

from pathlib import Path

import pytest

SERVING = {"http_server"}
"""What runs until it is stopped; ``http_black_box`` starts it."""

TEAM = "private_torchrun"
"""What starts two processes, each of which imports all for itself; in forks it takes a quarter of the
time.
"""

FIRST = {"fgsm_in_five_lines", "private_dropin", "secure_sum"}
"""One of each kind runs by default, all others in the exhaustive run."""

EXAMPLES = sorted(
    path
    for path in (Path(__file__).parents[2] / "examples").glob("*.py")
    if path.stem not in SERVING and not path.stem.startswith("flower_")  # these run in tests/flower
)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=() if path.stem in FIRST else pytest.mark.exhaustive)
        for path in EXAMPLES
    ],
)
def test_an_example_runs_and_says_something(path, fresh, tmp_path):
    told = fresh(path, home=tmp_path)
    assert told.code == 0, told.err
    assert told.out.strip()


def test_an_example_for_several_processes_runs_in_each_as_the_launcher_starts_it(fresh, tmp_path):
    (path,) = (path for path in EXAMPLES if path.stem == TEAM)
    for rank, told in enumerate(fresh.team(2, path, home=tmp_path)):
        assert told.code == 0, told.err
        assert f"process {rank} of 2: " in told.out


@pytest.mark.parametrize(
    ("text", "code", "complaint"),
    [
        ("raise ValueError('broken')", 1, "ValueError: broken"),
        ("import sys; sys.exit(3)", 3, ""),
        ("raise SystemExit('no')", 1, ""),
        ("import no_such_module", 1, "no_such_module"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9, ""),
    ],
)
def test_an_example_that_fails_would_be_seen(fresh, tmp_path, text, code, complaint):
    (tmp_path / "example.py").write_text(text)
    told = fresh(tmp_path / "example.py", home=tmp_path)
    assert told.code == code
    assert complaint in told.err


def test_what_one_example_imports_is_not_there_for_the_next(fresh, tmp_path):
    path = tmp_path / "example.py"
    path.write_text(
        "import sys; print([name for name in sys.modules if name.startswith('quintain')]); import quintain.dp"
    )
    assert [fresh(path, home=tmp_path).out for _ in range(2)] == ["[]\n", "[]\n"]
