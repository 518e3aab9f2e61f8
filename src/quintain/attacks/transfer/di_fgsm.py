"""Gradients through random resizing, so that the change does not fit one model alone."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.ascent_loop import gradient_ascent
from quintain.attacks.base import Attack
from quintain.attacks.gradient.iterative_fgsm import check_images, check_iterative_fgsm, update_velocity
from quintain.attacks.search import Evaluation, Search
from quintain.attacks.step_sizes import ascent_step
from quintain.core.errors import SettingError
from quintain.threats.broadcast import where_rows
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache
from quintain.threats.warp import resample


class DiverseState(NamedTuple):
    """Next points ``z`` and the direction so far (n, C, H, W).

    ``uniforms`` has four random numbers for each step (n, steps, 4).
    """

    z: Tensor
    velocity: Tensor
    uniforms: Tensor


@dataclass(frozen=True, slots=True)
class DIFGSM(Attack):
    r"""``MIFGSM`` with gradients through an image that was shrunk and laid on black at random.

    .. math:: g_t = \nabla_z \ell\big(f(T(z_t; \omega_t)), y\big)

    Each step draws, for each example on its own, whether to change its image, to what size and where to put
    it. What was answered to a changed image is counted but not judged: only answers to the candidate itself
    can break, and the last query is one of those.

    Args:
        steps: Gradients per example; an example stops at its first success.
        rel_step_size: Length of a step, as a fraction of ``eps``.
        decay: The fraction of the direction so far that is kept.
        diversity_prob: How often an image is changed.
        resize_rate: The smallest side, as a fraction of the image's; the published 299 of 330 pixels is about
            0.9.

    Raises:
        SettingError: If a setting is out of range.
        DataError: If the inputs are not images (B, C, H, W).

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.

    Source: Xie et al., 2019, arXiv:1803.06978.
    """

    name: ClassVar[str] = "di-fgsm"
    summary: ClassVar[str] = "momentum on gradients through random resizing"
    use_for: ClassVar[str] = "gradients through random resizing"
    cost: ClassVar[str] = "{steps} gradients"
    supports: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")
    optimality_gap: ClassVar = {"any": 0.2, "l2": 0.4}

    steps: int = 10
    rel_step_size: float = 0.1
    decay: float = 1.0
    diversity_prob: float = 0.5
    resize_rate: float = 0.9

    def __post_init__(self) -> None:
        check_iterative_fgsm(self.steps, self.rel_step_size, self.decay)
        for name, value in (("diversity_prob", self.diversity_prob), ("resize_rate", self.resize_rate)):
            if not 0 < value <= 1:
                raise SettingError(f"{name} = {value}; expected a fraction above 0, at most 1")

    def run(self, search: Search) -> None:
        """Run the steps."""
        threat = search.threat
        check_images(self.name, search.x)

        def init(clean: Tensor, rng: ExampleRNG, cache: ProjectionCache) -> DiverseState:  # noqa: ARG001
            return DiverseState(
                clean, torch.zeros_like(clean), rng.uniform(clean.new_empty(len(clean), self.steps, 4))
            )

        def input_transform(step: int, state: DiverseState, image: Tensor) -> Tensor:
            uniforms = state.uniforms[:, step]
            return where_rows(
                uniforms[:, 0] < self.diversity_prob,
                resize_and_pad(image, uniforms[:, 1:], self.resize_rate, threat.low),
                image,
            )

        def update(
            step: int,  # noqa: ARG001
            state: DiverseState,
            out: Evaluation,
            clean: Tensor,
            cache: ProjectionCache,
        ) -> DiverseState:
            velocity = update_velocity(state.velocity, out.gradient, self.decay)
            return DiverseState(
                ascent_step(threat, self.rel_step_size * threat.eps, state.z, velocity, clean, cache),
                velocity,
                state.uniforms,
            )

        loss = search.goal.log_odds
        gradient_ascent(
            search,
            rng=search.rng,
            init=init,
            update=update,
            steps=self.steps,
            loss=loss,
            input_transform=input_transform,
        )


def resize_and_pad(image: Tensor, uniforms: Tensor, resize_rate: float, fill: float) -> Tensor:
    """Return images (n, C, H, W) shrunk by bilinear interpolation and laid on a plain ground.

    Each image has a position of its own.

    Args:
        image: The images.
        uniforms: Three uniform numbers an image (n, 3): for its size, its row and its column.
        resize_rate: The smallest side, as a fraction; sides are whole pixels.
        fill: The ground's value.
    """
    coordinates = []
    for side, column in zip(image.shape[2:], (1, 2), strict=True):
        shortest = -(-side * resize_rate // 1)
        # new side uniform in [ceil(resize_rate * side), side], offset uniform in what is left
        new_side = shortest + (uniforms[:, 0] * (side - shortest + 1)).floor().clamp(max=side - shortest)
        first = (uniforms[:, column] * (side - new_side + 1)).floor().minimum(side - new_side)
        pixel = torch.arange(side, dtype=image.dtype, device=image.device) - first[:, None]
        # source coordinate of every output pixel under that resize; what falls outside is filled with the low
        # value
        coordinates.append((pixel + 0.5) * (side / new_side)[:, None] - 0.5)
    rows, columns = coordinates
    count, height, width = len(image), *image.shape[2:]
    return resample(
        image,
        rows[:, :, None].expand(count, height, width),
        columns[:, None].expand(count, height, width),
        fill,
    )
