"""Tokens are read in one way."""

import pytest

from quintain.core.tokens import ball_of, kind_of, number, size_of


def test_a_token_has_a_kind_and_a_size():
    assert (kind_of("linf:8/255"), size_of("linf:8/255")) == ("linf", "8/255")
    assert (kind_of(" L2 : 0.5 "), size_of(" L2 : 0.5 ")) == ("l2", "0.5")
    assert (kind_of("negative"), size_of("negative")) == ("negative", "")


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
    assert (kind_of(token), ball_of(token), size_of(token)) == (kind, ball, size)


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.5", 0.5), ("8/510", 4 / 255), ("1e-3", 1e-3)])
def test_numbers_and_fractions(text, value):
    assert number(text) == value


@pytest.mark.parametrize("text", ["", "x", "1/0", "1/2/3", "5%"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match=r".+"):
        number(text)
