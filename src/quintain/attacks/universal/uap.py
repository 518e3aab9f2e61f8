"""Universal adversarial perturbations: one perturbation that fools a model on most images."""

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.attacks.base import attacks_supporting, check_access
from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import content_hashes
from quintain.attacks.step_sizes import check_steps, cosine_step_sizes
from quintain.attacks.universal.base import UniversalAttack
from quintain.attacks.universal.fitting import ApplyPattern, pattern_gradient, rows_to_fit, shuffled_batches
from quintain.core.errors import DataError, SettingError
from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Examples, to_dataset
from quintain.models.devices import device_of, search_device
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints
from quintain.threats.arguments import to_threat
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True, eq=False)
class UniversalPerturbation:
    r"""One change for all images: :math:`\Pi_x(x + \delta)`, inside the threat exactly.

    Args:
        perturbation: :math:`\delta` (*S).
        threat: What it keeps to.
        fitted_on: The examples that it was fitted on.
    """

    perturbation: Tensor
    threat: Threat
    fitted_on: frozenset[str] = frozenset()

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0) -> Tensor:  # noqa: ARG002
        """Return the changed images (B, *S); nothing about them is random.

        Raises:
            DataError: If the images are of another shape.
        """
        if x.shape[1:] != self.perturbation.shape:
            raise DataError(
                f"images of shape {tuple(x.shape)} for a change {tuple(self.perturbation.shape)}; expected "
                "those that it was fitted on"
            )
        return self.threat.project(x + self.perturbation.to(x), x)

    def random_control(self, seed: int = 0) -> Self:
        """Return a random change of the same size as a control.

        In Linf each coordinate moves by ``eps`` up or down; in L2 the direction is random.
        """
        noise = ExampleRNG(derive_seed(seed, "random change"), torch.zeros(1, dtype=torch.long)).normal(
            self.perturbation[None]
        )
        return replace(
            self, perturbation=self.threat.steepest_step(noise, self.threat.eps)[0], fitted_on=frozenset()
        )


@dataclass(frozen=True, slots=True)
class UAP(UniversalAttack):
    r"""Ascent on one change over small batches of images.

    .. math:: \max_{\delta \in ball(0)} \; E_{x, y} \log\big(1 - p_y(f(\Pi_x(x + \delta)))\big), \quad
        \text{with a target } E_x \log p_t

    Both objectives saturate on images that are already fooled, so that a few images cannot dominate the mean
    gradient. Each step is the steepest in the ball along a batch's mean gradient, of a length that falls to
    nearly 0.

    Args:
        steps: Batches, all in all.
        batch_size: Images a step.
        rel_step_size: Length of the first step, as a fraction of ``eps``.

    Raises:
        SettingError: If a setting is out of range.

    Guarantee:
        Applied, it is inside the threat. How often it works is an estimate, from the images that it is
        scored on.

    Source: Moosavi-Dezfooli et al., 2017, arXiv:1610.08401, for the aim; Shafahi et al., 2020,
        arXiv:1811.11304, for the ascent.
    """

    name: ClassVar[str] = "uap"
    summary: ClassVar[str] = "one perturbation in a ball, added to every image"
    cost: ClassVar[str] = "{steps} gradients of batches of {batch_size} images"
    test_settings: ClassVar = {"steps": 3, "batch_size": 4}
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")

    steps: int = 200
    batch_size: int = 64
    rel_step_size: float = 0.5

    def __post_init__(self) -> None:
        check_steps(self.steps, self.rel_step_size)
        require_at_least(1, batch_size=self.batch_size)

    @torch.inference_mode(False)
    @torch.no_grad()
    def fit(
        self,
        model: Model,
        data: Examples,
        threat: Threat | str,
        *,
        seed: int = 0,
        target: int | None = None,
        progress: Progress = no_progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> UniversalPerturbation:
        """Return the change for some images, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: The images, or a pair of arrays (images, labels); those of the target class are left out.
            threat: What may be changed, or its text.
            seed: Of the images' order.
            target: The class to be answered; any wrong one if not given.
            progress: Told of each step.
            checkpoints: Keeps the change on the way, so that a fit that was cut off resumes.

        Raises:
            SettingError: If the threat is none that it serves, or the target no class.
            ModelError: If the model gives no finite gradients.
            DataError: If all images are of the target class.
        """
        data, threat = to_dataset(data), to_threat(threat)
        kind = threat_name(threat.spec)
        if kind not in self.supports:
            raise SettingError(
                f"{self.name} does not support the threat {threat.spec}; it supports "
                f"{', '.join(self.supports)}. Attacks on single images that support it: "
                f"{attacks_supporting(kind)}"
            )
        check_access(self.name, "gradients", model)
        order = shuffled_batches(
            rows_to_fit(data, target, self.name), self.batch_size, derive_seed(seed, self.name)
        )
        perturbation, device = torch.zeros(data.shape), search_device(device_of(model))
        kept = checkpoints.loop(self.name)
        perturbation = kept.state.get("perturbation", perturbation)
        with progress.bar(self.name, self.steps) as done:
            done(kept.step)
            sizes = cosine_step_sizes(threat.eps, self.steps, self.rel_step_size)
            for step, step_size in enumerate(sizes):
                rows = next(order)
                if step < kept.step:
                    continue
                x, y = (tensor.to(device) for tensor in data.batch(rows))
                gradient = pattern_gradient(
                    model,
                    x,
                    y,
                    target,
                    perturbation,
                    apply_straight_through(threat),
                    ExampleRNG(seed, torch.zeros_like(y)),
                )
                perturbation = project_perturbation(
                    threat, perturbation + threat.steepest_step(gradient[None], step_size)[0]
                )
                done(1)
                kept.offer(step + 1, self.steps, partial(dict, perturbation=perturbation))
        return UniversalPerturbation(perturbation, threat, content_hashes(data))


def apply_straight_through(threat: Threat) -> ApplyPattern:
    """Return a function that adds the perturbation to images and projects onto the threat.

    Straight-through: the gradient with respect to the perturbation ignores the projection.
    """

    def apply_pattern(perturbation: Tensor, x: Tensor, rng: ExampleRNG) -> Tensor:  # noqa: ARG001
        # straight-through: value of the projected point, gradient of x + delta
        z = x + perturbation.to(x)
        return z + (threat.project(z, x) - z).detach()

    return apply_pattern


def project_perturbation(threat: Threat, perturbation: Tensor) -> Tensor:
    """Project a perturbation (*S) onto the ball around 0, in the box of differences of images."""
    # The box of differences is [-(high - low), high - low]: project delta onto the ball around 0 in that box.
    span = threat.high - threat.low
    wide = replace(threat, low=-span, high=span)  # type: ignore[type-var]
    return wide.project(perturbation[None], torch.zeros_like(perturbation)[None])[0]
