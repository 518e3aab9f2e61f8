from pathlib import Path

import pytest

from quintain.report import render
from quintain.results.records import Record
from tests.report.support.browser import find_chromium
from tests.report.support.reading import Page
from tests.report.support.sample import run, save


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


@pytest.fixture(scope="session")
def html(records: tuple[Record, ...], folder: Path) -> str:
    return render(records, folder)


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return Page(html)


@pytest.fixture(scope="session")
def chromium() -> str:
    return find_chromium()
