"""``quintain enroll``: identities that stay, one roster, and words to compare."""

import re

import pytest

from quintain.core.errors import ExitCode
from quintain.federated.enrolment import fingerprint, load_identity, load_roster

WORDS = r"(?:[a-z]{5}-){5}[a-z]{5}"


def test_three_sites_enroll_and_see_the_same_words(call, tmp_path):
    seen = {}
    for name in ("a", "b", "c"):
        code, out, _ = call("enroll", name, "--to", tmp_path / name)
        assert code == ExitCode.OK
        (seen[name],) = re.findall(rf"^{name}: ({WORDS})$", out, re.M)
    files = [word for name in "cab" for word in ("--member", tmp_path / name / "member.toml")]
    code, out, _err = call("enroll", "--to", tmp_path, *files)
    assert code == ExitCode.OK
    assert dict(re.findall(rf"^(\w): ({WORDS})$", out, re.M)) == seen
    roster = load_roster(tmp_path / "roster.toml")
    assert roster.names == ("a", "b", "c")
    assert [fingerprint(key) for key in roster.keys] == list(seen.values())
    assert load_identity(tmp_path / "a" / "identity.toml").public == roster.keys[0]
    assert "private" not in (tmp_path / "a" / "member.toml").read_text()


@pytest.mark.parametrize("words", [(), ("a", "--member", "b.toml"), (" ",)])
def test_what_is_neither_a_site_nor_a_roster_is_refused(call, tmp_path, words):
    code, _out, err = call("enroll", *words, "--to", tmp_path / "none")
    assert code == ExitCode.USAGE
    assert "expected the" in err
    assert not (tmp_path / "none").exists()


def test_a_second_identity_in_a_folder_is_refused_and_the_first_stays(call, tmp_path):
    call("enroll", "a", "--to", tmp_path)
    before = (tmp_path / "identity.toml").read_bytes()
    code, _out, err = call("enroll", "b", "--to", tmp_path)
    assert code == ExitCode.EXECUTION
    assert "never overwritten" in err
    assert (tmp_path / "identity.toml").read_bytes() == before


def test_letters_that_look_like_others_show_when_keys_are_compared(call, tmp_path):
    """The second name has a Cyrillic o."""
    names = ("hospital-a", "h\u043espital-a", "Krankenhaus Süd")
    for place, name in enumerate(names):
        call("enroll", name, "--to", tmp_path / str(place))
    files = [word for place in "012" for word in ("--member", tmp_path / place / "member.toml")]
    code, out, _err = call("enroll", "--to", tmp_path, *files)
    assert code == ExitCode.OK
    shown = (
        r"hospital-a: ",
        r"h.spital-a = 'h\\u043espital-a': ",
        r"Krankenhaus Süd = 'Krankenhaus S\\xfcd': ",
    )
    assert all(len(re.findall(f"^{one}{WORDS}$", out, re.M)) == 1 for one in shown)


def test_a_name_cannot_command_the_terminal(call, tmp_path):
    for place, name in enumerate(("a", "b\x1b[2Jc")):
        call("enroll", name, "--to", tmp_path / str(place))
    files = [word for place in "01" for word in ("--member", tmp_path / place / "member.toml")]
    code, out, _err = call("enroll", "--to", tmp_path, *files)
    assert code == ExitCode.OK
    assert "\x1b[2J" not in out
