"""FAB: what it costs, what guides it, and where it ends."""

import pytest
import torch
from torch import Tensor

from quintain.attacks import FAB
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, linear_task, random_inputs, smallest_linear_change
from quintain.threats import L1, L2, Linf, Threat

BALLS = [Linf(1.0), L2(9.0), L1(70.0)]
every_ball = pytest.mark.parametrize("threat", BALLS, ids=lambda ball: ball.spec)


def zeros(count: int) -> Tensor:
    return torch.zeros(count, dtype=torch.long)


@every_ball
@pytest.mark.parametrize("shape", [(60,), (2, 3, 10), (3, 4, 5)])
def test_it_ends_within_seven_thousandths_of_the_smallest_change_in_the_box(
    threat: Threat, shape: tuple[int, ...]
) -> None:
    linear, x, w, need = linear_task(threat, shape=shape)
    outcome = FAB(steps=12)(linear, x, zeros(len(x)), threat)
    least = smallest_linear_change(threat, w, need, x)
    reachable = least.isfinite()
    assert torch.equal(outcome.success, reachable)
    assert (outcome.size <= least * 1.007)[reachable].all()
    assert (outcome.size >= least * (1 - 1e-9))[reachable].all()


@every_ball
def test_what_the_box_makes_unreachable_is_unbroken_and_unchanged(threat: Threat) -> None:
    x = random_inputs(8, 12)
    w = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    capacity = (w.abs() * torch.where(w > 0, 1 - x, x)).sum(1)

    def linear(z: Tensor) -> Tensor:
        lead = ((z - x[: len(z)]) @ w) - 1.001 * capacity[: len(z)]
        return torch.stack([torch.zeros_like(lead), lead], 1)

    outcome = FAB(steps=10)(linear, x, zeros(8), threat)
    assert not outcome.success.any()
    assert torch.equal(outcome.adversarial, x)


@pytest.mark.parametrize(("classes", "guides"), [(2, 1), (4, 3), (12, 9)])
def test_an_unbroken_example_costs_a_gradient_a_step_and_one_answer_more_a_guide(
    classes: int, guides: int
) -> None:
    outcome = FAB(steps=7, restarts=2)(
        batch_invariant_net(5, classes, lead=50.0), random_inputs(6, 5), zeros(6), Linf(0.1)
    )
    assert outcome.backwards.tolist() == [2 * guides * 7] * 6
    assert outcome.forwards.tolist() == [1 + 2 * guides * 8] * 6


def test_a_break_costs_two_bisections_and_a_final_check_beside_that() -> None:
    threat = L2(9.0)
    linear, x, _, need = linear_task(threat)
    outcome = FAB(steps=20)(linear, x, zeros(len(x)), threat)
    walked = outcome.success & (need > 0)
    assert (outcome.backwards[walked] == 20).all()
    assert (outcome.forwards[walked] == 1 + 21 + (6 - 3) + (10 - 3) + 1).all()


def blind_alley(z: Tensor) -> Tensor:
    """The first target class leads by clean logits, but has no slope; the second has one."""
    first = z.flatten(1)[:, 0]
    return torch.stack([torch.zeros_like(first), torch.full_like(first, -0.1), 3 * first - 2], 1)


@every_ball
def test_each_rival_is_followed(threat: Threat) -> None:
    x = torch.full((4, 3), 0.1, dtype=torch.float64)
    assert not FAB(steps=5, target_classes=1)(blind_alley, x, zeros(4), threat).success.any()
    outcome = FAB(steps=5, target_classes=2)(blind_alley, x, zeros(4), threat)
    assert outcome.success.all()
    assert outcome.size.tolist() == pytest.approx([2 / 3 - 0.1] * 4, rel=1e-3)


@every_ball
def test_rivals_are_guides_and_any_wrong_class_is_a_break(threat: Threat) -> None:
    def crossing(z: Tensor) -> Tensor:
        first = z[:, 0]
        return torch.stack([torch.zeros_like(first), first - 0.9, 20 * first - 12], 1)

    x = torch.full((4, 3), 0.55, dtype=torch.float64)
    assert crossing(x).argsort(1, descending=True)[:, 1].eq(1).all()
    outcome = FAB(steps=5, target_classes=1)(crossing, x, zeros(4), threat)
    assert crossing(outcome.adversarial).argmax(1).eq(2).all()
    assert outcome.size.tolist() == pytest.approx([0.05] * 4, rel=1e-2)


@every_ball
def test_a_target_is_a_goal_and_the_only_guide(threat: Threat) -> None:
    x = random_inputs(10, 14, seed=2)
    model = batch_invariant_net(14, 4, seed=3)
    y = model(x).argmax(1)
    free = FAB(steps=20)(model, x, y, threat)
    aimed = [FAB(steps=20)(model, x, y, threat, targets=(y + turn) % 4) for turn in (1, 2, 3)]
    for turn, outcome in enumerate(aimed, 1):
        assert (outcome.backwards <= 20).all()
        assert outcome.success.any()
        assert torch.equal(
            model(outcome.adversarial).argmax(1)[outcome.success], ((y + turn) % 4)[outcome.success]
        )
    nearest = torch.stack([outcome.size for outcome in aimed]).amin(0)
    assert (free.size <= nearest * 1.1).all()


@every_ball
def test_with_two_classes_the_target_says_nothing_new(threat: Threat) -> None:
    linear, x, _, _ = linear_task(threat)
    plain = FAB(steps=8)(linear, x, zeros(len(x)), threat)
    aimed = FAB(steps=8)(linear, x, zeros(len(x)), threat, targets=zeros(len(x)) + 1)
    assert torch.allclose(aimed.size, plain.size)


def test_the_true_class_may_be_the_last() -> None:
    x = random_inputs(12, 14, seed=2)
    model = batch_invariant_net(14, 5, seed=3)
    y = model(x).argmax(1)
    order = torch.tensor([4, 3, 2, 1, 0])
    plain, turned = (
        FAB(steps=10)(model, x, y, Linf(1.0)),
        FAB(steps=10)(lambda z: model(z)[:, order], x, order[y], Linf(1.0)),
    )
    assert y.eq(0).any()
    assert y.eq(4).any()
    assert torch.allclose(plain.size, turned.size)


def test_within_stops_at_the_first_break_that_counts() -> None:
    x = random_inputs(40, 14, seed=4)
    model = batch_invariant_net(14, 4, seed=3)
    y = model(x).argmax(1)
    every = FAB(steps=15)(model, x, y, Linf(1.0))
    threat = Linf(float(every.size.median()))
    whole, first = FAB(steps=15)(model, x, y, threat), FAB(steps=15, early_stop=True)(model, x, y, threat)
    assert torch.equal(first.success, whole.success)
    assert first.success.any()
    assert not first.success.all()
    assert (first.backwards <= whole.backwards).all()
    assert (
        first.backwards[first.success].double().mean() < 0.3 * whole.backwards[first.success].double().mean()
    )
    assert torch.equal(first.backwards[~first.success], whole.backwards[~first.success])
    assert (first.size >= whole.size)[first.success].all()


def test_a_restart_starts_elsewhere() -> None:
    def dead(z: Tensor) -> Tensor:
        lead = 9 * (z[:, 0] - 0.5).relu() - 1
        return torch.stack([torch.zeros_like(lead), lead], 1)

    x = torch.full((30, 2), 0.45, dtype=torch.float64)
    assert not FAB(steps=5)(dead, x, zeros(30), Linf(1.0)).success.any()
    more = FAB(steps=5, restarts=3)(dead, x, zeros(30), Linf(1.0), seed=1)
    assert 10 <= int(more.success.sum()) < 30
    assert not torch.equal(
        more.success, FAB(steps=5, restarts=3)(dead, x, zeros(30), Linf(1.0), seed=2).success
    )
    assert (more.size[more.success] < 0.17).all()


@pytest.mark.parametrize("name", ["steps", "target_classes", "restarts"])
def test_settings_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} = 0; expected"):
        FAB(**{name: 0})
