"""Defenses are trained where they can reach what is asked."""

import pytest
import torch
from torch import nn

from quintain.certify.smoothing import SmoothedClassifier
from quintain.core.errors import SettingError
from quintain.dp.training.resume import delete_unfinished
from quintain.evaluate import smoothing
from quintain.evaluate.steps import harden
from quintain.evaluate.steps.harden import run_harden
from quintain.threats import L2, Linf, parse
from tests.evaluate.support.halfspace import points


def test_a_defence_is_not_trained_where_its_certificate_could_never_reach(monkeypatch, tmp_path):
    monkeypatch.setattr(harden, "train_defense", None)
    settings = {"sigma": 0.25, "attacks": {}, "folder": tmp_path}
    with pytest.raises(
        SettingError,
        match=r"eps = 5 can never be certified: 10,000 noise samples at sigma = 0\.25 "
        r".* reach 0\.7926 at most",
    ):
        run_harden(nn.Linear(2, 2), points(), points(), "gaussian", threat=L2(5.0), **settings)


def test_certificates_of_a_hardened_model_are_not_made_again_after_a_kill(monkeypatch, tmp_path):
    settings = {"sigma": 0.25, "threat": L2(0.1), "epochs": 1, "folder": tmp_path}

    def run():
        torch.manual_seed(0)
        net, unfinished = nn.Linear(2, 2), tmp_path / "unfinished"
        return run_harden(net, points(), points(), "gaussian", unfinished=unfinished, **settings)

    def stopping(*_args, **_words):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(smoothing, "_attack", stopping)
        with pytest.raises(KeyboardInterrupt):
            run()

    def never(*_args, **_words):
        raise AssertionError("an example was certified again")

    monkeypatch.setattr(SmoothedClassifier, "certify", never)
    assert [claim.name for claim in run().claims if claim.name.startswith("smoothed")]
    delete_unfinished(tmp_path / "unfinished")
    assert not (tmp_path / "unfinished").exists()


def test_a_model_trained_against_several_threats_is_attacked_in_each(tmp_path):
    output = run_harden(
        nn.Linear(2, 2),
        points(),
        points(),
        "union-at",
        threat=Linf(0.1),
        also=(L2(0.2), parse("l1:0.3")),
        epochs=1,
        sigma=0.25,
        folder=tmp_path,
    )
    rows = [row.threat for model in output.result.models for row in model.rows]
    assert rows == [Linf(0.1).spec, L2(0.2).spec, parse("l1:0.3").spec]
    claimed = [claim.bracket.quantity.threat for claim in output.claims[1:]]
    assert claimed == rows
    assert any("l1:0.3" in note for note in output.notes)
