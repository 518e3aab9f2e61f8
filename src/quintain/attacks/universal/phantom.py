"""A phantom: a light that a projector throws onto a sign, and that makes it another."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.attacks.outcome import Model
from quintain.attacks.perturbation import content_hashes
from quintain.attacks.universal.base import UniversalAttack
from quintain.attacks.universal.fitted_patch import cut_alpha, pad_to_center
from quintain.attacks.universal.fitting import FitSettings, fit_pattern, image_shape
from quintain.attacks.universal.view import View
from quintain.core.errors import DataError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Examples, to_dataset
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints
from quintain.threats.light import ProjectedLight
from quintain.threats.rng import ExampleRNG, example_rng
from quintain.threats.warp import composite


def from_a_projector() -> View:
    """Return a beam that is aimed at the sign's middle and misses it a little.

    Its light is set by the day, not by the view.
    """
    return View(
        position=(0.5, 0.5),
        shift=0.04,
        rotation=5.0,
        magnification=(0.92, 1.0),
        perspective=0.08,
        brightness=0.0,
        contrast=0.0,
    )


@dataclass(frozen=True, slots=True, eq=False)
class FittedLight:
    r"""A pattern of light, the same on all images, each in an aim and at a strength of its own.

    .. math::
        x' = \min\big(x + g\, u\, T s,\; high\big) \text{ or, by albedo, }
        \min\big(x + (x - low)\, g\, u\, T s,\; high\big), \quad u \in [dimmest, 1]

    No pixel gets darker, and none outside the beam changes.

    Args:
        pattern: The light (C, h, w), as fractions of the strongest.
        beam: Where light may be at all (1, h, w), 0 to 1.
        projection: Its strength and form.
        view: How it is aimed.
        min_strength: The least that daylight leaves of the light, as a fraction of its strength.
        fitted_on: What it was fitted on, so that it is scored on other images.

    Raises:
        DataError: If pattern and beam do not fit, or leave [0, 1].
    """

    pattern: Tensor
    beam: Tensor
    projection: ProjectedLight
    view: View
    min_strength: float
    fitted_on: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.pattern.dim() != 3 or self.beam.shape != (1, *self.pattern.shape[1:]):
            raise DataError(
                f"a pattern {tuple(self.pattern.shape)} in a beam {tuple(self.beam.shape)}; expected (C, h, "
                "w) and (1, h, w)"
            )
        for name, values in (("pattern", self.pattern), ("beam", self.beam)):
            if not ((values >= 0) & (values <= 1)).all():
                raise DataError(
                    f"the {name} has values outside [0, 1]; expected fractions of the strongest light"
                )

    def apply(self, x: Tensor, ids: Tensor | None = None, *, seed: int = 0) -> Tensor:
        """Return images (B, C, H, W) in that light, with the aim and strength of each id and the seed.

        The light was fitted on none of these aims and strengths.
        """
        return self.apply_pattern(self.pattern, x, example_rng(x, seed, ids).fold_in("light", "held out"))

    def apply_pattern(self, pattern: Tensor, x: Tensor, rng: ExampleRNG) -> Tensor:
        """Return images in another pattern of light; differentiable in it.

        Raises:
            DataError: If the images have other channels.
        """
        if x.dim() != 4 or x.shape[1] != pattern.shape[0]:
            raise DataError(
                f"images of shape {tuple(x.shape)} for a light {tuple(pattern.shape)}; expected (B, "
                f"{pattern.shape[0]}, H, W)"
            )
        light = pattern.to(x).expand(len(x), *pattern.shape)
        sides = (pattern.shape[1], pattern.shape[2])
        matrices = self.view.matrices(x, sides, x.shape[2] / sides[0], rng)
        thrown = composite(
            torch.zeros_like(x), light, self.beam.to(x).expand(len(x), -1, -1, -1), matrices, supersample=1
        )
        strength = self.min_strength + (1 - self.min_strength) * rng.fold_in("strength").uniform(
            x.new_empty(len(x), 1)
        )
        return self.projection.render(x, (thrown.flatten(1) * strength).clamp(0, 1))

    def with_pattern(self, pattern: Tensor) -> Self:
        """Return the same beam with another pattern (C, h, w)."""
        return replace(self, pattern=pattern)

    def random_control(self, seed: int = 0) -> Self:
        """Return the control of the same area and energy: random colors at each pixel.

        The colors are scaled to the same sum where that is possible.
        """
        generator = torch.Generator().manual_seed(seed % 2**63)
        noise = torch.rand(self.pattern.shape, generator=generator).to(self.pattern)
        return self.with_pattern(match_energy(noise, self.energy, self.beam))

    def gray_control(self) -> Self:
        """Return the control of the same area and energy: white light."""
        return self.with_pattern(match_energy(torch.ones_like(self.pattern), self.energy, self.beam))

    @property
    def energy(self) -> float:
        """The sum of the light in the beam."""
        return float((self.pattern * self.beam).sum())


def match_energy(pattern: Tensor, energy: float, beam: Tensor) -> Tensor:
    """Return a pattern as bright as another in all.

    It is multiplied and clamped to 1, repeatedly, until nothing more is lost.
    """
    # scaling and clamping alternate: clamping loses energy, 20 rounds recover it
    for _ in range(20):
        pattern = (pattern * (energy / max(float((pattern * beam).sum()), 1e-12))).clamp(0, 1)
    return pattern


@dataclass(frozen=True, slots=True)
class Phantom(UniversalAttack):
    r"""A light for all photos of a sign; it can only add.

    .. math::
        \max_{s \in [0, 1]^n} \; E_{x, T, u}\, \log p_t\big(f(\min(x + g\, u\, T s, high))\big)
        - \lambda\, \bar s

    Args:
        target: The class to be answered; any wrong one if not given.
        projection: Strength :math:`g` and form, additive or by albedo.
        beam_diameter: The beam's diameter as a fraction of the image's shorter side.
        view: How it may be aimed.
        min_strength: The least that daylight leaves of the light, as a fraction of its strength.
        energy_weight: :math:`\lambda`, the price of light.
        steps, batch_size, learning_rate: As in ``Sticker``.

    Raises:
        SettingError: If a number is out of its range.

    The claim is about images: a camera's exposure and a road are not in it.

    Source: Lovisotto et al., 2021, arXiv:2007.04137; Nassi et al., 2020, Phantom of the ADAS (CCS).
    """

    name: ClassVar[str] = "phantom"
    summary: ClassVar[str] = "light on a scene that only adds"
    cost: ClassVar[str] = "{steps} gradients of batches of {batch_size} images"
    test_settings: ClassVar = {"steps": 3, "batch_size": 4}

    target: int | None = None
    projection: ProjectedLight = field(default_factory=lambda: ProjectedLight(0.5))
    beam_diameter: float = 0.8
    view: View = field(default_factory=from_a_projector)
    min_strength: float = 0.7
    energy_weight: float = 0.0
    steps: int = 300
    batch_size: int = 32
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        FitSettings(self.steps, self.batch_size, self.learning_rate).check()
        if not 0 < self.beam_diameter <= 1 or not 0 <= self.min_strength <= 1:
            raise SettingError(
                f"beam_diameter = {self.beam_diameter}, min_strength = {self.min_strength}; expected "
                "fractions from 0 to 1, reach above 0"
            )
        if not (math.isfinite(self.energy_weight) and self.energy_weight >= 0):
            raise SettingError(f"energy_weight = {self.energy_weight}; expected a weight of at least 0")

    def fit(
        self,
        model: Model,
        data: Examples,
        *,
        seed: int = 0,
        progress: Progress = no_progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> FittedLight:
        """Return the light for some photos, to be scored on others.

        Args:
            model: Gives logits (B, K), with gradients.
            data: Photos (C, H, W), the sign in their middle, or a pair of arrays (images, labels); those of
                the target class are left out.
            seed: Of the photos' order, the aims and the strengths.
            checkpoints: Keeps the state on the way, so that a fit that was cut off resumes.

        Raises:
            ModelError: If the model gives no finite gradients.
            DataError: If the data are no images, or all are of the target class.
        """
        data = to_dataset(data)
        channels, height, width = image_shape(data)
        beam = pad_to_center(
            cut_alpha("disc", max(1, round(self.beam_diameter * min(height, width)))), height, width
        )
        dark = FittedLight(
            torch.full((channels, height, width), 0.1), beam, self.projection, self.view, self.min_strength
        )
        pattern = fit_pattern(
            model,
            data,
            dark.pattern,
            dark.apply_pattern,
            name="phantom",
            target=self.target,
            settings=FitSettings(self.steps, self.batch_size, self.learning_rate),
            seed=seed,
            progress=progress,
            checkpoints=checkpoints,
            penalty=(lambda pattern: self.energy_weight * (pattern * beam).mean())
            if self.energy_weight
            else None,
        )
        return replace(dark, pattern=pattern * (beam > 0), fitted_on=content_hashes(data))
