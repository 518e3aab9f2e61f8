import pytest

from quintain.core.errors import SettingError
from quintain.evaluate.examples import ball_of, rising
from quintain.threats import L0, L1, Linf, Mask


def test_sizes_of_one_ball_rise() -> None:
    assert rising([L0(9), L0(1), L0(3)]) == [L0(1), L0(3), L0(9)]
    assert rising([Mask("disc", 0.5), Mask("disc", 0.1)]) == [Mask("disc", 0.1), Mask("disc", 0.5)]
    assert ball_of([Mask("disc", 0.5)]) == "mask:disc"
    assert ball_of([L1(12)]) == "l1"


@pytest.mark.parametrize("threats", [[], [L0(1), L1(1)], [Mask("disc", 0.1), Mask("border", 0.1)], [Linf(0.1), Mask("disc", 0.1)]])
def test_what_is_no_larger_size_of_the_same_is_refused(threats: list) -> None:
    with pytest.raises(SettingError, match="all of one kind"):
        rising(threats)
