"""What tests of several steps share."""

import pytest
import torch

from quintain.data import load_data


@pytest.fixture(autouse=True)
def brief(brief_plain_training):
    """Plain trainings are short."""


@pytest.fixture
def run_alone(monkeypatch):
    """What the audited run tells of itself is enough for many a fault: the measurements on made-up records
    are left out, to save time.
    """
    monkeypatch.setattr("quintain.evaluate.steps.audit.measurements", lambda *_plan, **_words: ())


@pytest.fixture(scope="module")
def train():
    """Three hundred of the bundled pictures."""
    return load_data("xrays").split("train").subset(torch.arange(300))
