"""A roster over its life: made from members, signed, followed by the next version, and never rolled back."""

import copy
import tempfile
from dataclasses import replace
from multiprocessing.pool import ThreadPool
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import NotFoundError, ProtocolError, RunFolderError, SettingError, StorageError
from quintain.federated.deployment import ClientSettings, approve
from quintain.federated.enrollment import (
    enroll,
    load_identity,
    load_roster,
    read_roster,
    save_roster,
)
from quintain.federated.flower.terms import NO_ROUND, SumTerms
from quintain.federated.roster_versions import (
    accept_roster,
    accepted_folder,
    check_follows,
    combine_rosters,
    last_accepted,
    write_next_roster,
    write_roster,
)
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg.message_bodies import check_offer, pack_offer
from quintain.federated.secagg.messages import MessageType, from_site, open_site
from quintain.federated.server import Server
from tests.federated.deployed import deployed
from tests.federated.settings import Party, weights

NAMES = ("Krankenhaus Süd", 'a "quoted" \\ name', "tab\tand\nline")
SITES = ("hospital-a", "hospital-b", "hospital-c")


def test_sites_enroll_and_write_one_roster_whatever_the_order_of_the_files(tmp_path):
    for name in NAMES:
        enroll(tmp_path / str(NAMES.index(name)), name)
    files = [tmp_path / str(place) / "member.toml" for place in range(len(NAMES))]
    one, other = write_roster(tmp_path / "x", files), write_roster(tmp_path / "y", files[::-1])
    assert one == other == read_roster(tmp_path / "x" / "roster.toml").roster
    assert (one.version, one.revoked, one.previous) == (1, (), b"")
    assert set(one.names) == set(NAMES)
    for place, name in enumerate(NAMES):
        assert load_identity(tmp_path / str(place) / "identity.toml").public == one.keys[one.index(name)]
    with pytest.raises(SettingError, match="stands twice"):
        write_roster(tmp_path / "z", [*files, files[0]])
    with pytest.raises(SettingError, match="at least two sites"):
        write_roster(tmp_path / "z", files[:1])
    with pytest.raises(SettingError, match=r"^0 files of members; .* at least two sites: give --member once"):
        write_roster(tmp_path / "z", [])
    both = tmp_path / "both.toml"
    both.write_text(files[0].read_text() + files[1].read_text())
    with pytest.raises(SettingError, match=r"both.toml lists .*, .*; expected one site in the file of each"):
        write_roster(tmp_path / "z", [both, files[2]])
    with pytest.raises(StorageError, match="never overwritten"):
        enroll(tmp_path / "0", NAMES[0])


def test_an_enrollment_that_was_broken_off_is_ended_by_the_same_command(tmp_path):
    line = tmp_path / "member.toml"
    line.mkdir()
    with pytest.raises(
        StorageError, match=r"member\.toml: .*; free some space or choose another folder with --to"
    ):
        enroll(tmp_path, "hospital-a")
    line.rmdir()
    with pytest.raises(SettingError, match="identity of 'hospital-a', and 'hospital-b' is asked for"):
        enroll(tmp_path, "hospital-b")
    public = load_identity(tmp_path / "identity.toml").public
    assert enroll(tmp_path, "hospital-a") == {"hospital-a": public}
    assert public.hex() in line.read_text()
    with pytest.raises(StorageError, match="never overwritten"):
        enroll(tmp_path, "hospital-a")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("hospital-a ", r"name = 'hospital-a '; expected no space at an end"),
        ("\u00a0hospital-a", r"name = '\\xa0hospital-a'; expected no space at an end"),
        ("\t", "name is empty"),
    ],
)
def test_a_space_at_an_end_of_a_name_is_refused_at_the_site_and_by_the_others(tmp_path, name, complaint):
    with pytest.raises(SettingError, match=complaint):
        enroll(tmp_path / "a", name)
    assert not (tmp_path / "a").exists()
    members = []
    for one in ("b", name):
        members.append(tmp_path / f"{len(members)}.toml")
        members[-1].write_text(
            f'[[member]]\nname = "{one}"\nkey = "{Identity.create(one).public.hex()}"\n'.replace("\t", "\\t")
        )
    with pytest.raises(SettingError, match=rf"1\.toml: {complaint}"):
        write_roster(tmp_path / "z", members)


@pytest.mark.parametrize(
    "other", ["Hospital-A", "hospital-\uff41", "hospi\u200btal-a", "h\u00adospital-a"], ids=ascii
)
def test_two_names_that_look_alike_make_no_roster(tmp_path, other):
    """Another case, a wide letter, a space without width, a hyphen that is not shown."""
    for name in ("hospital-a", other):
        enroll(tmp_path / ascii(name), name)
    files = [tmp_path / ascii(name) / "member.toml" for name in ("hospital-a", other)]
    with pytest.raises(SettingError, match="look alike; expected names that nobody takes for one another"):
        write_roster(tmp_path / "z", files)
    assert not (tmp_path / "z").exists()


class Federation:
    """Three sites with a signed roster, each in a folder of its own."""

    def __init__(self, folder):
        self.folder = folder
        for name in SITES:
            self.enroll(name)
        write_roster(folder, [self.member(name) for name in SITES])
        self.roster = folder / "roster.toml"
        self.sign(self.roster, SITES)

    def enroll(self, name, again=""):
        enroll(self.folder / f"{name}{again}", name)

    def member(self, name, again=""):
        return self.folder / f"{name}{again}" / "member.toml"

    def identity(self, folder):
        return load_identity(self.folder / folder / "identity.toml")

    def accept(self, path, folder, site="hospital-a"):
        """What a site does with a roster that has come in."""
        return accept_roster(path, folder, self.identity(site))

    def sign(self, path, folders):
        save_roster(path, read_roster(path).roster, [self.identity(one) for one in folders])

    def next(self, to, members=(), revoke=(), last=None):
        write_next_roster(self.folder / to, last or self.roster, members, revoke)
        return self.folder / to / "roster.toml"

    def rotated(self, to="next"):
        """Version 2, in which hospital-b has another key, signed by all."""
        if not self.member("hospital-b", 2).exists():
            self.enroll("hospital-b", 2)
        path = self.next(to, [self.member("hospital-b", 2)])
        self.sign(path, ["hospital-a", "hospital-b2", "hospital-c"])
        return path


@pytest.fixture
def sites(tmp_path):
    return Federation(tmp_path)


def test_the_next_version_names_the_last_one_and_revokes_the_key_that_it_replaces(sites):
    first, second = load_roster(sites.roster), load_roster(sites.rotated())
    assert (second.version, second.previous) == (2, first.digest)
    assert second.names == first.names
    assert second.revoked == (("hospital-b", first.keys[1]),)
    assert second.keys == (first.keys[0], sites.identity("hospital-b2").public, first.keys[2])
    assert load_roster(sites.roster) == first


def test_no_two_rosters_that_differ_have_one_digest(sites):
    first, second = load_roster(sites.roster), load_roster(sites.rotated())
    last = second.names[-1], second.keys[-1]
    rosters = (
        first,
        second,
        replace(second, version=3),
        replace(second, previous=bytes(32)),
        replace(second, revoked=()),
        replace(second, names=("x", *second.names[1:])),
        replace(second, names=second.names[:-1], keys=second.keys[:-1], revoked=(last, *second.revoked)),
        replace(second, names=second.names[::-1], keys=second.keys[::-1]),
    )
    assert len({roster.digest for roster in rosters}) == len(rosters)


def test_sites_join_and_leave_and_their_keys_stay_revoked_through_all_versions(sites):
    second = sites.rotated()
    sites.enroll("hospital-0")
    third = sites.next("third", [sites.member("hospital-0")], ["hospital-c"], second)
    sites.sign(third, ["hospital-0", "hospital-a", "hospital-b2"])
    first, roster = load_roster(sites.roster), load_roster(third)
    assert roster.names == ("hospital-0", "hospital-a", "hospital-b")
    assert roster.revoked == (("hospital-b", first.keys[1]), ("hospital-c", first.keys[2]))
    assert (roster.version, roster.previous) == (3, load_roster(second).digest)
    for last in (sites.roster, second):
        check_follows(load_roster(last), roster)


def test_the_next_version_does_not_count_before_all_its_members_have_signed(sites):
    sites.enroll("hospital-b", 2)
    path = sites.next("next", [sites.member("hospital-b", 2)])
    with pytest.raises(SettingError, match="version 2 of the roster revokes this key of 'hospital-b'"):
        sites.sign(path, ["hospital-b"])
    sites.sign(path, ["hospital-a", "hospital-b2"])
    with pytest.raises(SettingError, match="'hospital-c' of 3 members have not signed version 2"):
        load_roster(path)
    with pytest.raises(SettingError, match="'hospital-c' of 3 members have not signed version 2"):
        sites.next("third", revoke=["hospital-a"], last=path)
    sites.sign(path, ["hospital-c"])
    assert load_roster(path).version == 2


def test_a_revoked_key_comes_back_under_no_name(sites):
    second = sites.rotated()
    old = sites.member("hospital-b").read_text()
    for name in ("hospital-b", "hospital-d"):
        (sites.folder / "back.toml").write_text(old.replace("hospital-b", name))
        with pytest.raises(SettingError, match=f"the key of '{name}' was revoked, as that of 'hospital-b'"):
            sites.next(f"back-{name}", [sites.folder / "back.toml"], last=second)
    sites.enroll("Hospital-B")
    with pytest.raises(SettingError, match="'Hospital-B' and 'hospital-b' look alike"):
        sites.next("alike", [sites.member("Hospital-B")], ["hospital-b"], second)


@pytest.mark.parametrize(
    ("members", "revoke", "complaint"),
    [
        ((), (), "nothing changes from version 1; expected a --member that joins"),
        (("hospital-a",), (), "nothing changes from version 1"),
        (
            (),
            ("hospital-z",),
            r"--revoke 'hospital-z'; expected .* one of 'hospital-a', 'hospital-b', 'hospital-c'",
        ),
        (
            ("hospital-a",),
            ("hospital-a",),
            "--revoke 'hospital-a'; expected .* without a --member of its own",
        ),
        (("hospital-a", "hospital-a"), (), "two --member of one name"),
        ((), ("hospital-a", "hospital-b"), "1 names and 1 keys; expected .* at least two sites"),
    ],
)
def test_a_next_version_that_makes_no_sense_is_not_written(sites, members, revoke, complaint):
    with pytest.raises(SettingError, match=complaint):
        sites.next("next", [sites.member(name) for name in members], revoke)
    assert not (sites.folder / "next").exists()


def test_the_last_roster_stays_where_it_is(sites):
    before = sites.roster.read_bytes()
    with pytest.raises(
        SettingError, match="is another roster, version 1; expected a free place for version 2"
    ):
        sites.next("", revoke=["hospital-c"])
    assert sites.roster.read_bytes() == before
    with pytest.raises(NotFoundError, match="nowhere"):
        sites.next("next", revoke=["hospital-c"], last=sites.folder / "nowhere.toml")


def test_signatures_on_copies_are_put_together(sites):
    sites.enroll("hospital-b", 2)
    copies = [sites.next(f"copy-{place}", [sites.member("hospital-b", 2)]) for place in range(3)]
    for path, signer in zip(copies, ("hospital-a", "hospital-b2", "hospital-c"), strict=True):
        sites.sign(path, [signer])
    assert combine_rosters(sites.folder / "whole", copies[:2]).unsigned == ("hospital-c",)
    assert combine_rosters(sites.folder / "whole", copies[2:]).unsigned == ()
    assert load_roster(sites.folder / "whole" / "roster.toml") == read_roster(copies[0]).roster
    with pytest.raises(SettingError, match=r"roster.toml is another roster than .*; expected copies of one"):
        combine_rosters(sites.folder / "mixed", [copies[0], sites.roster])


# -- what a site has accepted


def test_a_site_goes_forward_and_never_back(sites, tmp_path):
    state = tmp_path / "deep" / "journal"
    first, second = sites.roster, sites.rotated()
    for path in (first, first, second, second):
        assert sites.accept(path, state) == load_roster(path)
    with pytest.raises(SettingError) as refused:
        sites.accept(first, state)
    assert str(refused.value).startswith(
        f"{first}: version 1 of the roster, and this site has accepted the later version 2; expected that one"
    )
    assert sites.accept(second, state) == load_roster(second)
    assert sorted(one.name for one in state.iterdir()) == ["roster-1.toml", "roster-2.toml"]
    assert state.stat().st_mode & 0o777 == 0o700


def test_versions_are_numbers_and_not_text(sites, tmp_path):
    signers = [sites.identity(name) for name in SITES]
    ninth = replace(load_roster(sites.roster), version=9, previous=bytes(32))
    for roster in (ninth, replace(ninth, version=10, previous=ninth.digest)):
        path = tmp_path / f"{roster.version}.toml"
        save_roster(path, roster, signers)
        assert sites.accept(path, tmp_path / "state") == roster
    with pytest.raises(SettingError, match=r"version 9 of the roster, .* the later version 10; expected"):
        sites.accept(tmp_path / "9.toml", tmp_path / "state")


def test_another_roster_of_the_same_version_is_refused(sites, tmp_path):
    sites.accept(sites.roster, tmp_path / "state")
    second = sites.rotated()
    sites.accept(second, tmp_path / "state")
    other = sites.next("other", revoke=["hospital-c"])
    sites.sign(other, ["hospital-a", "hospital-b"])
    with pytest.raises(SettingError, match=r"version 2 .* accepted another version 2; expected that one"):
        sites.accept(other, tmp_path / "state")


def test_a_roster_that_follows_another_one_is_refused(sites, tmp_path):
    sites.accept(sites.rotated(), tmp_path / "state")
    sites.enroll("hospital-d")
    other = sites.next("other", [sites.member("hospital-d")])
    sites.sign(other, [*SITES, "hospital-d"])
    third = sites.next("third", revoke=["hospital-d"], last=other)
    sites.sign(third, SITES)
    with pytest.raises(
        SettingError, match=r"version 3 .* follows another version 2 than the one that this site"
    ):
        sites.accept(third, tmp_path / "state")


def test_a_site_that_was_away_accepts_the_newest_version(sites, tmp_path):
    sites.accept(sites.roster, tmp_path / "state")
    third = sites.next("third", revoke=["hospital-c"], last=sites.rotated())
    sites.sign(third, ["hospital-a", "hospital-b2"])
    assert sites.accept(third, tmp_path / "state").version == 3


def test_a_later_roster_that_does_not_list_a_site_is_not_accepted_and_shuts_nobody_out(sites, tmp_path):
    """Strangers sign a version of their own, which revokes all keys of the last one."""
    state, first = tmp_path / "state", load_roster(sites.roster)
    sites.accept(sites.roster, state)
    strangers = [Identity.create(name) for name in ("x", "y")]
    for version in (2, 3):
        forged = Roster(
            tuple(one.name for one in strangers),
            tuple(one.public for one in strangers),
            version,
            tuple(zip(first.names, first.keys, strict=True)),
            first.digest,
        )
        path = tmp_path / f"forged-{version}.toml"
        save_roster(path, forged, strangers)
        with pytest.raises(
            SettingError, match=rf"forged-{version}\.toml: version {version} .* revokes this key"
        ):
            sites.accept(path, state)
    left_out = sites.next("left-out", revoke=["hospital-a"])
    sites.sign(left_out, ["hospital-b", "hospital-c"])
    with pytest.raises(SettingError, match="revokes this key of 'hospital-a'"):
        sites.accept(left_out, state)
    assert [one.name for one in state.iterdir()] == ["roster-1.toml"]
    assert sites.accept(sites.rotated(), state).version == 2


def test_a_roster_of_another_federation_is_refused_at_the_first_start_and_the_right_one_taken_after(tmp_path):
    for name in ("own", "other"):
        (tmp_path / name).mkdir()
    own, other = deployed(tmp_path / "own"), deployed(tmp_path / "other", num_sites=2)
    settings = ClientSettings.load(own.client("site-1"))
    right = settings.roster.read_bytes()
    settings.roster.write_bytes((other.folder / "roster.toml").read_bytes())
    with pytest.raises(SettingError, match="the roster lists another key for 'site-1'"):
        approve(settings)
    settings.roster.write_bytes(right)
    settings.plan.rename(tmp_path / "plan")
    with pytest.raises(NotFoundError, match="no file"):
        approve(settings)
    assert not list(settings.journal.glob("roster-*"))
    (tmp_path / "plan").rename(settings.plan)
    approve(settings)
    assert last_accepted(settings.accepted) == own.roster


@pytest.mark.parametrize("name", ["a/b", "..", " ", "é", "-"])
def test_a_federations_name_is_a_folders_in_the_journal(name):
    assert accepted_folder(Path("journal")) == Path("journal")
    assert accepted_folder(Path("journal"), "xrays_2") == Path("journal/federation-xrays_2")
    with pytest.raises(SettingError, match=r"federation = .*; expected letters, digits"):
        accepted_folder(Path("journal"), name)


@pytest.mark.parametrize("forgets", ["what was revoked", "what it replaces"])
def test_a_version_that_forgets_a_key_that_signs_no_more_is_refused(sites, tmp_path, forgets):
    second = load_roster(sites.rotated())
    last = second if forgets == "what was revoked" else load_roster(sites.roster)
    sites.accept(
        sites.folder / "next" / "roster.toml" if last is second else sites.roster, tmp_path / "state"
    )
    signers = [sites.identity(one) for one in ("hospital-a", "hospital-b2", "hospital-c")]
    forged = replace(second, version=last.version + 1, revoked=(), previous=last.digest)
    save_roster(tmp_path / "forged.toml", forged, signers)
    with pytest.raises(SettingError, match="does not revoke the old key of 'hospital-b'; expected every key"):
        sites.accept(tmp_path / "forged.toml", tmp_path / "state")


def test_an_unsigned_roster_is_not_accepted_and_nothing_is_kept(sites, tmp_path):
    path = sites.next("next", revoke=["hospital-c"])
    with pytest.raises(SettingError, match="have not signed version 2"):
        sites.accept(path, tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_folder_that_cannot_be_used_is_named(sites, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot keep the roster in .*file: .*; check its permissions"):
        sites.accept(sites.roster, tmp_path / "file")


def test_of_two_rosters_of_one_version_that_come_at_once_one_is_accepted(sites, tmp_path):
    other = sites.next("other", revoke=["hospital-c"])
    sites.sign(other, ["hospital-a", "hospital-b"])
    sites.accept(sites.roster, tmp_path / "state")
    paths = [sites.rotated(), other] * 8

    def accept(path):
        try:
            return sites.accept(path, tmp_path / "state")
        except SettingError as error:
            assert "accepted another version 2" in str(error)  # noqa: PT017
            return None

    with ThreadPool(8) as pool:
        found = pool.map(accept, paths)
    accepted = {roster.digest for roster in found if roster is not None}
    assert len(accepted) == 1
    assert found.count(None) == 8


def test_a_deployed_site_remembers_its_roster_in_its_journal(tmp_path):
    files = deployed(tmp_path)
    settings = ClientSettings.load(files.client("site-1"))
    assert settings.members()[1] == files.roster
    assert not settings.journal.exists()
    approve(settings)
    identities = [load_identity(tmp_path / name / "identity.toml") for name in reversed(files.sites)]
    settings.roster.unlink()
    save_roster(settings.roster, Roster.from_identities(*identities), identities)
    with pytest.raises(SettingError, match="and this site has accepted another version 1; expected that one"):
        settings.members()
    assert load_roster(settings.journal / "roster-1.toml") == files.roster


# -- rounds


def test_two_sites_with_different_versions_refuse_each_others_rounds_and_say_that_it_is_the_roster(sites):
    first, second = (SumTerms(load_roster(path)).policy(NO_ROUND) for path in (sites.roster, sites.rotated()))
    for offered, own in ((first, second), (second, first)):
        shown = offered.roster.digest.hex()[:16], own.roster.digest.hex()[:16]
        with pytest.raises(
            ProtocolError, match="the server offers roster = {}; this site's .* {}:".format(*shown)
        ):
            check_offer(pack_offer(offered), own)
        check_offer(pack_offer(own), own)
    same = replace(second.roster, version=3)
    with pytest.raises(ProtocolError, match="the server offers roster = "):
        check_offer(pack_offer(replace(second, roster=same)), second)


def test_where_the_number_of_sites_differs_too_it_is_said_that_the_roster_is_another(sites):
    path = sites.next("next", revoke=["hospital-c"])
    sites.sign(path, ["hospital-a", "hospital-b"])
    first = SumTerms(load_roster(sites.roster), max_corrupt=0).policy(NO_ROUND)
    second = SumTerms(load_roster(path), max_corrupt=0).policy(NO_ROUND)
    with pytest.raises(
        ProtocolError, match="offers sites = 2 for another roster; this site's policy says 3:"
    ):
        check_offer(pack_offer(second), first)
    with pytest.raises(
        ProtocolError, match="offers sites = 3 for another roster; this site's policy says 2:"
    ):
        check_offer(pack_offer(first), second)


def test_another_training_goes_on_from_the_model_after_a_rotation_and_the_old_key_is_refused(tmp_path):
    party = Party(folder=tmp_path / "journals")
    file, state, names = tmp_path / "server.safetensors", tmp_path / "state", tuple(party.sites)
    save_roster(tmp_path / "roster.toml", party.roster, party.identities.values())
    party.roster = accept_roster(tmp_path / "roster.toml", state, party.identities["hospital-1"])
    first = party.server(file)
    assert first.run_round(party.network()).survivors == names

    old, before, stale = party.identities["hospital-2"], party.roster, party.network()
    enroll(tmp_path / "new", "hospital-2")
    write_next_roster(tmp_path / "next", tmp_path / "roster.toml", [tmp_path / "new" / "member.toml"])
    party.identities["hospital-2"] = load_identity(tmp_path / "new" / "identity.toml")
    second = tmp_path / "next" / "roster.toml"
    save_roster(second, read_roster(second).roster, party.identities.values())
    party.roster = accept_roster(second, state, party.identities["hospital-1"])

    # the state of the training under the old roster is refused, and its clients take part in no round
    with pytest.raises(RunFolderError, match="a training under other terms"):
        party.server(file)
    following = party.server()
    following.state = replace(following.state, next_counter=1)
    report = following.run_round(stale)
    assert report.survivors == ()
    assert set(stale.failures) == set(names)
    assert all("the server offers roster = " in why for why in stale.failures.values())
    last = copy.deepcopy(first.net)
    party.clients = [party.client(name, net=last) for name in names]
    server = Server(party.plan(), copy.deepcopy(last), party.aggregation)
    while not server.is_finished:
        network = party.network()
        assert server.run_round(network).survivors == names, network.failures | network.refusals
    assert not torch.equal(weights(server.net), weights(last))

    # the old key starts no client and signs no message, and the old roster is not accepted any more
    policy = party.plan().policy(9, b"r" * 16, bytes(32))
    forged = from_site(MessageType.KEYS, policy, names.index("hospital-2"), b"keys", policy.digest(), old)
    with pytest.raises(
        ProtocolError, match="the signature of 'hospital-2' on its KEYS message does not hold"
    ):
        open_site(forged, MessageType.KEYS, policy, names.index("hospital-2"), policy.digest())
    party.identities["hospital-2"] = old
    with pytest.raises(ProtocolError, match="version 2 of the roster revokes this key of 'hospital-2'"):
        party.client("hospital-2")
    with pytest.raises(SettingError, match="version 1 of the roster, and this site has accepted the later"):
        accept_roster(tmp_path / "roster.toml", state, party.identities["hospital-1"])
    assert before.digest == party.roster.previous


@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_through_any_versions_a_site_accepts_what_follows_and_no_key_is_ever_on_both_sides(data):
    """Whatever joins, leaves and rotates: the newest is accepted from any version before it, and never one
    from it.
    """
    identities = {name: Identity.create(name) for name in "abc"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save_roster(folder / "1.toml", Roster.from_identities(*identities.values()), identities.values())
        rosters, sites = [load_roster(folder / "1.toml")], [identities["a"]]
        for version in range(2, data.draw(st.integers(3, 4)) + 1):
            leaves = data.draw(st.sets(st.sampled_from(sorted(identities)), max_size=len(identities) - 2))
            stays = sorted(set(identities) - leaves)
            changed = data.draw(st.sets(st.sampled_from([*stays, "d", "e"]), min_size=not leaves))
            for name in changed - leaves:
                enroll(folder / f"{version}{name}", name)
                identities[name] = load_identity(folder / f"{version}{name}" / "identity.toml")
            identities = {name: one for name, one in identities.items() if name not in leaves}
            members = [folder / f"{version}{name}" / "member.toml" for name in changed - leaves]
            write_next_roster(folder / str(version), folder / f"{version - 1}.toml", members, sorted(leaves))
            made = read_roster(folder / str(version) / "roster.toml").roster
            save_roster(folder / f"{version}.toml", made, identities.values())
            rosters.append(load_roster(folder / f"{version}.toml"))
            sites.append(identities[rosters[-1].names[0]])
        for one, last in enumerate(rosters, 1):
            assert len({*last.keys, *(key for _, key in last.revoked)}) == len(last.keys) + len(last.revoked)
            for other in range(1, len(rosters) + 1):
                state = folder / f"state-{one}-{other}"
                accept_roster(folder / f"{one}.toml", state, sites[one - 1])
                if other >= one:
                    newest = accept_roster(folder / f"{other}.toml", state, sites[other - 1])
                    assert newest == rosters[other - 1]
                else:
                    with pytest.raises(SettingError, match="has accepted the later version"):
                        accept_roster(folder / f"{other}.toml", state, sites[other - 1])
