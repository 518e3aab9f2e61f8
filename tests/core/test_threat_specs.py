"""Tokens are read in one way."""

import pytest

from quintain.core.threat_specs import parse_number, size_text, threat_name, threat_type


def test_a_token_has_a_kind_and_a_size():
    assert (threat_name("linf:8/255"), size_text("linf:8/255")) == ("linf", "8/255")
    assert (threat_name(" L2 : 0.5 "), size_text(" L2 : 0.5 ")) == ("l2", "0.5")
    assert (threat_name("negative"), size_text("negative")) == ("negative", "")


@pytest.mark.parametrize(
    ("token", "kind", "ball", "size"),
    [
        ("l0:5", "l0", "l0", "5"),
        ("mask:eyeglasses:0.5", "mask", "mask:eyeglasses", "0.5"),
        (" Mask: Dir/A.png : 8/255 ", "mask", "mask:Dir/A.png", "8/255"),
        ("mask:C:/a.npy:0.3", "mask", "mask:C:/a.npy", "0.3"),
        ("negative", "negative", "negative", ""),
    ],
)
def test_a_ball_is_what_a_size_is_a_size_of(token, kind, ball, size):
    assert (threat_name(token), threat_type(token), size_text(token)) == (kind, ball, size)


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("0.5", 0.5), ("8/510", 4 / 255), ("1e-3", 1e-3)]
)
def test_numbers_and_fractions(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize("text", ["", "x", "1/0", "1/2/3", "5%"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match=r".+"):
        parse_number(text)
