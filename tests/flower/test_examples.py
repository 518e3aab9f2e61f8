"""Each example with Flower runs as it stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("flower_*.py")), ids=lambda path: path.stem)
def test_an_example_runs_and_says_something(path, tmp_path):
    told = subprocess.run(
        [sys.executable, path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip()
