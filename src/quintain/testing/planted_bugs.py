"""Planted bugs: defects in the place of shipped code, each with the alarm that it sets off.

Whoever writes a law, a test of mechanisms or an auditor sees with them that it fires. They change shipped
code while they are planted, in this process alone, and nothing else of Quintain uses them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.counted_model import CountedModel
from quintain.attacks.goal import Goal
from quintain.certify.interval.domain import Interval, input_interval
from quintain.certify.linear.minimum import linear_minimum
from quintain.certify.smoothing_evidence import Counts, Floats, radius_at
from quintain.certify.smoothing_noise import fill_normal
from quintain.core.statistics import binomial_lower
from quintain.threats import L2, ExampleRNG, Linf, Threat


@dataclass(frozen=True, slots=True)
class PlantedBug:
    """A defect in the place of a function or method.

    Args:
        target: What it replaces, by its import path: ``package.module.Class.method``.
        replacement: What is run instead; of a method, with the instance first, or a property in its place.
        alarm: A pattern of the message by which a law or a test names it.
    """

    target: str
    replacement: Callable[..., Any] | property
    alarm: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Plant the bug for the length of a ``with`` block."""

        replacement = self.replacement

        def replaced(*arguments: Any, **named: Any) -> Any:
            assert not isinstance(replacement, property)
            return replacement(*arguments, **named)

        with patch(self.target, replacement if isinstance(replacement, property) else replaced):
            yield


def unprojected(threat: Threat, z: Tensor, x: Tensor, cache: object = None) -> Tensor:  # noqa: ARG001
    """Leave points where they are in place of a projection."""
    return z


def _scaled_then_clamped(ball: L2, z: Tensor, x: Tensor, cache: object = None) -> Tensor:  # noqa: ARG001
    change = z - x
    norm = torch.linalg.vector_norm(change.flatten(1), dim=1).clamp(min=1e-12)
    scale = (ball.eps / norm).clamp(max=1) * (1 - 1e-6)
    return (x + change * scale[:, None]).clamp(ball.low, ball.high)


def _shrinking(ball: L2, z: Tensor, x: Tensor, cache: object = None) -> Tensor:
    return x + (_scaled_then_clamped(ball, z, x, cache) - x) * 0.999


def _rounded_to_nearest(ball: Linf, x: Tensor) -> tuple[Tensor, Tensor]:
    return (x - ball.eps).clamp(min=ball.low), (x + ball.eps).clamp(max=ball.high)


def _wide_sample(ball: Linf, x: Tensor, rng: ExampleRNG, cache: object = None) -> Tensor:  # noqa: ARG001
    return (x + (2 * rng.uniform(x) - 1) * 2 * ball.eps).clamp(0, 1)


THREAT_BUGS: Mapping[str, PlantedBug] = {
    "linf without projection": PlantedBug(
        "quintain.threats.linf.Linf.project", unprojected, "projected points within linf"
    ),
    "l2 without projection": PlantedBug(
        "quintain.threats.l2.L2.project", unprojected, "projected points within l2"
    ),
    "bounds rounded to nearest": PlantedBug(
        "quintain.threats.linf.Linf.bounds", _rounded_to_nearest, "projected points within linf"
    ),
    "scaled and then clamped": PlantedBug(
        "quintain.threats.l2.L2.project",
        _scaled_then_clamped,
        "the projection to be the nearest allowed point",
    ),
    "a projection that always moves": PlantedBug(
        "quintain.threats.l2.L2.project", _shrinking, "a projected point to stay, bit for bit"
    ),
    "samples of twice the size": PlantedBug(
        "quintain.threats.linf.Linf.sample", _wide_sample, "sampled points within linf"
    ),
}
"""Bugs of balls, for ``check_threat`` and its laws on ``Linf(8 / 255)`` and ``L2(0.5)``."""

_MARGIN = Goal.margin
_LINF_STEP, _L2_STEP = Linf.steepest_step, L2.steepest_step


def _spilling_gradients(
    counted: CountedModel, z: Tensor, rows: Tensor, loss: Callable[[Tensor, Tensor], Tensor], image: object
) -> tuple[Tensor, Tensor, Tensor | None]:
    del image
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        logits = counted.wrapped(z)
        values = loss(logits, rows)
        values.sum().backward()
    return logits.detach(), values.detach(), z.grad


ATTACK_BUGS: Mapping[str, PlantedBug] = {
    "success outside the ball": PlantedBug(
        "quintain.attacks.search.is_valid_success", lambda reached, *_: reached, "every success within"
    ),
    "success that is believed": PlantedBug(
        "quintain.attacks.search.is_valid_success",
        lambda reached, *_: torch.ones_like(reached),
        "every success to be misclassified again",
    ),
    "the worst point is kept": PlantedBug(
        "quintain.attacks.goal.Goal.margin",
        lambda goal, logits, rows: -_MARGIN(goal, logits, rows),
        "a margin at least that of the clean input",
    ),
    "random numbers by place in the batch": PlantedBug(
        "quintain.attacks.base.example_rng",
        lambda x, seed, _ids=None: ExampleRNG(seed, torch.arange(len(x))),
        "the same adversarial in parts of",
    ),
    "steps that do not fall": PlantedBug(
        "quintain.attacks.gradient.pgd.cosine_step_sizes",
        lambda eps, steps, _rel_step_size: (eps / 40,) * steps,
        "of the best gain",
    ),
    "a step downhill in linf": PlantedBug(
        "quintain.threats.linf.Linf.steepest_step",
        lambda ball, gradient, size: -_LINF_STEP(ball, gradient, size),
        "of the best gain",
    ),
    "a step downhill in l2": PlantedBug(
        "quintain.threats.l2.L2.steepest_step",
        lambda ball, gradient, size: -_L2_STEP(ball, gradient, size),
        "of the best gain",
    ),
    "an attack that never moves": PlantedBug(
        "quintain.threats.l2.L2.steepest_step",
        lambda _ball, gradient, _size: torch.zeros_like(gradient),
        "a mean margin above .* random points",
    ),
    "queries that are not counted": PlantedBug(
        "quintain.attacks.counted_model.CountedModel.logits",
        lambda counted, z, _rows: counted.wrapped(z),
        "queries, which the model saw",
    ),
    "gradients left on the weights": PlantedBug(
        "quintain.attacks.counted_model.CountedModel.value_and_grad", _spilling_gradients, "the same gradient"
    ),
    "a tensor on the CPU": PlantedBug(
        "quintain.threats.linf.Linf.steepest_step",
        lambda ball, gradient, size: _LINF_STEP(ball, gradient, size) + torch.zeros(gradient.shape[1:]),
        "tensors of one device",
    ),
}
"""Bugs of what all attacks share, for ``check_attack`` and its laws on ``PGD``."""

_INPUT_INTERVAL = input_interval


def _interval_short(x: Tensor, threat: Threat, eps: Tensor | None = None) -> Interval:
    return _INPUT_INTERVAL(x, threat, (threat.eps if eps is None else eps) / 1.02)


def _interval_of_wrong_norm(x: Tensor, threat: Threat, eps: Tensor | None = None) -> Interval:
    box = _INPUT_INTERVAL(x, threat, eps)
    if box.ellipsoid is None:
        return box
    axes = box.ellipsoid.semi_axes / x[0].numel() ** 0.5
    return replace(box, ellipsoid=replace(box.ellipsoid, semi_axes=axes))


def _fixed_at_every_look(hits: Counts, misses: Counts, tail: Floats) -> Floats:
    """Return the negative log of the p-value of so many samples, as if their number had been fixed before."""
    from scipy.special import betaincc

    p_value = np.where(hits > 0, betaincc(misses + 1, np.maximum(hits, 1), tail), 1.0)
    return np.asarray(-np.log(np.maximum(p_value, 1e-300)))


CERTIFIER_BUGS: Mapping[str, PlantedBug] = {
    "interval bounds that reach 2 percent too far": PlantedBug(
        "quintain.certify.interval.certifier.input_interval", _interval_short, "above the exact distance"
    ),
    "an l2 bound by the wrong norm": PlantedBug(
        "quintain.certify.interval.certifier.input_interval",
        _interval_of_wrong_norm,
        "above the exact distance",
    ),
    "linear bounds that reach 2 percent too far": PlantedBug(
        "quintain.certify.crown.linear_minimum",
        lambda rows, x, threat, eps, columns=None: linear_minimum(rows, x, threat, eps / 1.02, columns),
        "above the exact distance",
    ),
    "a smoothed radius that is 2 percent too large": PlantedBug(
        "quintain.certify.smoothing_evidence.radius_at",
        lambda probability, sigma, noise: 1.02 * radius_at(probability, sigma, noise),
        "above the exact distance",
    ),
    "a limit at twice alpha": PlantedBug(
        "quintain.certify.smoothing_evidence.binomial_lower",
        lambda hits, trials, confidence: binomial_lower(hits, trials, 1 - 2 * (1 - confidence)),
        "above the exact distance",
    ),
    "votes without a limit": PlantedBug(
        "quintain.certify.smoothing_evidence.binomial_lower",
        lambda hits, trials, _confidence: hits / trials,
        "above the exact distance",
    ),
    "a fixed limit at every look": PlantedBug(
        "quintain.certify.smoothing_evidence.log_evidence", _fixed_at_every_look, "above the exact distance"
    ),
    "noise of half of sigma": PlantedBug(
        "quintain.certify.smoothing_noise.fill_normal",
        lambda block, generator: fill_normal(block, generator).mul_(0.5),
        "above the exact distance",
    ),
}
"""Bugs of certifiers, for ``check_certifier`` and its laws."""
