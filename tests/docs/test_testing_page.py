"""The page on testing names all of quintain.testing, and its example runs."""

import re
from pathlib import Path

from quintain import testing

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")


def test_every_public_name_stands_on_the_page_and_no_other():
    named = set(re.findall(r"`(\w+)`", PAGE.split("## All laws of one thing")[1]))
    assert named - {"alpha", "planted", "alarm"} == set(dir(testing))


def test_the_example_runs_and_keeps_the_laws():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(compile(code, "docs/testing.md", "exec"), names)
    names["test_the_laws"]()
