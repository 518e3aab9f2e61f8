"""Each example runs as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest

SERVING = {"http_server"}
"""What runs until it is stopped; ``http_black_box`` starts it."""

EXAMPLES = sorted(path for path in (Path(__file__).parents[2] / "examples").glob("*.py") if path.stem not in SERVING)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_says_something(path):
    told = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip()
