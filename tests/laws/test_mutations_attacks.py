"""Defects planted in shipped code, run through the public entry points: each raises the alarm that it names,
and the clean run does not.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from quintain.attacks import FGM, FGSM, PGD
from quintain.testing import (
    ATTACK_BUGS,
    SPLITS,
    THREAT_BUGS,
    PlantedBug,
    batch_invariant_net,
    check_attack_device,
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
    check_threat,
    check_untouched,
    random_inputs,
    unprojected,
)
from quintain.threats import L2, Linf, contains
from quintain.threats.threat import Threat


def alarms(check: Callable[[], None], bug: PlantedBug) -> None:
    """The check passes on the code as shipped, and names its law on the planted bug."""
    check()
    with bug.planted(), pytest.raises(AssertionError, match=f"^expected .*{bug.alarm}"):
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


def nearest() -> None:
    check_projection_nearest(L2(0.5), random_inputs(6, 4, seed=2) * 3 - 1, random_inputs(6, 4, seed=1))


CHECKS = {
    "linf without projection": lambda: check_projection_inside(Linf(8 / 255), *points()),
    "l2 without projection": lambda: check_projection_inside(L2(0.5), *points()),
    "bounds rounded to nearest": lambda: check_projection_inside(Linf(8 / 255), *points()),
    "scaled and then clamped": nearest,
    "a projection that always moves": lambda: check_projection_idempotent(L2(0.5), *points()),
    "samples of twice the size": lambda: check_sample_inside(Linf(8 / 255), points()[1]),
    "steps that do not fall": lambda: check_optimality_gap(PGD(), L2(0.3), gap=0.01),
    "a step downhill in linf": lambda: check_optimality_gap(PGD(), Linf(0.3), gap=0.01),
    "a step downhill in l2": lambda: check_optimality_gap(PGD(), L2(0.3), gap=0.01),
    "an attack that never moves": lambda: check_better_than_random(PGD(), L2(0.6)),
    "queries that are not counted": lambda: check_queries_counted(PGD(), Linf(0.1)),
    "gradients left on the weights": lambda: check_untouched(PGD(steps=2), Linf(0.1), fail_at=None),
    "a tensor on the CPU": lambda: check_attack_device(PGD(steps=2), Linf(0.1)),
    "the worst point is kept": attacked(PGD(), Linf(0.01), check_never_worse),
    "random numbers by place in the batch": lambda: split(PGD(steps=3)),
}


@pytest.mark.parametrize("name", CHECKS)
def test_a_planted_bug_is_named_by_its_law(name: str) -> None:
    alarms(CHECKS[name], {**THREAT_BUGS, **ATTACK_BUGS}[name])


def test_every_planted_bug_is_seen() -> None:
    assert {*THREAT_BUGS, *ATTACK_BUGS} - {*CHECKS} == {
        "success outside the ball",
        "success that is believed",
    }


@pytest.mark.parametrize(
    ("name", "ball"), [("linf without projection", Linf(8 / 255)), ("l2 without projection", L2(0.5))]
)
def test_all_laws_of_a_threat_name_what_it_breaks(name: str, ball: Threat) -> None:
    with (
        THREAT_BUGS[name].planted(),
        pytest.raises(AssertionError, match=r"- projection is inside: expected projected points"),
    ):
        check_threat(ball)


def split(attack: PGD) -> None:
    x = random_inputs(10, 6, seed=8)
    model = batch_invariant_net(6, 3, seed=4)
    check_split_of(partial(attack, model, threat=Linf(0.05), seed=4), x, model(x).argmax(1), SPLITS["uneven"])


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
    alarms(check, ATTACK_BUGS["success outside the ball"])


def test_a_verdict_that_believes_everything_is_seen() -> None:
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

    alarms(check, ATTACK_BUGS["success that is believed"])
