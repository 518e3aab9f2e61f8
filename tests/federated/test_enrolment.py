"""The files of an enrolled site."""

import pytest

from quintain.core.errors import NotFoundError, ProtocolError, SettingError, StorageError
from quintain.federated.enrolment import (
    _word,
    enroll,
    fingerprint,
    load_identity,
    load_roster,
    save_identity,
    save_roster,
    write_roster,
)
from quintain.federated.secagg import Identity, Roster

NAMES = ("Krankenhaus Süd", 'a "quoted" \\ name', "tab\tand\nline")


def test_an_identity_comes_back_and_only_its_owner_may_read_it(tmp_path):
    for place, name in enumerate(NAMES):
        identity = Identity.create(name)
        path = tmp_path / f"{place}.toml"
        save_identity(path, identity)
        back = load_identity(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert (back.name, back.public) == (identity.name, identity.public)
        assert back.private.peek() == identity.private.peek()


def test_an_identity_is_never_overwritten(tmp_path):
    path = tmp_path / "identity.toml"
    save_identity(path, Identity.create("a"))
    before = path.read_bytes()
    with pytest.raises(StorageError, match="never overwritten"):
        save_identity(path, Identity.create("a"))
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_an_identity_that_others_may_read_is_refused(tmp_path, mode):
    path = tmp_path / "identity.toml"
    save_identity(path, Identity.create("a"))
    path.chmod(mode)
    with pytest.raises(SettingError, match=f"has mode {mode:04o}; expected 0600"):
        load_identity(path)


def test_a_damaged_identity_is_refused_and_its_key_not_shown(tmp_path):
    path = tmp_path / "identity.toml"
    save_identity(path, Identity.create("a"))
    text = path.read_text()
    private = text.split('private = "')[1][:64]
    path.write_text(text.replace(private, private[:-1] + "z"))
    with pytest.raises(SettingError, match="private; expected hexadecimal digits") as refused:
        load_identity(path)
    assert private[:16] not in str(refused.value)
    path.write_text(text.replace(private, private[::-1]))
    with pytest.raises(ProtocolError, match="do not belong together"):
        load_identity(path)


def test_a_roster_comes_back(tmp_path):
    roster = Roster.from_identities(*(Identity.create(name) for name in NAMES))
    save_roster(tmp_path / "roster.toml", roster)
    back = load_roster(tmp_path / "roster.toml")
    assert back == roster
    assert back.digest == roster.digest


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "missing member"),
        ("member = 3", "expected a table"),
        ("member = []", r"member = \[\]; expected a table"),
        ('[[member]]\nname = "a"', "missing key"),
        ('[[member]]\nname = "a"\nkey = "00"\nrole = "x"', "unknown role"),
        ('[[member]]\nname = 3\nkey = "00"', "name = 3; expected text"),
        ('[[member]]\nname = "a"\nkey = "xy"', "key = 'xy'; expected hexadecimal"),
        ("member = [", "no TOML"),
    ],
)
def test_what_is_no_roster_is_refused_by_name(tmp_path, text, complaint):
    path = tmp_path / "roster.toml"
    path.write_text(text)
    with pytest.raises(SettingError, match=complaint):
        load_roster(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"roster\.toml"):
        load_roster(tmp_path / "roster.toml")


def test_fingerprints_are_six_words_of_the_key():
    one, other = Identity.create("a").public, Identity.create("a").public
    assert fingerprint(one) == fingerprint(one) != fingerprint(other)
    assert [len(word) for word in fingerprint(one).split("-")] == [5] * 6


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ((127, 0, 0, 1), "lusab-babad"),
        ((63, 84, 220, 193), "gutih-tugad"),
        ((63, 118, 7, 35), "gutuk-bisog"),
        ((140, 98, 193, 141), "mudof-sakat"),
        ((64, 255, 6, 200), "haguz-biram"),
        ((128, 30, 52, 45), "mabiv-gibot"),
        ((147, 67, 119, 2), "natag-lisaf"),
        ((212, 58, 253, 68), "tibup-zujah"),
        ((216, 35, 68, 215), "tobog-higil"),
        ((216, 68, 232, 21), "todah-vobij"),
        ((198, 81, 129, 136), "sinid-makam"),
        ((12, 110, 110, 204), "budov-kuras"),
    ],
)
def test_words_are_spelled_as_in_the_table_of_their_source(address, words):
    """The examples of Wilkerson, 2009: addresses of the Internet as proquints."""
    assert "-".join(_word(256 * address[k] + address[k + 1]) for k in (0, 2)) == words


def test_sites_enroll_and_write_one_roster_whatever_the_order_of_the_files(tmp_path):
    for name in NAMES:
        enroll(tmp_path / str(NAMES.index(name)), name)
    files = [tmp_path / str(place) / "member.toml" for place in range(len(NAMES))]
    one, other = write_roster(tmp_path / "x", files), write_roster(tmp_path / "y", files[::-1])
    assert one == other == load_roster(tmp_path / "x" / "roster.toml")
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
