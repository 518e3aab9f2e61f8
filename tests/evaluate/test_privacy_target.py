"""What a private training may aim at."""

from dataclasses import replace

import pytest

from quintain.core.errors import SettingError
from tests.evaluate.support.private_blobs import QUICK


@pytest.mark.parametrize(
    "change",
    [
        {"epsilon": 0},
        {"delta": 1},
        {"batch_size": 0},
        {"steps": 0},
        {"max_grad_norm": 0},
        {"learning_rate": float("inf")},
    ],
)
def test_a_budget_out_of_range_is_refused(change):
    with pytest.raises(SettingError, match=r"got .*; expected"):
        replace(QUICK, **change)
