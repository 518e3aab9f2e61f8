"""Defenses are trained where they can reach what is asked."""

import pytest
from torch import nn

from quintain.core.errors import SettingError
from quintain.evaluate.steps import harden
from quintain.evaluate.steps.harden import run_harden
from quintain.threats import L2
from tests.evaluate.support.halfspace import points


def test_a_defence_is_not_trained_where_its_certificate_could_never_reach(monkeypatch, tmp_path):
    monkeypatch.setattr(harden, "train_defense", None)
    settings = {"sigma": 0.25, "attacks": {}, "folder": tmp_path}
    with pytest.raises(
        SettingError,
        match=r"eps = 5 can never be certified: 10,000 noise samples at sigma = 0\.25 "
        r".* reach 0\.7996 at most",
    ):
        run_harden(nn.Linear(2, 2), points(), points(), "gaussian", threat=L2(5.0), **settings)
