"""What tests of several folders share."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.fresh import Fresh

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """Look through modules and tests, which stay to the end, for garbage no more.

    What tests leave behind in cycles then goes soon, private optimizers among it, which every step asks.
    """
    gc.collect()
    gc.freeze()
    gc.collect()


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    """Runs programs in processes of their own."""
    process = Fresh(tmp_path_factory.mktemp("fresh"))
    yield process
    process.close()


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fresh]:
    """Runs programs in processes that have the command line and what it does imported; for tests of something
    else than what is imported, and when.
    """
    process = Fresh(tmp_path_factory.mktemp("ready"), "quintain.cli", "quintain.evaluate", "quintain.report")
    yield process
    process.close()
