import pytest
import torch

from quintain.attacks import BIM
from quintain.core.errors import SettingError
from quintain.threats import Linf
from tests.attacks.gradient.watched import scene


def test_every_point_is_the_signed_step_from_the_last() -> None:
    model, x, y = scene(2, 4)
    BIM(steps=6, rel_step_size=0.3)(model, x, y, Linf(0.1))
    clean, *walk = model.asked
    assert torch.equal(walk[0], clean)
    assert len(walk) == 7
    z = x
    for point in walk:
        assert torch.allclose(point, z)
        z = torch.minimum(torch.maximum(point + 0.03 * model.slope(point).sign(), x - 0.1), x + 0.1).clamp(
            0, 1
        )


@pytest.mark.parametrize("settings", [{"steps": 0}, {"rel_step_size": 0.0}, {"rel_step_size": float("inf")}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingError, match=f"{next(iter(settings))} = "):
        BIM(**settings)
