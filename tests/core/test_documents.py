"""What the documents say is what there is."""

import re
from pathlib import Path

from quintain.cli.verbs import ALL
from quintain.core.errors import ExitCode
from quintain.core.registry import CATALOGUES, entries
from quintain.version import __version__

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_two_commands_come_first():
    lines = [line.strip() for line in README.splitlines() if line.startswith("    make")]
    assert [line.split("#")[0].strip() for line in lines[:2]] == ["make drill", "make test"]


def test_every_verb_and_exit_code_is_named():
    assert all(re.search(rf"quintain {verb.name}\b", README) for verb in ALL)
    assert all(re.search(rf"\b{int(code)} ", README) for code in ExitCode)


def test_the_table_names_the_parts_that_have_something_registered():
    table = README.split("## What is inside")[1]
    parts = {CATALOGUES[kind].split(".")[1] for kind in ("attack", "certifier", "defence", "private", "audit", "aggregation")}
    assert all(f"`{part}`" in table for part in parts)
    assert all(entries(kind) for kind in CATALOGUES)


def test_every_link_of_the_readme_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_the_bundled_data_come_with_their_attribution():
    notice = (ROOT / "src/quintain/data/bundled/NOTICE").read_text(encoding="utf-8")
    assert "CC BY 4.0" in notice
    assert "Kermany" in notice


def test_the_version_is_one_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
