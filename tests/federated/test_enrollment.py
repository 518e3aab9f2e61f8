"""The files of an enrolled site."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quintain.core.errors import NotFoundError, ProtocolError, SettingError, StorageError
from quintain.federated.enrollment import (
    SignedRoster,
    load_identity,
    load_roster,
    read_roster,
    save_identity,
    save_roster,
    write_signatures,
)
from quintain.federated.key_words import _word, fingerprint
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg.primitives import sign
from quintain.federated.visible_text import as_seen

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


def names_as_seen():
    """Names of which no two look alike, whatever letters they have."""
    letters = st.characters(exclude_categories=("Cs", "Cf"))
    return st.lists(
        st.text(letters, min_size=1).map(lambda text: f"<{text}>"), min_size=2, max_size=5
    ).filter(lambda names: len({as_seen(name).casefold() for name in names}) == len(names))


@given(
    names=names_as_seen(), version=st.integers(1, 2**40), revoked=st.sets(st.binary(min_size=32, max_size=32))
)
@settings(max_examples=25, deadline=None)
def test_a_signed_roster_comes_back_whatever_it_says(tmp_path_factory, names, version, revoked):
    identities = [Identity.create(name) for name in names]
    previous = bytes(range(32)) if version > 1 else b""
    roster = replace(
        Roster.from_identities(*identities),
        version=version,
        revoked=tuple(zip(names * len(revoked), sorted(revoked), strict=False)),
        previous=previous,
    )
    path = tmp_path_factory.mktemp("roster") / "roster.toml"
    save_roster(path, roster, identities)
    back = load_roster(path)
    assert back == roster
    assert back.digest == roster.digest


def test_a_roster_counts_once_every_member_has_signed_it(tmp_path):
    identities = [Identity.create(name) for name in NAMES]
    path, roster = tmp_path / "roster.toml", Roster.from_identities(*identities)
    for signed, identity in enumerate(identities):
        save_roster(path, roster, [identity])  # the signatures of the others stay
        missing = ", ".join(f"{name!a}" for name in NAMES[signed + 1 :])
        assert read_roster(path).unsigned == NAMES[signed + 1 :]
        if missing:
            message = f"{path}: {missing} of 3 members have not signed version 1 of the roster; expected all"
            with pytest.raises(SettingError, match=re.escape(message)):
                load_roster(path)
    assert load_roster(path) == roster


FEDERATION = [Identity.create(name) for name in "abc"]
SECOND = replace(
    Roster.from_identities(*FEDERATION), version=2, revoked=(("b", bytes(32)),), previous=bytes(32)
)


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("version = 2", "version = 3"),
        ('name = "c"\nkey', 'name = "d"\nkey'),
        (FEDERATION[2].public.hex(), Identity.create("c").public.hex()),
        (f'[[revoked]]\nname = "b"\nkey = "{bytes(32).hex()}"\n', ""),
        (f'key = "{bytes(32).hex()}"', f'key = "{bytes(31).hex()}01"'),
        (f'previous = "{bytes(32).hex()}"', f'previous = "{bytes(31).hex()}01"'),
    ],
    ids=["version", "name", "key", "no revoked key", "other revoked key", "roster before"],
)
def test_whatever_changes_in_a_signed_roster_no_signature_holds(tmp_path, part, changed):
    path = tmp_path / "roster.toml"
    save_roster(path, SECOND, FEDERATION)
    text = path.read_text()
    assert text.count(part) == 1
    path.write_text(text.replace(part, changed))
    for load in (load_roster, read_roster):
        with pytest.raises(SettingError, match="signature of 'a', 'b', 'c' does not hold for version"):
            load(path)


def test_a_false_signature_is_refused_by_the_name_of_its_site(tmp_path):
    signatures = SignedRoster(SECOND, {}).sign(*FEDERATION).signatures
    for false in (signatures["a"], bytes(64), b"", sign(FEDERATION[1].private.peek(), SECOND.digest)):
        with pytest.raises(SettingError, match="the signature of 'b' does not hold for version 2"):
            SignedRoster(SECOND, {**signatures, "b": false})
    with pytest.raises(SettingError, match="the signature of 'd' does not hold"):
        SignedRoster(SECOND, {**signatures, "d": signatures["a"]})


def test_who_is_not_on_a_roster_cannot_sign_it(tmp_path):
    unsigned = SignedRoster(SECOND, {})
    with pytest.raises(SettingError, match="no site is called 'd'"):
        unsigned.sign(Identity.create("d"))
    with pytest.raises(SettingError, match="lists another key for 'a'; expected this site's own"):
        unsigned.sign(Identity.create("a"))


def test_another_roster_is_never_overwritten(tmp_path):
    path = tmp_path / "roster.toml"
    save_roster(path, SECOND, FEDERATION)
    before = path.read_bytes()
    with pytest.raises(
        SettingError, match="is another roster, version 2; expected a free place for version 1"
    ):
        save_roster(path, Roster.from_identities(*FEDERATION), FEDERATION)
    assert path.read_bytes() == before
    assert write_signatures(path, SignedRoster(SECOND, {})).unsigned == ()
    assert path.read_bytes() == before


KEYS = [Identity.create(name).public.hex() for name in "abc"]
MEMBERS = "".join(
    f'[[member]]\nname = "{name}"\nkey = "{key}"\n' for name, key in zip("abc", KEYS, strict=True)
)
SIGNATURE = f'[[signature]]\nname = "a"\nsignature = "{bytes(64).hex()}"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "missing member, version"),
        (MEMBERS, "missing version"),
        ("version = 1\nmember = 3", "expected a table"),
        ("version = 1\nmember = []", r"member = \[\]; expected a table"),
        ('version = 1\nmember = ["a"]', r"member = \['a'\]; expected a table"),
        ('version = 1\n[[member]]\nname = "a"', "missing key"),
        ('version = 1\n[[member]]\nname = "a"\nkey = "00"\nrole = "x"', "unknown role"),
        ('version = 1\n[[member]]\nname = 3\nkey = "00"', "name = 3; expected text"),
        ('version = 1\n[[member]]\nname = "a"\nkey = "xy"', "key = 'xy'; expected hexadecimal"),
        ("member = [", "no TOML"),
        (
            "version = 1\nroster = 2\n" + MEMBERS,
            "unknown roster; expected member, previous, revoked, signature",
        ),
        ("version = 0\n" + MEMBERS, "version = 0 of a roster, .*; expected version 1"),
        ("version = -1\n" + MEMBERS, "version = -1 of a roster"),
        ("version = true\n" + MEMBERS, "version = True; expected an integer"),
        ('version = "1"\n' + MEMBERS, "version = '1'; expected a whole number"),
        (
            "version = 2\n" + MEMBERS,
            "version = 2 of a roster, and a digest of 0 bytes of the roster before it",
        ),
        (
            f'version = 1\nprevious = "{"0" * 64}"\n' + MEMBERS,
            "version = 1 of a roster, and a digest of 32 bytes",
        ),
        ("version = 1\nprevious = 3\n" + MEMBERS, "previous = 3; expected hexadecimal digits"),
        ('version = 1\nrevoked = ""\n' + MEMBERS, "revoked = ''; expected a table"),
        ("version = 1\n" + MEMBERS.replace(KEYS[1], KEYS[0]), "a name or a key stands twice"),
        ("version = 1\n" + MEMBERS.replace('"b"', '"a"'), "a name or a key stands twice"),
        ("version = 1\n" + MEMBERS.replace('"b"', '"A"'), "the names 'a' and 'A' look alike"),
        ("version = 1\n" + MEMBERS.replace('"b"', '"a\\uFE0F"'), r"the names 'a' and 'a\\ufe0f' look alike"),
        ("version = 1\n" + MEMBERS.replace('"b"', '"a\\u200D"'), r"the names 'a' and 'a\\u200d' look alike"),
        *(
            ("version = 1\n" + MEMBERS.replace('"b"', f'"{one}"'), "name is empty")
            for one in ("\u3164", "\u200b")
        ),
        ("version = 1\n" + MEMBERS.replace('"b"', '"b "'), "name = 'b '; expected no space at an end"),
        (
            "version = 1\n" + MEMBERS.replace(KEYS[1], "01" + "00" * 31),
            "the signing key of 'b' is not an ordinary",
        ),
        (
            "version = 1\n" + MEMBERS.split('[[member]]\nname = "b')[0],
            "1 names and 1 keys; expected .* two sites",
        ),
        (
            f'version = 1\n{MEMBERS}[[revoked]]\nname = "z"\nkey = "{KEYS[1]}"',
            "the key of 'b' was revoked, as that of 'z'; expected a key that was never revoked",
        ),
        (f'version = 1\n{MEMBERS}[[revoked]]\nname = "z"\nkey = "00"', "a revoked key .* is not of 32 bytes"),
        (f'version = 1\n{MEMBERS}[[revoked]]\nname = "B"\nkey = "{"0" * 64}"', "'b' and 'B' look alike"),
        (f"version = 1\n{MEMBERS}{SIGNATURE}", "the signature of 'a' does not hold for version 1"),
        (f"version = 1\n{MEMBERS}{SIGNATURE}{SIGNATURE}", "a site has signed twice"),
        (f"version = 1\n{MEMBERS}{SIGNATURE.replace('name', 'site')}", "missing name, unknown site"),
    ],
)
def test_what_is_no_roster_is_refused_by_name(tmp_path, text, complaint):
    path = tmp_path / "roster.toml"
    path.write_text(text)
    for load in (load_roster, read_roster):
        with pytest.raises(SettingError, match=complaint) as refused:
            load(path)
        assert str(refused.value).startswith(str(path))


@given(place=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=200, deadline=None)
def test_no_flipped_bit_of_a_roster_changes_what_it_says(place, bit):
    """A name and a message for each, or the same roster with the same signatures."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roster.toml"
        save_roster(path, SECOND, FEDERATION)
        data = bytearray(path.read_bytes())
        data[place % len(data)] ^= 1 << bit
        path.write_bytes(data)
        try:
            roster = load_roster(path)
        except (SettingError, ProtocolError):
            return
        assert roster == SECOND


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
