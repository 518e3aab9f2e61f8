"""The page on CI: its snippets are valid by the schemas of the systems, and what they name exists."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from quintain.cli.commands import COMMANDS
from quintain.cli.main import app
from quintain.core.errors import ExitCode
from quintain.results.requirements import Requirement

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def snippets(language: str, title: str = "") -> list[str]:
    part = PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0] if title else PAGE
    return re.findall(rf"^```{language}\n(.*?)^```", part, re.MULTILINE | re.DOTALL)


def run(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", *map(str, words)]
    return subprocess.run(program, cwd=cwd, capture_output=True, text=True, check=False)


def check(schema: str, path: Path) -> None:
    ended = run("check_jsonschema", "--builtin-schema", schema, path)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_action_is_valid() -> None:
    check("vendor.github-actions", ROOT / "action.yml")


def test_the_hooks_are_valid_and_run_here(tmp_path: Path) -> None:
    ended = run("pre_commit", "validate-manifest", ROOT / ".pre-commit-hooks.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (tmp_path / "pyproject.toml").write_text(
        "[tool.quintain]\nrequire = ['robust_accuracy(linf:4/255) >= 7']\n"
    )
    for hook in HOOKS:
        program, *words = shlex.split(hook["entry"])
        assert program == "quintain"
        refused = run("quintain", *words, cwd=tmp_path)
        assert refused.returncode == ExitCode.USAGE
        assert "pyproject.toml, line 2" in refused.stderr
        assert hook["pass_filenames"] is False
        assert re.fullmatch(hook.get("files", ".*"), "pyproject.toml")


@pytest.mark.parametrize(
    ("schema", "title"), [("vendor.github-workflows", "GitHub"), ("vendor.gitlab-ci", "GitLab")]
)
def test_the_snippets_are_valid(tmp_path: Path, schema: str, title: str) -> None:
    found = snippets("yaml", title)
    assert found
    for number, text in enumerate(found):
        path = tmp_path / f"{number}.yml"
        path.write_text(text)
        check(schema, path)


def test_the_snippet_of_pre_commit_is_valid_and_names_its_hooks(tmp_path: Path) -> None:
    (text,) = snippets("yaml", "pre-commit")
    path = tmp_path / "config.yaml"
    path.write_text(text)
    ended = run("pre_commit", "validate-config", path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (repository,) = yaml.safe_load(text)["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == [hook["id"] for hook in HOOKS]


def test_the_requirements_can_be_read() -> None:
    (text,) = snippets("toml")
    for one in tomllib.loads(text)["tool"]["quintain"]["require"]:
        Requirement.parse(one)


def test_every_command_and_option_that_is_shown_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folded = re.sub(r"\n\s+--", " --", PAGE)
    shown = re.findall(r"\bquintain ([a-z]+)((?: --?[^\n`']*)?)", folded)
    known = {command.name: "" for command in COMMANDS}
    shown = [(name, rest) for name, rest in shown if rest or name in known]
    assert {"evaluate", "report", "gate", "schema"} <= {name for name, _ in shown}
    for name, rest in shown:
        known[name] = known[name] or CliRunner().invoke(app, [name, "--help"]).stdout
        for option in re.findall(r" (--[a-z-]+)", rest):
            assert option in known[name], (name, option)


def test_the_inputs_and_outputs_of_the_action_are_those_of_the_page() -> None:
    workflow = yaml.safe_load(snippets("yaml", "GitHub")[0])
    (step,) = [one for one in workflow["jobs"]["robustness"]["steps"] if one.get("id") == "quintain"]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert {name for name, given in ACTION["inputs"].items() if given.get("required")} <= set(step["with"])
    used = set(re.findall(r"steps\.quintain\.outputs\.([a-z-]+)", PAGE))
    assert used <= set(ACTION["outputs"])
    table = PAGE.split("| output | |", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"`([a-z-]+)`", table)) == {*ACTION["outputs"], "quintain"}


def test_the_table_has_every_exit_code_and_outcome() -> None:
    rows = re.findall(r"^\| (\d+) \| `([A-Z]+)` \|", PAGE, re.MULTILINE)
    assert rows == [(str(int(code)), code.name) for code in ExitCode]
