"""The settings of a site that runs Flower apps, and the terms that server and site each have a copy of."""

from dataclasses import replace
from pathlib import Path

import pytest

from quintain.core.errors import NotFoundError, ProtocolError, SettingError
from quintain.federated.enrollment import save_identity, save_roster
from quintain.federated.flower.site import SiteSettings
from quintain.federated.flower.terms import NO_ROUND, SumTerms
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg.message_bodies import check_offer, pack_offer
from quintain.federated.secagg.messages import MessageType, open_server

NAMES = ("a", "b", "c", "d", "e")
FILE = 'identity = "identity.toml"\nroster = "roster.toml"\nrounds = "rounds"\njournal = "/var/lib/j"\n'


def written(folder, text=FILE):
    identities = [Identity.create(name) for name in NAMES]
    save_roster(folder / "roster.toml", Roster.from_identities(*identities), identities)
    save_identity(folder / "identity.toml", identities[0])
    (folder / "site.toml").write_text(text)
    return folder / "site.toml"


def test_a_site_reads_its_file_and_its_paths_are_relative_to_it(tmp_path):
    site = SiteSettings.load(written(tmp_path, FILE + "clip_value = 2\nclear_evaluation = true\n"))
    assert (site.identity_file, site.rounds) == (tmp_path / "identity.toml", tmp_path / "rounds")
    assert site.journal == Path("/var/lib/j")
    assert (site.terms.clip_value, site.clear_evaluation) == (2, True)
    assert site.load_identity().name == "a"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (FILE + "treshold = 2\n", "unknown treshold"),
        (FILE.replace('identity = "identity.toml"\n', ""), "missing identity"),
        (FILE + "threshold = 2\n", "threshold = 2 of 5 sites"),
        (FILE + "threshold = 4.0\n", "threshold = 4.0"),
        (FILE + "threshold = true\n", "threshold = True"),
        (FILE + 'clip_value = "much"\n', "clip_value = 'much'"),
        (FILE + "max_corrupt = 4\n", "max_corrupt = 4"),
        (FILE + "scale = 0\n", "scale = 0"),
        (FILE + "weights = 3\n", "weights = 3"),
        (FILE + "weights = {a = 1}\n", "b, c, d, e unknown or missing"),
        (FILE + "weights = {a = 90, b = 1, c = 1, d = 1, e = 1}\n", "'a' weighs 90"),
        (FILE + "weights = {a = 1.5, b = 1, c = 1, d = 1, e = 1}\n", "weight"),
        (FILE + "clear_evaluation = 1\n", "clear_evaluation = 1"),
        (FILE.replace('"rounds"', "3"), "rounds = 3"),
    ],
)
def test_a_wrong_file_is_refused_by_the_name_of_the_key(tmp_path, text, complaint):
    with pytest.raises(SettingError, match=complaint):
        SiteSettings.load(written(tmp_path, text))


def test_a_missing_file_or_roster_is_named(tmp_path):
    path = written(tmp_path)
    (tmp_path / "roster.toml").unlink()
    for missing in (path, tmp_path / "nowhere.toml"):
        with pytest.raises(NotFoundError, match="no file"):
            SiteSettings.load(missing)


@pytest.mark.parametrize(
    ("change", "term"),
    [
        ({"threshold": 5}, "threshold"),
        ({"min_survivors": 5}, "min_survivors"),
        ({"max_corrupt": 0}, "max_corrupt"),
        ({"clip_value": 0.5}, "clip_value"),
        ({"scale": 1000}, "scale"),
        ({"weights": dict.fromkeys(NAMES, 2)}, "weights"),
    ],
)
def test_an_offer_on_other_terms_is_refused_by_the_name_of_the_first(change, term):
    own = SumTerms(Roster.from_identities(*(Identity.create(name) for name in NAMES)))
    offer = pack_offer(replace(own, **change).policy(NO_ROUND))
    with pytest.raises(ProtocolError, match=f"the server offers {term} = "):
        check_offer(offer, own.policy(NO_ROUND))
    check_offer(pack_offer(own.policy(NO_ROUND)), own.policy(NO_ROUND))


@pytest.mark.parametrize(
    "change", [{"counter": 1}, {"model_hash": b"x" * 32}, {"length": 2}, {"run_id": 1}, {"recipe": "x"}]
)
def test_every_fact_of_a_round_is_part_of_its_terms(change):
    own = SumTerms(Roster.from_identities(*(Identity.create(name) for name in NAMES)))
    with pytest.raises(ProtocolError, match="the server offers"):
        check_offer(pack_offer(own.policy(replace(NO_ROUND, **change))), own.policy(NO_ROUND))


def test_a_message_of_another_round_is_refused():
    own = SumTerms(Roster.from_identities(*(Identity.create(name) for name in NAMES)))
    from quintain.federated.secagg import server

    _, offers = server.open_round(own.policy(replace(NO_ROUND, round_id=b"x" * 16)))
    with pytest.raises(ProtocolError, match="a replay is refused"):
        open_server(offers[0], MessageType.OFFER, own.policy(NO_ROUND))
