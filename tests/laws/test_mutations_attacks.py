"""Defects planted in shipped code, run through the public entry points: each raises the alarm that it names,
and the clean run does not.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from quintain.attacks import FGM, FGSM, PGD
from quintain.attacks import base as attack_method
from quintain.attacks import search as attack_search
from quintain.attacks.counted_model import CountedModel
from quintain.attacks.goal import Goal
from quintain.attacks.gradient import pgd as attack_pgd
from quintain.testing import (
    SPLITS,
    batch_invariant_net,
    check_better_than_random,
    check_never_worse,
    check_optimality_gap,
    check_points_allowed,
    check_projection_idempotent,
    check_projection_inside,
    check_projection_nearest,
    check_queries_counted,
    check_replayable,
    check_sample_inside,
    check_split_of,
    check_untouched,
    random_inputs,
)
from quintain.threats import L2, ExampleRNG, Linf, contains
from quintain.threats.threat import Threat


def alarms(check: Callable[[], None], plant: Callable[[], None], law: str) -> None:
    """The check passes on the code as shipped, and names its law on the planted defect."""
    check()
    plant()
    with pytest.raises(AssertionError, match=f"^expected {law}"):
        check()


def points(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x = (random_inputs(20, 12, seed=1, dtype=dtype) * 255).round() / 255
    return x + torch.randn(x.shape, generator=torch.Generator().manual_seed(2), dtype=dtype), x


def attacked(attack: Callable[..., object], threat: Threat, check: Callable[..., None]) -> Callable[[], None]:
    x = random_inputs(12, 8, seed=4)
    model = batch_invariant_net(8, 3, seed=3)
    y = model(x).argmax(1)
    y[0] = (y[0] + 1) % 3
    arguments = {
        "check_points_allowed": (x, threat),
        "check_replayable": (model, x, y, threat),
        "check_never_worse": (model, x, y),
    }
    return lambda: check(attack(model, x, y, threat), *arguments[check.__name__])


def unprojected(ball: Threat, z: Tensor, x: Tensor, room: object = None) -> Tensor:
    return z


def scaled_then_clamped(ball: L2, z: Tensor, x: Tensor, room: object = None) -> Tensor:
    change = z - x
    scale = (ball.eps / torch.linalg.vector_norm(change.flatten(1), dim=1).clamp(min=1e-12)).clamp(max=1) * (
        1 - 1e-6
    )
    return (x + change * scale[:, None]).clamp(ball.low, ball.high)


def rounded_to_nearest(ball: Linf, x: Tensor) -> tuple[Tensor, Tensor]:
    return (x - ball.eps).clamp(min=ball.low), (x + ball.eps).clamp(max=ball.high)


def test_linf_without_projection_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms(
        lambda: check_projection_inside(Linf(8 / 255), *points()),
        lambda: monkeypatch.setattr(Linf, "project", unprojected),
        "projected points within linf:8/255",
    )


def test_l2_without_projection_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms(
        lambda: check_projection_inside(L2(0.5), *points()),
        lambda: monkeypatch.setattr(L2, "project", unprojected),
        "projected points within l2:0.5",
    )


def test_bounds_rounded_to_nearest_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms(
        lambda: check_projection_inside(Linf(8 / 255), *points()),
        lambda: monkeypatch.setattr(Linf, "bounds", rounded_to_nearest),
        "projected points within linf:8/255",
    )


def test_scaling_and_then_clamping_is_not_the_projection(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z = random_inputs(6, 4, seed=1), random_inputs(6, 4, seed=2) * 3 - 1
    alarms(
        lambda: check_projection_nearest(L2(0.5), z, x),
        lambda: monkeypatch.setattr(L2, "project", scaled_then_clamped),
        "the projection to be the nearest allowed point",
    )


def test_a_projection_that_always_moves_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def shrinking(ball: L2, z: Tensor, x: Tensor, room: object = None) -> Tensor:
        return x + (scaled_then_clamped(ball, z, x) - x) * 0.999

    alarms(
        lambda: check_projection_idempotent(L2(0.5), *points()),
        lambda: monkeypatch.setattr(L2, "project", shrinking),
        "a projected point to stay, bit for bit",
    )


def test_samples_of_the_wrong_size_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def wide(ball: Linf, x: Tensor, draw: ExampleRNG, room: object = None) -> Tensor:
        return (x + (2 * draw.uniform(x) - 1) * 2 * ball.eps).clamp(0, 1)

    alarms(
        lambda: check_sample_inside(Linf(8 / 255), points()[1]),
        lambda: monkeypatch.setattr(Linf, "sample", wide),
        "sampled points within linf:8/255",
    )


@pytest.mark.parametrize(
    ("attack", "kind"),
    [(PGD(), Linf), (PGD(), L2), (FGSM(), Linf), (FGM(), L2)],
    ids=["pgd", "pgd-l2", "fgsm", "fgm"],
)
def test_an_attack_that_leaves_the_ball_breaks_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: type, attack: Callable[..., object]
) -> None:
    x = random_inputs(12, 8, seed=4)
    model = batch_invariant_net(8, 3, seed=3)
    y, threat = model(x).argmax(1), kind(0.05)
    monkeypatch.setattr(kind, "project", unprojected)
    monkeypatch.setattr(kind, "steepest_step", lambda ball, gradient, step: 1e3 * gradient.sign())
    outcome = attack(model, x, y, threat)
    left = ~contains(threat, outcome.adversarial, x)
    assert left.any()
    assert not outcome.success[left].any()
    with pytest.raises(AssertionError, match=r"^expected every returned point within"):
        check_points_allowed(outcome, x, threat)


def test_a_verdict_that_does_not_look_at_the_ball_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    check = attacked(PGD(), Linf(0.3), check_replayable)
    monkeypatch.setattr(Linf, "project", unprojected)
    alarms(
        check,
        lambda: monkeypatch.setattr(attack_search, "is_valid_success", lambda reached, *rest: reached),
        "every success within linf:0.3",
    )


def test_a_verdict_that_believes_everything_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    x, calls = random_inputs(6, 4), [0]
    net = batch_invariant_net(4, 2)
    y = net(x).argmax(1)

    def fickle(z: Tensor) -> Tensor:
        calls[0] += 1
        return net(z) if calls[0] != 3 else net(z).flip(1)

    def check() -> None:
        calls[0] = 0
        outcome = PGD(steps=5)(fickle, x, y, Linf(1e-6))
        assert int(outcome.forwards.max()) == 4
        check_replayable(outcome, net, x, y, Linf(1e-6))

    alarms(
        check,
        lambda: monkeypatch.setattr(
            attack_search, "is_valid_success", lambda reached, *rest: torch.ones_like(reached)
        ),
        "every success to be misclassified again",
    )


def test_keeping_the_worst_point_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    check = attacked(PGD(), Linf(0.01), check_never_worse)
    original = Goal.margin
    alarms(
        check,
        lambda: monkeypatch.setattr(Goal, "margin", lambda goal, logits, rows: -original(goal, logits, rows)),
        "a margin at least that of the clean input",
    )


def test_draws_by_place_in_the_batch_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    x = random_inputs(10, 6, seed=8)
    model = batch_invariant_net(6, 3, seed=4)
    run = partial(PGD(steps=3), model, threat=Linf(0.05), seed=4)
    check = lambda: check_split_of(run, x, model(x).argmax(1), SPLITS["uneven"])  # noqa: E731
    alarms(
        check,
        lambda: monkeypatch.setattr(
            attack_method, "example_rng", lambda x, seed, ids=None: ExampleRNG(seed, torch.arange(len(x)))
        ),
        "the same adversarial in parts of",
    )


def test_steps_that_do_not_fall_are_too_weak_in_l2(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = lambda eps, steps, rate: (eps / 40,) * steps  # noqa: E731
    alarms(
        lambda: check_optimality_gap(PGD(), L2(0.3), gap=0.01),
        lambda: monkeypatch.setattr(attack_pgd, "cosine_step_sizes", fixed),
        r"(success wherever 0\.99 of the best gain suffices|at least 0\.99 of the best gain)",
    )


@pytest.mark.parametrize("kind", [Linf, L2])
def test_a_step_downhill_is_seen(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    uphill = kind.steepest_step
    alarms(
        lambda: check_optimality_gap(PGD(), kind(0.3), gap=0.01),
        lambda: monkeypatch.setattr(
            kind, "steepest_step", lambda ball, gradient, step: -uphill(ball, gradient, step)
        ),
        r"success wherever 0\.99 of the best gain suffices",
    )


def test_an_attack_that_never_moves_is_no_better_than_random(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms(
        lambda: check_better_than_random(PGD(), L2(0.6)),
        lambda: monkeypatch.setattr(
            L2, "steepest_step", lambda ball, gradient, step: torch.zeros_like(gradient)
        ),
        "a mean margin above .* random points",
    )


def test_a_meter_that_forgets_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    alarms(
        lambda: check_queries_counted(PGD(), Linf(0.1)),
        lambda: monkeypatch.setattr(CountedModel, "logits", lambda meter, z, rows: meter.wrapped(z)),
        "[0-9]+ queries, which the model saw",
    )


def test_gradients_left_on_the_weights_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def spilling(
        meter: CountedModel, z: Tensor, rows: Tensor, loss: Callable[[Tensor, Tensor], Tensor], image: object
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            logits = meter.wrapped(z)
            values = loss(logits, rows)
            values.sum().backward()
        assert z.grad is not None
        return logits.detach(), values.detach(), z.grad

    alarms(
        lambda: check_untouched(PGD(steps=2), Linf(0.1), fail_at=None),
        lambda: monkeypatch.setattr(CountedModel, "value_and_grad", spilling),
        "the same gradient",
    )
