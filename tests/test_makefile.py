"""The Makefile names the folders of the tests that it repeats under other kernels."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_test_that_rests_on_rounding_is_outside_of_the_folders_that_make_collects():
    (named,) = re.findall(r"ROUNDING := \$\(addprefix tests/,(.*)\)", (ROOT / "Makefile").read_text())
    folders = {ROOT / "tests" / name for name in named.split()}
    marked = [path for path in ROOT.glob("tests/**/*.py") if "mark.rounding" in path.read_text("utf-8")]
    assert len(marked) > 10
    assert {folder for folder in folders if not any(folder in path.parents for path in marked)} == set()
    outside = [path for path in marked if not folders & set(path.parents)]
    assert outside == [Path(__file__)]
