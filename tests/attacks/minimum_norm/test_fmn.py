"""FMN: its radius, its steps, and the inputs on the faces of the box that stall others."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

from quintain.attacks import EAD, FMN, JSMA, CarliniWagner, SigmaZero
from quintain.attacks.base import Attack
from quintain.attacks.outcome import AttackOutcome
from quintain.core.errors import SettingError
from quintain.testing import batch_invariant_net, linear_task, random_inputs, smallest_linear_change
from quintain.threats import L0, L1, L2, Linf, Threat

PAIRS: list[tuple[Attack, Threat]] = [
    *((FMN(steps=40), ball) for ball in (Linf(1.0), L2(9.0), L1(30.0), L0(14))),
    *((CarliniWagner(binary_search_steps=4, steps=20), ball) for ball in (Linf(1.0), L2(9.0))),
    (EAD(binary_search_steps=4, steps=20), L1(30.0)),
    (SigmaZero(steps=40), L0(14)),
    (JSMA(), L0(14)),
]
every_pair = pytest.mark.parametrize(
    ("method", "ball"), PAIRS, ids=lambda part: getattr(part, "name", None) or part.spec
)


def task(classes: int = 4) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    x = random_inputs(14, 14, seed=2)
    model = batch_invariant_net(14, classes, seed=3)
    return model, x, model(x).argmax(1)


@cache
def found(method: Attack, ball: Threat) -> AttackOutcome:
    model, x, y = task()
    return method(model, x, y, ball)


def recorded(model: Callable[[Tensor], Tensor], asked: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def answer(z: Tensor) -> Tensor:
        asked.append(z.detach().clone())
        return model(z)

    return answer


@every_pair
def test_the_smallest_break_of_all_that_was_asked_is_returned(method: Attack, ball: Threat) -> None:
    model, x, y = task()
    for row in range(3):
        asked: list[Tensor] = []
        outcome = method(recorded(model, asked), x[row : row + 1], y[row : row + 1], ball)
        points = torch.cat(asked)
        broken = model(points).argmax(1) != y[row]
        sizes = ball.measure(points, x[row].expand_as(points))
        assert outcome.success.all()
        assert float(outcome.size) == float(sizes[broken].min())


@every_pair
def test_two_classes_targeted_is_untargeted(method: Attack, ball: Threat) -> None:
    model, x, y = task(classes=2)
    plain, aimed = method(model, x, y, ball), method(model, x, y, ball, targets=1 - y)
    assert plain.success.all()
    assert torch.equal(plain.adversarial, aimed.adversarial)
    assert torch.equal(plain.forwards, aimed.forwards)


@every_pair
def test_a_box_of_another_width_gives_the_same_points(method: Attack, ball: Threat) -> None:
    model, x, y = task()
    pixels = isinstance(ball, L0)
    wide = type(ball)(ball.eps if pixels else 256 * ball.eps, low=0.0, high=256.0)
    plain, scaled = found(method, ball), method(lambda z: model(z / 256), x * 256, y, wide)
    assert torch.allclose(scaled.size, plain.size if pixels else 256 * plain.size, rtol=1e-4)


@every_pair
def test_what_the_box_forbids_is_unbroken(method: Attack, ball: Threat) -> None:
    x = random_inputs(6, 14)
    outcome = method(
        lambda z: torch.stack([14.1 - z.sum(1), z.sum(1) * 0], 1), x, torch.zeros(6, dtype=torch.long), ball
    )
    assert not outcome.success.any()
    assert outcome.size.isinf().all()
    assert torch.equal(outcome.adversarial, x)


@every_pair
def test_shifted_logits_change_no_verdict(method: Attack, ball: Threat) -> None:
    model, x, y = task()
    plain, below = found(method, ball), method(lambda z: model(z) - 64, x, y, ball)
    assert torch.equal(plain.success, below.success)
    assert (below.size / plain.size).median().item() == pytest.approx(1, abs=1e-3)


@every_pair
def test_float32_ends_where_float64_does(method: Attack, ball: Threat) -> None:
    model, x, y = task()
    exact, single = found(method, ball), method(lambda z: model(z.double()).float(), x.float(), y, ball)
    assert torch.equal(exact.success, single.success)
    assert (single.size / exact.size).median().item() == pytest.approx(1, abs=0.01)


@every_pair
def test_rectangles_of_three_channels(method: Attack, ball: Threat) -> None:
    x = random_inputs(6, 3, 2, 7)
    model = batch_invariant_net(42, 3, seed=1)
    outcome = method(model, x, model(x).argmax(1), ball)
    assert outcome.success.all()
    assert torch.equal(outcome.size, ball.measure(outcome.adversarial, x))


@every_pair
def test_a_slope_of_zero_is_no_error(method: Attack, ball: Threat) -> None:
    x = random_inputs(4, 14)
    outcome = method(
        lambda z: torch.stack([1 + 0 * z.sum(1), 0 * z.sum(1)], 1), x, torch.zeros(4, dtype=torch.long), ball
    )
    assert not outcome.success.any()
    assert not outcome.error.any()


def test_inputs_on_the_faces_do_not_stall_the_l1_search() -> None:
    ball = L1(60.0)
    linear, x, w, need = linear_task(ball)
    faces = x.round()
    need = need + ((x - faces).flatten(1) @ w)
    outcome = FMN()(linear, faces, torch.zeros(24, dtype=torch.long), ball)
    least = smallest_linear_change(ball, w, need, faces)
    possible = least.isfinite() & (least > 0)
    assert outcome.success[possible].all()
    assert (outcome.size <= 1.01 * least)[possible].all()


@pytest.mark.parametrize("ball", [Linf(1.0), L2(9.0), L1(30.0)], ids=lambda ball: ball.spec)
def test_the_points_stay_at_the_radius_of_the_smallest_break(ball: Threat) -> None:
    model, x, y = task()
    for row in range(2):
        clean, slopes = x[row : row + 1], []

        def watched(z: Tensor, slopes: list[Tensor] = slopes) -> Tensor:
            if z.requires_grad:
                slopes.append(z.detach().clone())
            return model(z)

        outcome = FMN(steps=60)(watched, clean, y[row : row + 1], ball)
        sizes = torch.cat([ball.measure(z, clean) for z in slopes])
        assert (sizes[-10:] <= 1.02 * outcome.size).all()
        assert sizes.max() > 1.1 * outcome.size


def test_the_step_does_not_depend_on_the_scale_of_the_logits() -> None:
    model, x, y = task()
    for ball in (Linf(1.0), L2(9.0), L1(30.0), L0(14)):
        plain, steep = FMN(steps=30)(model, x, y, ball), FMN(steps=30)(lambda z: 1024 * model(z), x, y, ball)
        assert torch.equal(plain.adversarial, steep.adversarial)


def test_more_steps_are_no_worse() -> None:
    model, x, y = task()
    for ball in (Linf(1.0), L2(9.0), L1(30.0)):
        few, many = (FMN(steps=steps)(model, x, y, ball).size.median() for steps in (30, 120))
        assert many <= 1.001 * few


@pytest.mark.parametrize(
    ("setting", "value"), [("steps", 0), ("step_size", 0.0), ("gamma", 0.0), ("gamma", 1.0)]
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(SettingError, match=f"{setting} = .*; expected"):
        FMN(**{setting: value})
