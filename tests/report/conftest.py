from pathlib import Path

import pytest

from quintain.results.records import Record

from .sample import run, save


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder; tests that change it copy it first."""
    place = tmp_path_factory.mktemp("run")
    save(run(place), place)
    return place


@pytest.fixture(scope="session")
def records(folder: Path) -> tuple[Record, ...]:
    from quintain.report import read

    return read(folder)
