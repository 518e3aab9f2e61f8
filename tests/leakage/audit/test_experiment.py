import numpy as np
import pytest

from quintain.core.errors import DataError
from quintain.leakage import Experiment, audit_many_runs, audit_one_run


def test_an_experiment_says_whose_coins_it_had(tmp_path):
    rng = np.random.default_rng(0)
    coins = rng.random(100) < 0.5
    scores = coins + rng.standard_normal(100)
    ours = Experiment(scores, coins, coins="ours")
    assert ours.assumptions == ()
    assert ours.ids == tuple(map(str, range(100)))
    np.savez(tmp_path / "s.npz", scores=scores, included=coins)
    theirs = Experiment.read(tmp_path / "s.npz")
    assert theirs.coins == "assumed"
    assert any("coins" in text for text in theirs.assumptions)
    for auditor in (audit_one_run, audit_many_runs):
        assert theirs.audit(auditor, seed=3) == auditor(scores, coins, seed=3)


def test_ids_are_one_for_each_canary():
    with pytest.raises(DataError, match="2 different ids of 3 canaries"):
        Experiment(np.arange(3.0), np.array([True, False, True]), "ours", ("a", "b", "a"))
    with pytest.raises(DataError, match="NaN"):
        Experiment(np.array([np.nan, 1.0]), np.array([True, False]), "ours")
