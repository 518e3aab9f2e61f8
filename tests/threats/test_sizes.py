import pytest

from quintain.core.errors import SettingError
from quintain.threats import L0, L1, Linf, Mask
from quintain.threats.sizes import common_threat_type, sorted_by_size


def test_sizes_of_one_ball_rise() -> None:
    assert sorted_by_size([L0(9), L0(1), L0(3)]) == [L0(1), L0(3), L0(9)]
    assert sorted_by_size([Mask("disc", 0.5), Mask("disc", 0.1)]) == [Mask("disc", 0.1), Mask("disc", 0.5)]
    assert common_threat_type([Mask("disc", 0.5)]) == "mask:disc"
    assert common_threat_type([L1(12)]) == "l1"


@pytest.mark.parametrize(
    "threats", [[], [L0(1), L1(1)], [Mask("disc", 0.1), Mask("border", 0.1)], [Linf(0.1), Mask("disc", 0.1)]]
)
def test_what_is_no_larger_size_of_the_same_is_refused(threats: list) -> None:
    with pytest.raises(SettingError, match="all of one type"):
        sorted_by_size(threats)
