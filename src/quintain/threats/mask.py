"""The ball of a change that lives on a shape: a pair of glasses, a frame, a sticker."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats import spec_format
from quintain.threats.linf import Linf
from quintain.threats.rng import ExampleRNG
from quintain.threats.shapes import check_shape, shape_mask_like
from quintain.threats.threat import ProjectionCache


@dataclass(frozen=True, slots=True)
class Mask:
    r"""Every pixel of a shape may move by at most ``eps``, inside the data box; no other pixel changes.

    .. math::
        \{z : |z_i - x_i| \le \varepsilon \text{ for } i \in shape,\;
        z_i = x_i \text{ elsewhere},\; low \le z \le high\}

    Args:
        shape: ``eyeglasses``, ``border``, ``disc``, or a path to a ``.png`` or ``.npy`` mask of the images'
            size.
        eps: Radius, in the units of the data.
        low, high: The data box.

    Raises:
        UnknownNameError: For a name that no shape has.
        SettingError: If a mask file is not there, or ``eps`` is negative, not finite, or wider than the box.
    """

    name: ClassVar[str] = "mask"
    summary: ClassVar[str] = (
        "only the pixels of a shape move, by at most eps (mask:eyeglasses:0.5, mask:sticker.png:0.3)"
    )
    guarantee: ClassVar[str] = (
        "projection is the nearest allowed point, rounded inwards; sizes are exact in float64, nothing off "
        "the shape moves"
    )
    example: ClassVar[str] = "mask:eyeglasses:0.5"
    specs: ClassVar[tuple[str, ...]] = ("mask:eyeglasses:0.5", "mask:border:0.3", "mask:disc:1.0")
    allows: ClassVar[str] = (
        "only the pixels of a shape move, by at most eps; a `.png` or `.npy` file of the images' size "
        "is a shape, too"
    )
    images_only: ClassVar[bool] = True
    options: ClassVar[Mapping[str, str]] = {"shape": "border|disc|eyeglasses|FILE"}

    shape: str
    eps: float
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_shape(self.shape)
        inside = self._linf_ball
        for name, value in (("eps", inside.eps), ("low", inside.low), ("high", inside.high)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the ball that ``mask:`` and ``text`` stand for, such as ``eyeglasses:0.5``."""
        name, colon, eps = text.strip().rpartition(":")
        if not colon:
            raise SettingError(
                f"the mask {text.strip()!r} needs a shape and a size, such as mask:eyeglasses:0.5"
            )
        return cls(name.strip(), *spec_format.read_ball(eps))

    def __str__(self) -> str:
        return self.spec

    @property
    def spec(self) -> str:
        """The exact text of this ball, such as ``mask:eyeglasses:0.5``."""
        return spec_format.write_ball(f"{self.name}:{self.shape}", self.eps, self.low, self.high)

    @property
    def _linf_ball(self) -> Linf:
        """What may happen on the shape."""
        return Linf(self.eps, self.low, self.high)

    def bounds(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the lowest and highest allowed value of each coordinate of ``x`` (B, *S), rounded inwards.

        Raises:
            DataError: If ``x`` are no images, or not of the size of the mask file.
        """
        inside, (low, high) = shape_mask_like(self.shape, x), self._linf_ball.bounds(x)
        return torch.where(inside, low, x), torch.where(inside, high, x)

    def projection_cache(self, x: Tensor) -> ProjectionCache:
        """Return the bounds of ``x``."""
        return self.bounds(x)

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:
        """Return the allowed point nearest to ``z`` in L2: a clamp, since the set is a box."""
        low, high = cache or self.bounds(x)
        return z.clamp(low, high)

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return the change of size ``size`` that raises a linear function most.

        It is ``size * sign(gradient)`` on the shape, and 0 elsewhere.
        """
        return torch.where(shape_mask_like(self.shape, gradient), size * gradient.sign(), 0.0)

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the size of the change, per example (B,), in float64.

        Infinite where any other pixel changed.
        """
        change = (z.double() - x).abs()
        return (
            torch.where(shape_mask_like(self.shape, x) | (change == 0), change, torch.inf).flatten(1).amax(1)
        )

    def describe_size(self, size: float) -> str:
        """Return the size of a change, for people."""
        return f"{size:.2f}"

    def sample(self, x: Tensor, rng: ExampleRNG, cache: ProjectionCache | None = None) -> Tensor:
        """Return a uniform point of the ball, one per example."""
        low, high = cache or self.bounds(x)
        return torch.lerp(low, high, rng.uniform(x)).clamp(low, high)
