import pytest

from quintain.core.errors import SettingError
from quintain.core.limits import at_least


def test_the_first_setting_that_is_too_small_is_named() -> None:
    at_least(1, steps=1, restarts=7)
    with pytest.raises(SettingError, match="restarts = 0; expected at least 1"):
        at_least(1, steps=1, restarts=0, targets=-1)
