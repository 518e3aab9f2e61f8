import pytest

from quintain.core.files import sha256_file
from quintain.core.source_files import imported_files, source_hash


@pytest.fixture
def folder(tmp_path):
    files = {
        "mine.py": "import json, numpy.random\nfrom helper import noise\nimport package.deep.one\n",
        "helper.py": "def noise():\n    from more import value\n    return value\n",
        "more.py": "import mine\nvalue = 1\n",
        "package/__init__.py": "",
        "package/deep/one.py": "from . import two\nfrom ..beside import thing\n",
        "package/deep/two.py": "",
        "package/beside.py": "thing = 1\n",
        "package/unused.py": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


USED = (
    "helper.py",
    "more.py",
    "package/__init__.py",
    "package/beside.py",
    "package/deep/one.py",
    "package/deep/two.py",
)


def test_all_that_is_imported_from_the_folder_is_found(folder):
    found = imported_files(folder / "mine.py")
    assert tuple(one.relative_to(folder).as_posix() for one in found) == USED


@pytest.mark.parametrize("name", ["mine.py", *USED])
def test_a_change_of_what_is_imported_changes_the_hash(folder, name):
    before = source_hash(folder / "mine.py")
    (folder / name).write_text((folder / name).read_text() + "# changed\n")
    assert source_hash(folder / "mine.py") != before


@pytest.mark.parametrize("name", ["unused.py", "package/unused.py"])
def test_what_is_not_imported_does_not_count(folder, name):
    before = source_hash(folder / "mine.py")
    (folder / name).write_text("changed = True\n")
    assert source_hash(folder / "mine.py") == before


def test_a_file_of_its_own_has_the_hash_that_sha256sum_gives(folder):
    (folder / "alone.py").write_text("import json\nfrom torch import nn\n")
    assert source_hash(folder / "alone.py") == sha256_file(folder / "alone.py")


def test_a_file_that_is_moved_with_what_it_imports_keeps_its_hash(folder, tmp_path):
    before = source_hash(folder / "mine.py")
    (tmp_path / "moved").mkdir()
    for one in [*folder.glob("*.py"), folder / "package"]:
        one.rename(tmp_path / "moved" / one.name)
    assert source_hash(tmp_path / "moved" / "mine.py") == before


def test_what_is_no_python_counts_by_its_content(folder):
    (folder / "helper.py").write_text("def (:\n")
    assert folder / "helper.py" in imported_files(folder / "mine.py")
    (folder / "above.py").write_text("from ... import far\n")
    assert imported_files(folder / "above.py") == ()


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("import importlib\nhp = importlib.import_module('unused')\n", "unused.py"),
        (
            "from importlib import import_module\nhp = import_module(name='package.unused')\n",
            "package/unused.py",
        ),
        ("hp = __import__('unused')\n", "unused.py"),
    ],
)
def test_what_is_imported_by_a_literal_name_counts(folder, code, name):
    (folder / "late.py").write_text(code)
    before = source_hash(folder / "late.py")
    (folder / name).write_text("changed = True\n")
    assert source_hash(folder / "late.py") != before


def test_a_relative_literal_name_is_of_the_package(folder):
    (folder / "package/deep/one.py").write_text(
        "import importlib\nimportlib.import_module('..unused', __package__)\n"
    )
    assert folder / "package/unused.py" in imported_files(folder / "mine.py")


def test_a_name_that_is_made_while_the_code_runs_does_not_count(folder):
    (folder / "late.py").write_text("import importlib\nimportlib.import_module('un' + 'used')\n")
    assert imported_files(folder / "late.py") == ()
