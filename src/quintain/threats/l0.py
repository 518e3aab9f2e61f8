"""The ball of the number of changed pixels."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats import settings
from quintain.threats.ball import Room, contains
from quintain.threats.draw import Draw
from quintain.threats.rounding import box_inside


@dataclass(frozen=True, slots=True)
class L0:
    r"""At most ``eps`` pixels may change, each to anything inside the data box.

    .. math:: \{z : \#\{p : z_p \ne x_p\} \le \varepsilon,\; low \le z \le high\}

    A pixel of images (B, C, H, W) is one place with all its channels; of inputs of any other shape, each feature is one.

    Args:
        eps: How many pixels: a whole number.
        low, high: The data box.

    Raises:
        SettingError: If ``eps`` is negative or not whole.
    """

    eps: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = settings.check_box(self.low, self.high)
        eps = settings.check_eps(self.eps)
        if not eps.is_integer():
            raise SettingError(f"eps = {eps:g}; expected a whole number of pixels for L0, such as {round(eps) or 1}")
        for name, value in (("eps", eps), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_token(cls, size: str) -> Self:
        """The ball that ``l0:`` and ``size`` stand for, such as ``5``."""
        return cls(*settings.read(size))

    @property
    def token(self) -> str:
        """The exact text of this ball, such as ``l0:5``."""
        return settings.write("l0", int(self.eps), self.low, self.high)

    def room(self, x: Tensor) -> Room:  # noqa: ARG002
        """Nothing: the projection depends on the point."""
        return ()

    def project(self, z: Tensor, x: Tensor, room: Room | None = None) -> Tensor:  # noqa: ARG002
        r"""The allowed point nearest to ``z`` in L2: the pixels that gain most by it are clamped, the others are as in ``x``.

        .. math:: gain_p = |z_p - x_p|^2 - |z_p - clip(z_p)|^2

        Of equal gains the first pixels count. A coordinate that is not a number stays as in ``x``.
        """
        outside = ~contains(self, z, x)
        if not outside.any():
            return z
        z = torch.where(z.isnan(), x, z)
        near = z.clamp(*box_inside(self.low, self.high, z.dtype))
        exact, origin, target = (part if part.dtype == torch.float64 else part.float() for part in (near, x, z))
        gain = (exact - origin) * ((target - origin) + (target - exact))
        kept = _first(_pixels(torch.where(exact == origin, 0.0, gain)).sum(1), int(self.eps))
        settled = torch.where(_features(kept, x), near, x)
        return torch.where(outside.view(-1, *[1] * (x.dim() - 1)), settled, z)

    def ascend(self, gradient: Tensor, step: float) -> Tensor:
        """A step of ``max(1, int(step))`` pixels, those of the largest summed ``|gradient|``, each across the whole box along its sign.

        What bounds such a change is the box, not a norm: wherever the point is, the projection takes the pixels to the wall.
        """
        moved = _first(_pixels(gradient.abs()).sum(1), max(1, int(step)))
        return torch.where(_features(moved, gradient), (self.high - self.low) * gradient.sign(), 0.0)

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """How many pixels changed, per example (B,), in float64."""
        return _pixels(z != x).any(1).sum(1).double()

    def sample(self, x: Tensor, draw: Draw, room: Room | None = None) -> Tensor:  # noqa: ARG002
        """``eps`` pixels drawn without replacement, each of a uniform colour of the box; one point per example."""
        order = draw.at("place").uniform(_pixels(x)[:, 0].double())
        colour = self.low + (self.high - self.low) * draw.at("colour").uniform(x)
        return torch.where(_features(_first(order, int(self.eps)), x), colour.clamp_(*box_inside(self.low, self.high, x.dtype)), x)


def _pixels(values: Tensor) -> Tensor:
    """Values of coordinates (B, *S) by channel and pixel (B, C, P)."""
    return values.flatten(2) if values.dim() == 4 else values.flatten(1)[:, None]


def _features(pixels: Tensor, like: Tensor) -> Tensor:
    """One value per pixel (B, P), shaped to broadcast over (B, *S)."""
    return pixels.view(len(like), 1, *like.shape[2:]) if like.dim() == 4 else pixels.view_as(like)


def _first(values: Tensor, count: int) -> Tensor:
    """Where the ``count`` largest values of each row (B, P) are, the first of equals: a mask."""
    if count <= 0 or not values.numel():
        return torch.zeros_like(values, dtype=torch.bool)
    if count >= values.shape[1]:
        return torch.ones_like(values, dtype=torch.bool)
    least = values.topk(count, dim=1).values[:, -1:]
    above, equal = values > least, values == least
    return above | (equal & (equal.cumsum(1) <= count - above.sum(1, keepdim=True)))
