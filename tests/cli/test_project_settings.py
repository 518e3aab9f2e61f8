"""The requirements of a project: found from any of its folders, and never lost to a slip of the pen."""

import os
from inspect import signature

import pytest

from quintain.cli.commands import COMMANDS
from quintain.cli.project_settings import ProjectSettings, find_project_settings, sources_text
from quintain.core.errors import ExitCode, SettingError
from quintain.results.requirements import Requirement

GATE = """[project]
name = "xray"

[tool.quintain]
undecided = "warn"
require = [
    # "robust_accuracy(linf:4/255) >= 0.99"
    "robust_accuracy(linf:4/255) >= 0.99",
    'epsilon(delta=1e-5) <= 3',
]
"""


def stated(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(text)
    return folder / "pyproject.toml"


def test_the_settings_of_a_file_are_typed_and_know_their_lines(tmp_path):
    path = stated(tmp_path, GATE)
    found = find_project_settings(tmp_path)
    assert (found.path, found.undecided) == (path, "warn")
    assert [(one.text, one.path, one.line) for one in found.require] == [
        ("robust_accuracy(linf:4/255) >= 0.99", str(path), 8),
        ("epsilon(delta=1e-5) <= 3", str(path), 9),
    ]


def test_the_nearest_file_with_the_table_counts(tmp_path):
    deep = tmp_path / "packages" / "xray" / "tests"
    deep.mkdir(parents=True)
    assert find_project_settings(deep) == ProjectSettings()
    outer = stated(tmp_path, GATE)
    stated(tmp_path / "packages" / "xray", "[tool.ruff]\nline-length = 100\n")
    assert find_project_settings(deep).path == outer
    inner = stated(tmp_path / "packages" / "xray", "[tool.quintain]\n")
    assert find_project_settings(deep) == ProjectSettings(inner)


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        (
            "[tool.quintain]\nrequre = []\n",
            2,
            "no key of [tool.quintain] is called 'requre'. Did you mean require?",
        ),
        ("[tool.quintain]\nrequire = 3\n", 2, "require = 3; expected a list of strings"),
        ("[tool.quintain]\nrequire = [3]\n", 2, "require = [3]; expected a list of strings"),
        ("[tool.quintain.require]\na = 1\n", 1, "require = {'a': 1}; expected a list of strings"),
        ("[tool.quintain]\nundecided = 'pass'\n", 2, "undecided = 'pass'; expected 'fail' or 'warn'"),
        ("[tool.quintain]\nundecided = true\n", 2, "undecided = True; expected 'fail' or 'warn'"),
        ("[tool.quintain]\nundecided = []\n", 2, "undecided = []; expected 'fail' or 'warn'"),
        (
            "\n[tool]\nquintain = 3\n",
            3,
            "expected a table [tool.quintain] with the keys require and undecided",
        ),
        ("[tool.quintian]\n", 1, "[tool.quintian] is read by no tool; did you mean [tool.quintain]?"),
        ("[quintain]\nrequire = []\n", 1, "[quintain] is read by no tool; did you mean [tool.quintain]?"),
        ("[tool.quintain]\nrequire = [\n'a'\n", 3, "no TOML"),
        ("[tool.quintain]\nrequire == 3\n", 2, "no TOML: Invalid value; correct the file"),
        (
            "[tool.quintain]\nrequire = [\n  'epsilon <= 3',\n  'epsilom <= 2',\n]\n",
            4,
            "no quantity is called 'epsilom'. Did you mean epsilon?",
        ),
        ("[tool.quintain]\nrequire = ['epsilon < 3']\n", 2, "requirement 'epsilon < 3' cannot be read"),
    ],
)
def test_a_slip_is_told_with_its_file_and_line(tmp_path, text, line, told):
    path = stated(tmp_path, text)
    below = tmp_path / "below"
    below.mkdir()
    with pytest.raises(SettingError) as error:
        find_project_settings(below)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_other_tools_are_none_of_our_business(tmp_path):
    stated(tmp_path, "tool = 3\n")
    assert find_project_settings(tmp_path) == ProjectSettings()
    stated(tmp_path, "[tool.maintain]\na = 1\n[tool.quart]\n")
    assert find_project_settings(tmp_path) == ProjectSettings()
    (tmp_path / "folder" / "pyproject.toml").mkdir(parents=True)
    assert find_project_settings(tmp_path / "folder") == ProjectSettings()


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b"[tool.quintain]\n# caf\xe9\n")
    with pytest.raises(SettingError, match=r"pyproject\.toml, line 2: byte 0xe9 is no UTF-8"):
        find_project_settings(tmp_path)


def test_a_file_that_must_not_be_read_is_told(tmp_path, monkeypatch):
    path = stated(tmp_path, GATE)

    def refused(*_, **__):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(type(path), "read_text", refused)
    with pytest.raises(SettingError, match=r"pyproject\.toml cannot be read: Permission denied"):
        find_project_settings(tmp_path)


def test_where_requirements_come_from_is_counted(tmp_path):
    own = Requirement.parse("epsilon <= 3")
    file = Requirement.parse("epsilon <= 4", path=str(tmp_path), line=1)
    assert sources_text([], None) == ""
    assert sources_text([own], None) == "1 requirement from --require"
    assert sources_text([], tmp_path) == f"0 requirements from {tmp_path}"
    assert sources_text([file, file], tmp_path) == f"2 requirements from {tmp_path}"
    assert sources_text([file, own], tmp_path) == f"1 requirement from {tmp_path}, 1 from --require"


@pytest.mark.parametrize(
    "verb", ["attack", "certify", "harden", "privatize", "audit", "federate", "check", "drill"]
)
def test_no_verb_starts_with_a_broken_pyproject(call, small, tmp_path, verb):
    stated(tmp_path, "[tool.quintain]\nrequre = ['epsilon <= 3']\n")
    words = () if verb == "drill" else ("--data", small)
    code, _, err = call(verb, *words, "--out", "r")
    assert code == ExitCode.USAGE
    assert "Did you mean require?" in err
    assert not (tmp_path / "r").exists()


def test_a_drill_does_not_start_with_a_requirement_that_cannot_be_read(call, tmp_path):
    code, _, err = call("drill", "--require", "nonsense", "--out", "r")
    assert code == ExitCode.USAGE
    assert "'nonsense' cannot be read" in err
    assert not (tmp_path / "r").exists()


def test_every_command_that_takes_requirements_takes_what_to_do_where_one_is_undecided():
    options = {verb.name: set(signature(verb.run).parameters) for verb in COMMANDS}
    takers = {name for name, words in options.items() if "require" in words}
    assert takers >= {"drill", "evaluate", "attack", "certify", "harden", "privatize", "audit", "federate"}
    assert takers == {name for name, words in options.items() if "undecided" in words}
