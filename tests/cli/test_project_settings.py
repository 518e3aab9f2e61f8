"""The requirements of a project: found from any of its folders, and never lost to a slip of the pen."""

import os

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
        ("[[tool.quintian]]\nundecided = 'fail'\n", 1, "[tool.quintian] is read by no tool"),
        ("[[tool.quintain]]\nrequire = []\n", 1, "expected a table [tool.quintain]"),
        ("[toool.quintain]\nrequires = []\n", 1, "[toool.quintain] is read by no tool; did you mean"),
        ("[tool]\nrequire = ['epsilon <= 3']\n", 2, "did you mean require in [tool.quintain]?"),
        ("[tool]\nundecided = 'warn'\n[tool.quintain]\n", 2, "did you mean undecided in [tool.quintain]?"),
        ("[tool.quintain]\nrequire = [\n'a'\n", 3, "no TOML"),
        ("[tool.quintain]\nrequire == 3\n", 2, "no TOML: Invalid value; correct the file"),
        (
            "[tool.quintain]\nrequire = [\n  'epsilon <= 3',\n  'epsilom <= 2',\n]\n",
            4,
            "no quantity is called 'epsilom'. Did you mean epsilon?",
        ),
        ("[tool.quintain]\nrequire = ['epsilon < 3']\n", 2, "requirement 'epsilon < 3' cannot be read"),
        ("[tool.quintain]\nrequire = ['epsilon >= 3']\n", 2, "worse models alone; expected <="),
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


@pytest.mark.parametrize(
    "text",
    [
        "[project.scripts]\nquintain = 'mine:run'\n",
        "[project.optional-dependencies]\nquintain = ['quintain']\n",
        "[dependency-groups]\nquintain = ['quintain']\n",
        "[tool.poetry.dependencies]\nquintain = '^0.1'\n",
        "[tool.poetry.dependencies.quintain]\nversion = '^0.1'\nextras = ['onnx']\n",
        "[tool.uv.sources]\nquintain = { path = '../quintain' }\n",
        "[tool.pixi.feature.quintain]\nplatforms = []\n",
        "[tool.mypy.quintain]\nstrict = true\n",
        "[project.entry-points.'quintain.attack']\nmine = 'mine:Attack'\n",
        "[project]\nname = 'quintain-extras'\n",
        "[tool.quintain-extras]\ncolor = true\n",
        "[tool.mine]\nrequire = []\nundecided = 'fail'\n",
        "[tool.require]\nrequire = []\n",
        "[[tool.uv.index]]\nname = 'quintain'\n[[tool.mypy.overrides]]\nmodule = 'quintain.*'\n",
        "[[tool.mine]]\nrequire = []\n",
    ],
)
def test_what_is_about_the_package_is_no_slip(tmp_path, text):
    stated(tmp_path, text)
    assert find_project_settings(tmp_path) == ProjectSettings()


@pytest.mark.parametrize(
    "name",
    [
        "tools.quintain",
        "Tool.quintain",
        "tool.Quintain",
        "project.tool.quintain",
        "tool.quintain-gate",
        "tool.quintain_gate",
        "tool.gate.quintain",
        "project.quintain",
        "quintain.tool",
        "QUINTAIN",
        "tool.quintan",
    ],
)
def test_a_table_that_was_meant_to_be_ours_is_no_other_tools(tmp_path, name):
    path = stated(tmp_path, f"[{name}]\nrequire = ['epsilon <= 3']\n")
    with pytest.raises(SettingError) as error:
        find_project_settings(tmp_path)
    named = "quintain" if name == "quintain.tool" else name
    assert str(error.value) == f"{path}, line 1: [{named}] is read by no tool; did you mean [tool.quintain]?"


def test_a_misnamed_table_beside_ours_is_no_other_tools(tmp_path):
    stated(tmp_path, "[tool.quintain]\nundecided = 'warn'\n[tools.quintain]\nrequire = ['epsilon <= 3']\n")
    with pytest.raises(SettingError, match=r"\[tools\.quintain\] is read by no tool"):
        find_project_settings(tmp_path)


@pytest.mark.parametrize(("kind", "told"), [("link", "is a link to nothing"), ("folder", "is a folder")])
def test_what_stands_in_the_place_of_the_file_is_told(tmp_path, kind, told):
    path = tmp_path / "pyproject.toml"
    path.symlink_to("nowhere.toml") if kind == "link" else path.mkdir()
    (tmp_path / "below").mkdir()
    with pytest.raises(SettingError) as error:
        find_project_settings(tmp_path / "below")
    assert str(error.value).startswith(f"{path} {told}")


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
    options = {verb.name: {one.name for one in verb.options} for verb in COMMANDS}
    takers = {name for name, words in options.items() if "require" in words}
    assert takers >= {"drill", "evaluate", "attack", "certify", "harden", "privatize", "audit", "federate"}
    assert takers == {name for name, words in options.items() if "undecided" in words}
