"""HopSkipJump on boundaries that are known."""

import pytest
import torch

from quintain.attacks import HopSkipJump
from quintain.attacks.decision_based.hopskipjump import linf_path
from quintain.core.errors import ModelError, SettingError
from quintain.models import Classifier
from quintain.threats import L2, Linf


def sphere(z):
    """Class 1 outside a ball round the middle of the box."""
    distance = (z.flatten(1) - 0.5).norm(dim=1)
    return torch.stack([torch.zeros_like(distance), distance - 0.4], 1)


def middles(count, features=6):
    offset = (
        torch.rand(count, features, generator=torch.Generator().manual_seed(4), dtype=torch.float64) - 0.5
    )
    return 0.5 + 0.3 * offset / offset.norm(dim=1, keepdim=True)


@pytest.mark.parametrize("count", [1, 4, 16])
def test_the_size_does_not_depend_on_the_batch(count):
    outcome = HopSkipJump(queries=3000)(sphere, middles(count), torch.zeros(count, dtype=torch.long), L2(1.0))
    assert outcome.success.all()
    assert (outcome.size / 0.1).median() < 1.05


def test_a_curved_boundary_in_the_largest_change():
    outcome = HopSkipJump(queries=3000)(sphere, middles(8), torch.zeros(8, dtype=torch.long), Linf(0.5))
    least = nearest_linf(middles(8))
    assert (outcome.size >= least * (1 - 1e-6)).all()
    assert (outcome.size / least).median() < 1.1


def nearest_linf(x):
    """Smallest r whose cube round x leaves the ball: its farthest corner decides."""
    low, high = torch.zeros(len(x), dtype=x.dtype), torch.ones(len(x), dtype=x.dtype)
    for _ in range(60):
        middle = (low + high) / 2
        out = ((x - 0.5).abs() + middle[:, None]).norm(dim=1) > 0.4
        low, high = torch.where(out, low, middle), torch.where(out, middle, high)
    return high


@pytest.mark.parametrize("threat", [L2(300.0), Linf(1.0)])
def test_a_large_image_ends_and_stays_finite(threat):
    x = torch.full((1, 3, 224, 224), 0.45)

    def bright(z):
        mean = z.mean((1, 2, 3))
        return torch.stack([torch.full_like(mean, 0.48), mean], 1)

    outcome = HopSkipJump(queries=150, initial_probes=20)(bright, x, torch.zeros(1, dtype=torch.long), threat)
    assert outcome.success.all()
    assert outcome.adversarial.isfinite().all()
    assert int(outcome.forwards) <= 150


def test_early_stopping_ends_at_the_first_change_within_the_threat():
    x, y = middles(6), torch.zeros(6, dtype=torch.long)
    soon, late = (
        HopSkipJump(queries=2000, early_stop=early)(sphere, x, y, L2(0.3)) for early in (True, False)
    )
    assert soon.success.all()
    assert (soon.size <= 0.3).all()
    assert (soon.forwards < late.forwards).all()
    assert (late.size <= soon.size).all()


def test_a_region_that_no_noise_meets_is_left_unbroken_after_the_tries():
    x = torch.full((2, 1, 6, 6), 0.5)

    def constant(z):
        return torch.tensor([[1.0, 0.0]]).expand(len(z), 2)

    outcome = HopSkipJump(init_tries=9)(constant, x, torch.zeros(2, dtype=torch.long), L2(1.0))
    assert not outcome.success.any()
    assert outcome.forwards.tolist() == [10, 10]


def test_with_two_classes_a_target_is_any_wrong_class():
    x, y = middles(4), torch.zeros(4, dtype=torch.long)
    free = HopSkipJump(queries=300)(sphere, x, y, L2(1.0))
    aimed = HopSkipJump(queries=300)(sphere, x, y, L2(1.0), targets=torch.ones(4, dtype=torch.long))
    assert torch.equal(free.adversarial, aimed.adversarial)


def test_the_largest_changes_shrink_and_the_others_stay():
    x, z = torch.tensor([[0.0, 0.5, 0.5]]), torch.tensor([[0.8, 0.4, 0.9]])
    path = linf_path(z, x, torch.tensor([0.8], dtype=torch.float64))
    place = torch.tensor([0])
    points = [path(torch.tensor([share], dtype=torch.float64), place) for share in (0.0, 0.75, 1.0)]
    assert torch.equal(points[0], z)
    assert torch.allclose(points[1], torch.tensor([[0.2, 0.4, 0.7]]))
    assert torch.equal(points[2], x)


@pytest.mark.parametrize("settings", [{"queries": 1}, {"initial_probes": 0}, {"init_tries": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        HopSkipJump(**settings)


def test_what_a_net_gives_is_enough_and_training_mode_is_refused():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    with pytest.raises(ModelError, match="training mode"):
        HopSkipJump()(Classifier(net), torch.rand(1, 4), torch.zeros(1, dtype=torch.long), L2(1.0))
