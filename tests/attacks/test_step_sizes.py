from itertools import pairwise

import pytest
import torch

from quintain.attacks.step_sizes import ascent_step, cosine_step_sizes
from quintain.core.errors import SettingError
from quintain.threats import L2, Linf


def test_lengths_fall_from_the_rate_to_nearly_nothing() -> None:
    steps = cosine_step_sizes(0.1, 20, 2.0)
    assert steps[0] == pytest.approx(0.2)
    assert all(a > b > 0 for a, b in pairwise(steps))
    assert steps[-1] < 0.002
    assert sum(steps) > 2 * 0.1
    assert cosine_step_sizes(0.0, 3, 1.0) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("steps", "rate"), [(0, 1.0), (-3, 1.0), (5, 0.0), (5, -1.0), (5, float("nan")), (5, float("inf"))]
)
def test_no_steps_are_refused(steps: int, rate: float) -> None:
    with pytest.raises(SettingError, match="expected"):
        cosine_step_sizes(0.1, steps, rate)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)])
def test_coordinates_without_a_finite_gradient_stay(threat: Linf | L2) -> None:
    x = torch.full((2, 3), 0.5)
    gradient = torch.tensor([[1.0, torch.nan, torch.inf], [0.0, 0.0, 0.0]])
    z = ascent_step(threat, 0.05, x, gradient, x, threat.projection_cache(x))
    assert torch.allclose(z, torch.tensor([[0.55, 0.5, 0.5], [0.5, 0.5, 0.5]]))
