"""An attacked model that dies on the way."""

from dataclasses import replace

import pytest
from torch import nn

from quintain.core.errors import ModelError
from quintain.evaluate.model import named_model
from quintain.evaluate.steps.attack import run_attack
from quintain.models.classifier import Classifier
from tests.evaluate.support.attacked import ATTACKS, SIZES, net, points, run, subject, timeless


class Mortal(nn.Module):
    """Dies after so many calls."""

    def __init__(self, calls):
        super().__init__()
        self.inner, self.calls = net(), calls

    def forward(self, x):
        self.calls -= 1
        if self.calls < 0:
            raise RuntimeError("connection lost")
        return self.inner(x)


def mortal(calls):
    found = named_model(Classifier(Mortal(calls).eval(), num_classes=2), "tiny", "tiny model")
    return replace(found, file=subject().file)


def test_a_model_that_dies_half_way_leaves_a_marked_result_that_a_living_one_completes(tmp_path):
    outcome = run_attack(mortal(60), points(), SIZES, ATTACKS, seed=3, folder=tmp_path)
    partial = outcome.result.models[0]
    assert "connection lost" in partial.stop_reason
    assert partial.num_unattacked > 0
    assert partial.diagnostics is None
    assert "stopped early" in outcome.notes[0]
    whole = run_attack(subject(), points(), SIZES, ATTACKS, seed=3, folder=tmp_path / "whole").result.models[
        0
    ]
    for part, row in zip(partial.rows, whole.rows, strict=True):
        assert part.unbroken_counts.num_correct >= row.unbroken_counts.num_correct
    again = run_attack(subject(), points(), SIZES, ATTACKS, seed=3, folder=tmp_path).result.models[0]
    assert timeless(again) == timeless(whole)
    assert (again.stop_reason, again.num_unattacked) == ("", 0)


def test_a_model_that_dies_before_anything_is_found_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="connection lost"):
        run(mortal(4), checkpoint_dir=tmp_path / "p")
    assert not (tmp_path / "p").exists()
