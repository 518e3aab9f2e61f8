"""``quintain federate``: what sums the updates, one epsilon for all sites, and wrong input."""

import sys
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.results.codec import load
from quintain.results.run_layout import RESULT_FILE

SHORT = ("--sites", "3", "--rounds", "1", "--epochs", "1", "--out", "f")


@pytest.mark.parametrize(
    ("secure", "name", "protocol"),
    [
        ("none", "plain-sum", "each signed by its site"),
        ("secagg", "secagg", "Bonawitz"),
        ("he", "he", "BFV by TenSEAL, one key for 3 clients"),
    ],
)
def test_a_process_trains_with_each_kind_of_sum_and_states_one_epsilon_for_all_sites(
    secure, name, protocol, small, tmp_path, ready
):
    words = ("--secure", secure, "--epsilon", "4")
    required = ("--require", "epsilon <= 4.01", "--require", "clean_accuracy >= 0.01")
    code, out, err = ready.quintain("federate", "--data", small, *SHORT, *words, *required, home=tmp_path)
    told = " ".join((out + err).split())
    assert code == ExitCode.OK, told
    assert told.count("PASS ") == 2
    assert "for one record over all rounds, by DP-SGD at each site" in told
    assert "a record at two sites pays for both" in told
    assert "trained without privacy" in told
    assert ("colludes with the server" in told) == (secure == "he")

    record = load(tmp_path / "f" / RESULT_FILE)
    result, privacy = record.result, record.result.privacy
    assert result.aggregation == name
    assert protocol in result.protocol
    assert result.guarantee
    assert result.server_saw_updates == (secure == "none")
    (only,) = result.rounds
    assert only.sum_exact
    assert only.masked_vectors == (0 if secure == "none" else 3)
    assert min(only.bytes_uploaded, only.seconds) > 0
    assert (privacy.privacy_unit, privacy.mechanism) == ("record", "DP-SGD at each site")
    assert 3.5 < privacy.epsilon <= 4.001
    assert privacy.epsilon == max(site.epsilon for site in result.sites)
    assert not record.provenance.reproducible


@pytest.mark.parametrize("by", ["sites", "server"])
def test_noise_on_sums_of_few_sites_is_called_useless_and_passes_no_requirement_of_a_small_epsilon(
    call, small, by
):
    words = ("--noise-multiplier", "0.5", "--clip-norm", "0.1", "--noise-by", by)
    code, out, err = call("federate", "--data", small, *SHORT, *words, "--require", "epsilon <= 4")
    told = " ".join((out + err).split())
    assert code == ExitCode.UNDECIDED
    result = load(Path("f") / RESULT_FILE).result
    assert result.privacy.privacy_unit == "client"
    assert result.privacy.relative_noise > 1
    assert 4 < result.privacy.epsilon < 30
    assert "with 3 sites, privacy of whole sites is useless" in told
    assert "for one site over all rounds" in told
    assert ("trusted to add it" in told) == (by == "server")
    assert result.rounds[0].sum_exact
    assert call("report", "f")[0] == ExitCode.OK
    assert "privacy of whole sites is useless" in Path("f/report.html").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--epsilon", "0"), "got epsilon = 0.0; expected a positive finite number"),
        (("--epsilon", "-1"), "got epsilon = -1.0; expected"),
        (("--epsilon", "nan"), "got epsilon = nan; expected"),
        (("--epsilon", "3", "--delta", "0"), "got delta = 0.0; expected"),
        (("--noise-multiplier", "1"), "got --noise-multiplier without --clip-norm; expected both"),
        (("--clip-norm", "1"), "got --clip-norm without --noise-multiplier; expected both"),
        (("--noise-multiplier", "0", "--clip-norm", "1"), "noise_multiplier = 0.0; expected a positive"),
        (("--noise-multiplier", "1", "--clip-norm", "-1"), "clip_norm = -1.0; expected a positive"),
        (("--noise-multiplier", "1", "--clip-norm", "1", "--epsilon", "3"), "expected one of them"),
        (
            ("--noise-multiplier", "1", "--clip-norm", "1", "--secure", "none"),
            "which one share does not hide; expected one that hides updates",
        ),
        (
            ("--noise-multiplier", "1", "--clip-norm", "1", "--noise-by", "server", "--secure", "he"),
            "see it without noise; expected noise that sites share (added_by='sites', --noise-by sites)",
        ),
        (("--noise-multiplier", "1", "--clip-norm", "1e12"), "fit no grid"),
        (("--noise-multiplier", "1", "--clip-norm", "1", "--noise-by", "nobody"), "nobody"),
        (("--sites", "1"), "3"),
        (("--secure", "hee"), "Did you mean he"),
        (("--drop", "0.4"), "silence 1 of 3 sites in each round, and a sum needs 3"),
        (("--stragglers", "2"), "silence 2 of 3 sites"),
        (("--drop", "1"), "from 0 to below 1"),
        (("--drop", "0.1"), "drop = 0.1 of 3 sites is less than one, so that no site would drop out"),
        (
            ("--robust", "median", "--sites", "9", "--drop", "0.3"),
            "silence 2 of 9 sites in each round, which may leave 1 of 3 groups with a sum, of 3 sites, and "
            "the robust average needs 3 of these sums, of 7 sites in all: expected at most 0 silent ones",
        ),
        (
            ("--noise-multiplier", "1", "--clip-norm", "1", "--robust", "median", "--sites", "9"),
            "client_noise with the aggregation secagg-median-3: its noise is made for the sum of all sites",
        ),
        (("--noise-by", "server"), "got --noise-by server without --noise-multiplier"),
        (("--epsilon", "3", "--strategy", "scaffold"), "strategy scaffold, which changes the local loss"),
        (("--epsilon", "1e-9"), "no noise multiplier up to"),
        (("--engine", "ray"), "'flower'"),
    ],
)
def test_wrong_input_is_refused_before_any_training(call, small, words, reason, monkeypatch):
    monkeypatch.setattr("quintain.evaluate.steps.federate.fit", None)
    code, out, err = call("federate", "--data", small, *SHORT, *words)
    told = " ".join((out + err).split())
    assert code == ExitCode.USAGE
    assert reason in told
    assert "Traceback" not in told
    assert not (Path("f") / RESULT_FILE).exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "training changes the buffer '0.running_mean'"),
        (("--epsilon", "3"), "layer '0' is a BatchNorm2d, whose per-example gradients do not exist"),
    ],
)
def test_a_net_that_no_site_can_train_is_refused_before_any_training(call, small, words, reason, monkeypatch):
    Path("mixing.py").write_text(
        "from torch import nn\n\n\ndef make(num_classes, channels=1):\n"
        "    parts = nn.BatchNorm2d(channels), nn.AdaptiveAvgPool2d(2), nn.Flatten()\n"
        "    return nn.Sequential(*parts, nn.Linear(4 * channels, num_classes))\n"
    )
    monkeypatch.setattr("quintain.evaluate.steps.federate.fit", None)
    code, out, err = call("federate", "--data", small, "--model", "mixing.py:make", *SHORT, *words)
    assert code == ExitCode.EXECUTION
    assert reason in " ".join((out + err).split())


def test_encryption_without_tenseal_names_the_remedy(call, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal", None)
    code, out, err = call("federate", "--data", small, *SHORT, "--secure", "he")
    assert code == ExitCode.EXECUTION
    assert "pip install 'quintain[he]'" in out + err
    assert not (Path("f") / RESULT_FILE).exists()


def test_a_strategy_that_leaves_a_part_at_the_sites_records_their_own_models(call, small):
    code, out, err = call("federate", "--data", small, "--strategy", "personal-head", *SHORT)
    assert code == ExitCode.OK, err
    result = load(Path("f") / RESULT_FILE).result
    assert result.strategy == "personal-head"
    assert all(site.personal_counts is not None for site in result.sites)
    assert "the sites' own models: hospital-1" in " ".join(out.split()) or "own models: site-1" in out


def test_noise_on_sums_says_nothing_of_heads_that_stay_at_the_sites(call, small):
    """The model here has their average, without noise: an epsilon of it decides no requirement."""
    noise = ("--noise-multiplier", 1, "--clip-norm", 0.5, "--require", "epsilon<=1000")
    code, _, err = call("federate", "--data", small, "--strategy", "personal-head", *SHORT, *noise)
    assert code == ExitCode.UNDECIDED, err
    (claim,) = [one for one in load(Path("f") / RESULT_FILE).claims if one.name == "updates:epsilon"]
    assert (claim.model, claim.primary) == ("updates", False)
    code, _, err = call("federate", "--data", small, *SHORT, *noise, "--out", "g")
    assert code == ExitCode.OK, err


def test_scaffold_trains_by_plain_steps_and_not_privately(call, small):
    code, _, err = call("federate", "--data", small, "--strategy", "scaffold", *SHORT)
    assert code == ExitCode.OK, err
    result = load(Path("f") / RESULT_FILE).result
    assert result.strategy == "scaffold"
    assert all(site.personal_counts is None for site in result.sites)
    code, _, err = call(
        "federate", "--data", small, "--strategy", "scaffold", "--epsilon", "4", *SHORT[:-1], "g"
    )
    assert code == ExitCode.USAGE
    assert "changes the local loss" in " ".join(err.split())


def test_robust_averages_are_refused_where_there_are_none(call, small):
    for words, said in (
        (("--robust", "median", *SHORT), "With fewer than 9 sites no robust average"),
        (("--robust", "krum", *SHORT), "krum compares single updates"),
        (("--robust", "median", "--secure", "he", *SHORT), "expected secagg"),
        (("--strategy", "fedavgg", *SHORT), "Did you mean fedavg"),
    ):
        code, _, err = call("federate", "--data", small, *words)
        assert code == ExitCode.USAGE
        assert said in " ".join(err.split())


def test_a_part_of_the_sites_drops_out_of_each_round(call, small):
    words = ("--sites", "4", "--rounds", "2", "--epochs", "1", "--out", "f", "--drop", "0.25")
    code, out, err = call("federate", "--data", small, *words)
    assert code == ExitCode.OK, out + err
    rounds = load(Path("f") / RESULT_FILE).result.rounds
    assert all(one.sum_exact for one in rounds)
    assert [len(one.dropped) for one in rounds] == [1, 1]


def test_flower_that_is_not_installed_names_the_remedy(call, small, monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    monkeypatch.delitem(sys.modules, "quintain.federated.flower.engine", raising=False)
    code, out, err = call("federate", "--data", small, *SHORT, "--engine", "flower")
    assert code == ExitCode.EXECUTION
    assert "pip install 'quintain[fed]' 'flwr[simulation]'" in " ".join((out + err).split())
    assert not (Path("f") / RESULT_FILE).exists()
