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


@pytest.fixture
def brief_plain_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain training beside a private one begins with one epoch; ``test_plain_training`` and processes
    have the lengths that users get.
    """
    monkeypatch.setattr("quintain.evaluate.plain_training.FIRST_EPOCHS", 1)
    monkeypatch.setattr("quintain.evaluate.plain_training.MIN_STEPS", 1)


@pytest.fixture
def brief_diagnostics(monkeypatch: pytest.MonkeyPatch) -> None:
    """The diagnostics of attacks take few queries; their own tests have as many as users get."""
    few = {"gradients": 10, "scores": 10, "labels": 10}
    monkeypatch.setattr("quintain.evaluate.evasion.decision_probe.WALK_QUERIES", 40)
    monkeypatch.setattr("quintain.evaluate.evasion.probes.RANDOM", few)
