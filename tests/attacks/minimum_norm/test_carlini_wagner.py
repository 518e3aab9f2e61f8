"""The attacks of Carlini and Wagner: small distances, faces of the box, and one constant for each example."""

import pytest
import torch
from torch import Tensor

from quintain.attacks import CarliniWagner
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, linear_task, random_inputs, smallest_linear_change
from quintain.threats import L2, Linf, Threat

BALLS = [Linf(1.0), L2(8.0)]
every_ball = pytest.mark.parametrize("ball", BALLS, ids=lambda ball: ball.spec)


@every_ball
@pytest.mark.parametrize("lack", [1e-3, pytest.param(0.1, marks=pytest.mark.exhaustive), 3.0])
def test_steps_are_scaled_to_the_distance(ball: Threat, lack: float) -> None:
    _, x, w, _ = linear_task(ball)
    clean = x[:1]

    def near(z: Tensor) -> Tensor:
        rise = (z - clean).flatten(1) @ w
        return torch.stack([torch.full_like(rise, lack), rise], 1)

    outcome = CarliniWagner()(near, clean, torch.zeros(1, dtype=torch.long), ball)
    least = float(smallest_linear_change(ball, w, torch.tensor([lack], dtype=torch.float64), clean))
    assert float(outcome.size) == pytest.approx(least, rel=0.01)


@every_ball
def test_all_logits_below_zero_hide_no_class(ball: Threat) -> None:
    linear, x, w, need = linear_task(ball)
    outcome = CarliniWagner(binary_search_steps=6, steps=50)(
        lambda z: linear(z) - 1e3, x, torch.zeros(24, dtype=torch.long), ball
    )
    least = smallest_linear_change(ball, w, need, x)
    assert torch.equal(outcome.success, least.isfinite())
    assert (outcome.size <= 1.02 * least + 1e-9)[outcome.success].all()


@every_ball
def test_an_easy_example_takes_nothing_from_a_hard_one(ball: Threat) -> None:
    x = torch.tensor([[0.5], [0.1]], dtype=torch.float64).expand(2, 6).contiguous()

    def bright(z: Tensor) -> Tensor:
        total = z.sum(1)
        return torch.stack([torch.full_like(total, 3.01), total], 1)

    y = torch.zeros(2, dtype=torch.long)
    both, hard = CarliniWagner()(bright, x, y, ball), CarliniWagner()(bright, x[1:], y[1:], ball)
    share = 6**0.5 if isinstance(ball, L2) else 6
    assert both.size.tolist() == pytest.approx([0.01 / share, 2.41 / share], rel=0.01)
    assert torch.equal(both.adversarial[1:], hard.adversarial)


def test_a_search_ends_early_where_nothing_moves_any_more() -> None:
    x = random_inputs(8, 14, seed=2)
    model = batch_invariant_net(14, 4, seed=3)
    y = model(x).argmax(1)
    attack = CarliniWagner(binary_search_steps=4, steps=200)
    for ball in BALLS:
        assert float(attack(model, x, y, ball).backwards.double().mean()) < 0.9 * 4 * 200


@every_ball
def test_targets_are_reached_and_any_wrong_class_is_one_of_them(ball: Threat) -> None:
    x = random_inputs(8, 14, seed=2)
    model = batch_invariant_net(14, 4, seed=3)
    y = model(x).argmax(1)
    attack = CarliniWagner(binary_search_steps=6, steps=40)
    aimed = [attack(model, x, y, ball, targets=(y + step) % 4) for step in (1, 2, 3)]
    free = attack(model, x, y, ball)
    sizes = torch.stack([outcome.size for outcome in aimed])
    assert all(
        torch.equal(model(o.adversarial).argmax(1)[o.success], ((y + s) % 4)[o.success])
        for s, o in zip((1, 2, 3), aimed, strict=True)
    )
    assert ((free.size / sizes - 1).abs().amin(0) < 0.02).all()


@pytest.mark.parametrize(
    ("setting", "value"), [("binary_search_steps", 0), ("steps", 9), ("learning_rate", 0.0)]
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{setting} = .*; expected"):
        CarliniWagner(**{setting: value})
