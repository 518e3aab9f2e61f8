"""What tests of several files here share."""

import pytest

from quintain.evaluate.model import named_model
from quintain.models.classifier import Classifier
from tests.evaluate.support.trained_net import net


@pytest.fixture(scope="module")
def subject():
    """A small net that was trained, with its name."""
    return named_model(Classifier(net(), num_classes=2), "tiny", "tiny model")
