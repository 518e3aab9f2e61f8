"""``quintain enroll``: identities that stay, one roster, and words to compare."""

import re
from pathlib import Path

import pytest

from quintain.core.errors import ExitCode
from quintain.federated.enrollment import load_identity, load_roster, read_roster
from quintain.federated.key_words import fingerprint

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
    roster = read_roster(tmp_path / "roster.toml").roster
    assert f"version 1, {roster.digest.hex()[:16]}" in out
    assert "not signed yet by a, b, c: read these words to each other" in out
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


@pytest.fixture
def signed(call):
    """Sites a, b and c, another key for b, and a roster that all three have signed."""
    for name, folder in (("a", "a"), ("b", "b"), ("b", "b2"), ("c", "c")):
        call("enroll", name, "--to", folder)
    call("enroll", *(word for name in "abc" for word in ("--member", f"{name}/member.toml")))
    for name in "abc":
        code, out, _err = call("enroll", "--sign", "roster.toml", "--identity", f"{name}/identity.toml")
        assert code == ExitCode.OK
        assert len(re.findall(rf"^\w: {WORDS}$", out, re.M)) == 3
        assert ("signed by all" in out) == (name == "c")
    assert load_roster(Path("roster.toml")).names == ("a", "b", "c")


@pytest.mark.usefixtures("signed")
def test_a_key_is_replaced_by_one_line_and_each_site_signs_by_one(call):
    code, out, _ = call("enroll", "--roster", "roster.toml", "--member", "b2/member.toml", "--to", "next")
    assert code == ExitCode.OK
    words = rf"b: {WORDS} \(new\)\nc: {WORDS}\nb: {WORDS} \(revoked\)\nnot signed yet by a, b, c: "
    assert re.search(words, out)
    for folder in ("a", "b2", "c"):
        code, out, _ = call(
            *("enroll", "--sign", "next/roster.toml", "--identity", f"{folder}/identity.toml"),
            *("--roster", "roster.toml"),
        )
        assert code == ExitCode.OK
        assert out.startswith("next/roster.toml: version 2, ")
        assert f"b: {fingerprint(load_identity(Path('b2/identity.toml')).public)} (new)" in out
    assert "signed by all: next/roster.toml is for every site and the server" in out
    assert load_roster(Path("next/roster.toml")).previous == load_roster(Path("roster.toml")).digest


@pytest.mark.usefixtures("signed")
def test_a_site_leaves_by_one_line_and_signed_copies_are_put_together(call):
    for name in "ab":
        call("enroll", "--roster", "roster.toml", "--revoke", "c", "--to", name)
        call("enroll", "--sign", f"{name}/roster.toml", "--identity", f"{name}/identity.toml")
    code, out, _ = call("enroll", "--roster", "a/roster.toml")
    assert code == ExitCode.OK
    assert "not signed yet by b:" in out
    copies = ("--roster", "a/roster.toml", "--roster", "b/roster.toml")
    code, out, _ = call("enroll", *copies, "--to", "next")
    assert code == ExitCode.OK
    assert "signed by all" in out
    assert load_roster(Path("next/roster.toml")).names == ("a", "b")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--sign roster.toml", "--sign; expected the NAME of a site"),
        ("--identity a/identity.toml", "--identity; expected the NAME"),
        ("d --identity a/identity.toml", "--identity, NAME; expected the NAME"),
        ("--revoke c", "--revoke; expected the NAME"),
        ("d --roster roster.toml", "--roster, NAME; expected"),
        ("--roster roster.toml --roster roster.toml --revoke c", "several --roster; expected one"),
        (
            "--roster roster.toml --revoke c",
            "roster.toml is another roster, version 1; expected a free place",
        ),
        ("--roster roster.toml --revoke d --to next", "--revoke 'd'; expected the name of a member"),
        ("--roster roster.toml --member a/member.toml --to next", "nothing changes from version 1"),
        ("--roster nowhere.toml --revoke c --to next", "no file nowhere.toml"),
        ("--roster a/member.toml", "a/member.toml: missing version, unknown nothing"),
        ("--roster old.toml", "old.toml: version = 0 of a roster"),
        ("--roster changed.toml", "changed.toml: the signature of 'a', 'b', 'c' does not hold for version 3"),
        ("--member small.toml --member a/member.toml --to next", "signing key of 's' is not an ordinary"),
        ("--sign roster.toml --identity b2/identity.toml", "the roster lists another key for 'b'"),
        ("--sign roster.toml --identity d/identity.toml", "no site is called 'd'; the roster lists a, b, c"),
        ("--sign roster.toml --identity nowhere.toml", "no file nowhere.toml"),
        ("--sign roster.toml --identity roster.toml", "roster.toml has mode 0644; expected 0600"),
        ("--sign roster.toml --identity a/identity.toml --roster roster.toml", "accepted another version 1"),
        (
            "--sign unsigned/roster.toml --identity b/identity.toml",
            "version 2 of the roster revokes this key of",
        ),
        (
            "--sign unsigned/roster.toml --identity a/identity.toml --roster unsigned/roster.toml",
            "'a', 'b', 'c' of 3 members have not signed version 2 of the roster",
        ),
    ],
)
@pytest.mark.usefixtures("signed")
def test_wrong_input_of_each_kind_is_refused_in_one_line(call, words, complaint):
    call("enroll", "d", "--to", "d")
    call("enroll", "--roster", "roster.toml", "--member", "b2/member.toml", "--to", "unsigned")
    text = Path("roster.toml").read_text()
    Path("old.toml").write_text(text.replace("version = 1", "version = 0"))
    previous = f'version = 3\nprevious = "{"0" * 64}"'
    Path("changed.toml").write_text(text.replace("version = 1", previous))
    Path("small.toml").write_text(f'[[member]]\nname = "s"\nkey = "{"00" * 32}"\n')
    before = {path: path.read_bytes() for path in Path().rglob("*.toml")}
    code, _out, err = call("enroll", *words.split())
    assert code == ExitCode.USAGE
    assert complaint in err
    assert len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*.toml")} == before
