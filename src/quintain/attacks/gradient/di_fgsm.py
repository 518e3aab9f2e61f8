"""Gradients through random resizing, so that the change does not fit one model alone."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from quintain.attacks.gradient.march import carried, require_march, require_pictures
from quintain.attacks.gradient.points import chosen
from quintain.attacks.loop import climb
from quintain.attacks.method import Method
from quintain.attacks.search import Answer, Search
from quintain.attacks.step import advance
from quintain.core.errors import SettingError
from quintain.threats.ball import Room
from quintain.threats.draw import Draw
from quintain.threats.warp import resample


class Diverse(NamedTuple):
    """Next points ``z`` and the direction so far (n, C, H, W); four random numbers for each step (n, steps, 4)."""

    z: Tensor
    velocity: Tensor
    chance: Tensor


@dataclass(frozen=True, slots=True)
class DIFGSM(Method):
    r"""``MIFGSM`` whose gradients are taken through a picture that was made smaller and laid on black at a random place.

    .. math:: g_t = \nabla_z \ell\big(f(T(z_t; \omega_t)), y\big)

    Each step draws, for each example on its own, whether to change its picture, to what size and where to put it. What was answered to a
    changed picture is counted but not judged: only answers to the candidate itself can break, and the last question is one of those.

    Args:
        steps: Gradients per example; a broken example stops paying.
        rate: Length of a step, as a share of ``eps``.
        decay: The share of the direction so far that is kept.
        chance: How often a picture is changed.
        least: The smallest side, as a share of the picture's; the published 299 of 330 pixels is about 0.9.

    Raises:
        SettingError: If a setting is out of range.
        DataError: If the inputs are not pictures (B, C, H, W).

    Guarantee:
        What it calls broken is inside the threat and was answered wrongly twice; what it does not break may still be breakable.

    Source: Xie et al., 2019, arXiv:1803.06978.
    """

    name: ClassVar[str] = "di-fgsm"
    serves: ClassVar[tuple[str, ...]] = ("linf", "l2", "mask")

    steps: int = 10
    rate: float = 0.1
    decay: float = 1.0
    chance: float = 0.5
    least: float = 0.9

    def __post_init__(self) -> None:
        require_march(self.steps, self.rate, self.decay)
        for name, value in (("chance", self.chance), ("least", self.least)):
            if not 0 < value <= 1:
                raise SettingError(f"{name} = {value}; expected a share above 0, at most 1")

    def pursue(self, search: Search) -> None:
        """Walk."""
        threat = search.threat
        require_pictures(self.name, search.x)

        def start(clean: Tensor, draw: Draw, room: Room) -> Diverse:  # noqa: ARG001
            return Diverse(clean, torch.zeros_like(clean), draw.uniform(clean.new_empty(len(clean), self.steps, 4)))

        def through(step: int, state: Diverse, image: Tensor) -> Tensor:
            numbers = state.chance[:, step]
            return chosen(numbers[:, 0] < self.chance, resized(image, numbers[:, 1:], self.least, threat.low), image)

        def rule(step: int, state: Diverse, answer: Answer, clean: Tensor, room: Room) -> Diverse:  # noqa: ARG001
            velocity = carried(state.velocity, answer.gradient, self.decay)
            return Diverse(advance(threat, self.rate * threat.eps, state.z, velocity, clean, room), velocity, state.chance)

        loss = search.goal.log_odds
        climb(search, draw=search.draw, start=start, rule=rule, steps=self.steps, loss=loss, through=through)


def resized(image: Tensor, chance: Tensor, least: float, fill: float) -> Tensor:
    """Each picture (n, C, H, W) made smaller by bilinear interpolation, and laid at a place of its own on a ground of one value.

    Args:
        image: The pictures.
        chance: Three uniform numbers a picture (n, 3): for its size, its row and its column.
        least: The smallest side, as a share; sides are whole pixels.
        fill: The ground's value.
    """
    looks = []
    for side, place in zip(image.shape[2:], (1, 2), strict=True):
        fewest = -(-side * least // 1)
        length = fewest + (chance[:, 0] * (side - fewest + 1)).floor().clamp(max=side - fewest)
        first = (chance[:, place] * (side - length + 1)).floor().minimum(side - length)
        pixel = torch.arange(side, dtype=image.dtype, device=image.device) - first[:, None]
        looks.append((pixel + 0.5) * (side / length)[:, None] - 0.5)
    rows, columns = looks
    count, height, width = len(image), *image.shape[2:]
    return resample(image, rows[:, :, None].expand(count, height, width), columns[:, None].expand(count, height, width), fill)
