"""What a training says of itself."""

from quintain.evaluate.training import describe_settings
from quintain.harden import PGDTraining
from quintain.threats import Linf


def test_settings_of_a_training_name_its_threat():
    text = describe_settings(PGDTraining(Linf(4 / 255)))
    assert text.startswith("threat linf:4/255, ")
    assert "learning rate" in text
