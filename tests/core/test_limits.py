import pytest

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least


def test_the_first_setting_that_is_too_small_is_named() -> None:
    require_at_least(1, steps=1, restarts=7)
    with pytest.raises(SettingError, match="restarts = 0; expected at least 1"):
        require_at_least(1, steps=1, restarts=0, targets=-1)
