import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from quintain.core.errors import DataError, ProtocolError, SettingError, UnknownNameError
from quintain.core.registry import get_entry
from quintain.federated import DropoutStage, attack_masks, require_hidden, secure_sum
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg_sum import SecureSum


def vectors(n=4, length=6, seed=0):
    rng = np.random.default_rng(seed)
    return {f"site-{i}": rng.uniform(-1, 1, length) for i in range(n)}


@pytest.mark.parametrize("stage", list(DropoutStage))
def test_a_silent_site_is_left_out_or_not_by_when_it_fell_silent(stage):
    given = vectors()
    result = secure_sum(given, dropouts={"site-1": stage})
    stays = stage in (DropoutStage.CONSISTENCY, DropoutStage.UNMASK)
    left = [name for name in given if stays or name != "site-1"]
    assert result.exact
    assert list(result.survivors) == left
    assert result.dropped == (() if stays else ("site-1",))
    assert (
        np.abs(result.total - sum(given[name] for name in left)).max()
        <= len(left) / 2 / result.encoding.scale
    )
    assert np.array_equal(result.mean, result.total / len(left))


def test_weights_stay_inside_and_give_the_weighted_mean():
    given, weights = vectors(), {f"site-{i}": 20 + i for i in range(4)}
    result = secure_sum(given, weights=weights, dropouts={"site-2": "masked"}, max_corrupt=0)
    assert result.weight == 20 + 21 + 23
    expected = (20 * given["site-0"] + 21 * given["site-1"] + 23 * given["site-3"]) / 64
    assert np.abs(result.mean - expected).max() < 1e-6


def test_weights_that_sum_to_nothing_have_no_mean():
    empty = secure_sum(vectors(), weights=dict.fromkeys(vectors(), 1))
    for weight in (0, -3):
        with pytest.raises(SettingError, match=f"sum to {weight}"):
            _ = replace(empty, weight=weight).mean


def test_settings_may_be_numbers_of_any_make():
    result = secure_sum(vectors(), clip_value=1, weights=dict.fromkeys(vectors(), np.int64(3)))
    assert result.exact
    assert result.weight == 12
    assert secure_sum({name: 1e-12 * vector for name, vector in vectors().items()}, clip_value=1e-12).exact


def test_the_server_sees_masked_vectors_and_none_of_the_vectors():
    given = vectors(length=300)
    result = secure_sum(given, dropouts={"site-1": "late"})
    assert set(result.server_view.masked_vectors) == set(given)
    for name, masked in result.server_view.masked_vectors.items():
        assert not np.any(masked == result.encoding.quantize(given[name]))
    uploads = b"".join(letter.data for letter in result.server_view.received)
    assert not any(result.encoding.quantize(vector)[:4].tobytes() in uploads for vector in given.values())
    assert result.bytes_uploaded["site-0"] == sum(
        len(letter.data) for letter in result.server_view.received if letter.site == 0
    )
    assert 4 * 300 < result.bytes_uploaded["site-0"] < 4 * 300 + 2000
    assert result.seconds > 0


def test_abandoned_rounds_say_why():
    with pytest.raises(ProtocolError, match=r"2 of 4 sites sent a masked vector; 3 are needed"):
        secure_sum(vectors(), dropouts={"site-0": "masked", "site-1": "late"})


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"dropouts": {"site-9": "masked"}}, SettingError, "site-9 unknown or missing"),
        ({"dropouts": {"site-1": "maskd"}}, UnknownNameError, "Did you mean masked"),
        ({"weights": {"site-0": 1}}, SettingError, "weights does not fit"),
        (
            {"weights": {"site-0": 2.5, "site-1": 3, "site-2": 1, "site-3": 1}},
            SettingError,
            "weight of 'site-0' = 2.5; expected an integer",
        ),
        (
            {"weights": {"site-0": -1, "site-1": 1, "site-2": 1, "site-3": 1}},
            SettingError,
            "the weight of 'site-0' is -1",
        ),
        ({"identities": {}}, SettingError, "identities does not fit"),
        ({"threshold": 2}, SettingError, "threshold = 2 of 4"),
        ({"min_survivors": 5}, SettingError, "min_survivors = 5"),
        ({"clip_value": float("nan")}, SettingError, "clip_value = nan"),
        ({"scale": 2**31}, SettingError, "no sum wraps"),
        ({"max_corrupt": 3, "threshold": 4}, SettingError, "at least two others"),
    ],
)
def test_settings_that_cannot_hold_are_refused(settings, error, match):
    with pytest.raises(error, match=match):
        secure_sum(vectors(), **settings)


def test_vectors_that_cannot_be_summed_are_refused():
    with pytest.raises(SettingError, match="at least two"):
        secure_sum({"alone": [1.0]})
    with pytest.raises(DataError, match=r"expected \(6,\)"):
        secure_sum({**vectors(), "site-1": np.zeros(5)})
    with pytest.raises(DataError, match="entry 1 is nan"):
        secure_sum({**vectors(), "site-1": np.array([0, np.nan, 0, 0, 0, 0])})


def test_an_identity_under_another_name_is_refused():
    own = {name: Identity.create(name) for name in vectors()}
    swapped = {**own, "site-0": own["site-1"], "site-1": own["site-0"]}
    with pytest.raises(
        SettingError, match="for 'site-0'; expected the Identity that was created under that name"
    ):
        secure_sum(vectors(), identities=swapped)
    with pytest.raises(SettingError, match="for 'site-0'"):
        secure_sum(vectors(), identities=dict.fromkeys(vectors(), "key"))
    assert secure_sum(vectors(), identities=own).exact


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"vectors": [[1.0], [2.0]]}, "vectors is a list; expected a mapping"),
        ({"vectors": {0: [1.0], 1: [2.0]}}, "expected a mapping from each site's name"),
        ({"dropouts": ["site-0"]}, "dropouts is a list"),
        ({"weights": 3}, "weights is a int"),
        ({"weights": dict.fromkeys(vectors(), "3")}, "weight of 'site-0' = '3'"),
        ({"identities": "keys"}, "identities is a str"),
        ({"clip_value": "1"}, "clip_value = '1'"),
        ({"threshold": 3.0}, "threshold = 3.0"),
        ({"round_id": "id"}, "round_id = 'id'"),
    ],
)
def test_settings_of_a_wrong_type_are_refused_by_name(settings, match):
    with pytest.raises(SettingError, match=match):
        secure_sum(**{"vectors": vectors(), **settings})


def test_vectors_of_a_wrong_type_are_refused_by_name():
    for odd in ("abc", [[1.0], [1.0, 2.0]], [None] * 6, np.ones(6) * 1j, {"a": 1}):
        with pytest.raises(DataError, match=r"expected|flatten"):
            secure_sum({**vectors(), "site-1": odd})
    with pytest.raises(UnknownNameError, match="no stage is called '3'"):
        secure_sum(vectors(), dropouts={"site-1": 3})


def test_it_is_registered_and_runs_without_torch():
    assert get_entry("aggregation", "secagg").load() is SecureSum
    program = (
        "import sys; from quintain.federated import secure_sum, attack_masks; from quintain.federated.secagg "
        "import client, server; "
    )
    program += "assert secure_sum({'a': [0.5], 'b': [0.25], 'c': [0]}).exact; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        == "False\n"
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"threshold": "3"}, "threshold = '3'"),
        ({"threshold": [3]}, "threshold = "),
    ],
)
def test_what_cannot_be_is_refused_before_the_round(change, match):
    with pytest.raises(SettingError, match=match):
        secure_sum(dict.fromkeys("abc", (0.5,)), **change)


def test_a_tensor_that_carries_gradients_is_refused_by_its_sites_name():
    with pytest.raises(DataError, match="the vector of 'b' is no array of numbers"):
        secure_sum({"a": [0.5], "b": torch.ones(1, requires_grad=True), "c": [0.5]})


@pytest.mark.parametrize("view", [None, "view", {}])
def test_an_attack_on_what_is_no_view_is_refused_by_name(view):
    for call in (lambda: attack_masks(view, "a"), lambda: require_hidden(view, {})):
        with pytest.raises(SettingError, match="view = "):
            call()
    with pytest.raises(SettingError, match="truth = "):
        require_hidden(secure_sum(dict.fromkeys("abc", (0.5,))).server_view, [])
    with pytest.raises(SettingError, match="identity = "):
        Roster.from_identities(view)


def test_a_public_weight_cap_is_a_constant_that_no_site_decides():
    given, weights = vectors(), dict.fromkeys(vectors(), 3)
    result = secure_sum(given, weights=weights, max_weight=100)
    assert result.encoding.max_weight == 100
    assert result.exact
    assert result.weight == 12
    assert np.abs(result.mean - np.mean([*given.values()], axis=0)).max() < 1e-6
    with pytest.raises(SettingError, match="weight = 101"):
        secure_sum(given, weights=dict.fromkeys(given, 101), max_weight=100)
    for odd in (0, -1, 2.5, "3"):
        with pytest.raises(SettingError, match="max_weight = "):
            secure_sum(given, weights=weights, max_weight=odd)
