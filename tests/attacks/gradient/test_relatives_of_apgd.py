import pytest
import torch

from quintain.attacks import A3, ACG, APGD, MinimumMargin
from quintain.attacks.gradient.a3 import output_directions
from quintain.attacks.gradient.acg import hestenes_stiefel_beta
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, random_inputs
from quintain.threats import L2, ExampleRNG, Linf


def test_conjugate_directions_find_the_top_of_a_quadratic_in_as_many_steps_as_it_has_dimensions() -> None:
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    curve, aim = (
        root @ root.T + torch.eye(4, dtype=torch.float64),
        torch.randn(4, generator=generator, dtype=torch.float64),
    )
    z, before, direction = torch.zeros(1, 4, dtype=torch.float64), torch.zeros(1, 4), torch.zeros(1, 4)
    for _ in range(4):
        gradient = aim - z @ curve
        direction = (
            gradient
            + hestenes_stiefel_beta(gradient, before.double(), direction.double())[:, None] * direction
        )
        z = z + (gradient * direction).sum() / (direction @ curve * direction).sum() * direction
        before = gradient
    assert torch.allclose(z @ curve, aim.expand(1, 4), atol=1e-9)


def test_a_turn_that_is_not_finite_keeps_nothing() -> None:
    same = torch.ones(2, 3)
    assert hestenes_stiefel_beta(same, same, torch.zeros(2, 3)).tolist() == [0, 0]


@pytest.mark.parametrize("classes", [2, 3, 4, 10])
def test_they_break_about_what_apgd_breaks(classes: int) -> None:
    x = random_inputs(50, 16, seed=3)
    model = batch_invariant_net(16, classes, seed=5)
    y = model(x).argmax(1)
    for threat in (Linf(0.05), L2(0.15)):
        theirs = APGD(steps=50)(model, x, y, threat)
        for attack in (ACG(steps=50), A3(rounds=3), MinimumMargin()):
            ours = attack(model, x, y, threat)
            assert 0 < ours.success.sum() < 50, attack
            assert ours.success.sum() >= theirs.success.sum() - 2, attack


def test_start_directions_lower_the_true_class_and_keep_what_is_favored() -> None:
    logits = torch.zeros(5, 4)
    y, favored = torch.tensor([0, 1, 2, 3, 0]), torch.tensor([-1, -1, 0, 1, 2])
    weights = output_directions(ExampleRNG(0, torch.arange(5)), logits, y, favored)
    assert (weights.gather(1, y[:, None]) <= 0).all()
    assert weights[torch.arange(2, 5), favored[2:]].tolist() == [1, 1, 1]
    assert (weights.abs() <= 1).all()


def test_rounds_are_not_begun_where_they_are_hopeless() -> None:
    x = random_inputs(5, 12)
    y = torch.zeros(5, dtype=torch.long)
    model = batch_invariant_net(12, 3, lead=60.0)
    short, long = (A3(rounds=8, steps=4, patience=hope)(model, x, y, Linf(0.05)) for hope in (0.5, 1e6))
    assert short.backwards.tolist() == [12] * 5
    assert long.backwards.tolist() == [96] * 5


def test_a_climb_towards_each_of_the_nearest_rivals_is_paid_for() -> None:
    x = random_inputs(5, 12)
    outcome = MinimumMargin(steps=7, target_classes=9)(
        batch_invariant_net(12, 4, lead=60.0), x, torch.zeros(5, dtype=torch.long), Linf(0.05)
    )
    assert outcome.backwards.tolist() == [21] * 5
    assert outcome.forwards.tolist() == [1 + 3 * 8] * 5


@pytest.mark.parametrize(
    "build",
    [
        lambda: A3(rounds=0),
        lambda: A3(patience=0.0),
        lambda: ACG(steps=0),
        lambda: MinimumMargin(target_classes=0),
    ],
)
def test_settings_out_of_range_are_refused_by_all(build: object) -> None:
    with pytest.raises(SettingError, match="expected"):
        build()  # type: ignore[operator]
