import pytest

from quintain.core.errors import SettingError, UnknownNameError
from quintain.threats import L2, Linf, parse


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("linf:8/255", Linf(8 / 255)),
        ("linf:2/255", Linf(2 / 255)),
        (" LINF: 0.5 ", Linf(0.5)),
        ("linf:1e-3", Linf(0.001)),
        ("linf:0", Linf(0)),
        ("l2:0.5", L2(0.5)),
        ("l2:128/255", L2(128 / 255)),
        ("linf:0.1[-1,1]", Linf(0.1, -1, 1)),
        ("l2:3[0.0,255.0]", L2(3, 0, 255)),
    ],
)
def test_tokens_are_read(text: str, threat: Linf | L2) -> None:
    assert parse(text) == threat
    assert parse(threat.spec) == threat


@pytest.mark.parametrize(
    ("threat", "token"),
    [
        (Linf(8 / 255), "linf:8/255"),
        (Linf(0.5), "linf:0.5"),
        (Linf(0), "linf:0.0"),
        (Linf(1), "linf:1.0"),
        (Linf(0.1 + 0.2), "linf:0.30000000000000004"),
        (L2(0.25, -1, 1), "l2:0.25[-1.0,1.0]"),
    ],
)
def test_tokens_are_written(threat: Linf | L2, token: str) -> None:
    assert threat.spec == token


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean linf"):
        parse("lnf:8/255")


@pytest.mark.parametrize("text", ["linf", "linf:", "l2: "])
def test_a_missing_size_is_asked_for(text: str) -> None:
    with pytest.raises(SettingError, match="has no size"):
        parse(text)


@pytest.mark.parametrize(
    "text", ["linf:eight", "linf:8/0", "linf:8//255", "linf:0.1[0]", "linf:0.1[0,1", "linf:0.1[a,1]"]
)
def test_a_size_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="expected"):
        parse(text)


def test_levels_instead_of_units_are_recognized_in_a_token() -> None:
    with pytest.raises(SettingError, match="Did you mean 8/255"):
        parse("linf:8")
