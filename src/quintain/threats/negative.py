"""The threat of showing an image as its negative."""

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.threats import spec_format
from quintain.threats.parametric import ParametricBase
from quintain.threats.rng import ExampleRNG
from quintain.threats.rounding import representable_box
from quintain.threats.threat import ProjectionCache


@dataclass(frozen=True, slots=True)
class Negative(ParametricBase):
    r"""The image, or its negative; there is nothing between.

    .. math:: x' = low + high - x

    Args:
        low, high: The data box.

    The only parameter, P = 1, is 1 for the negative and 0 for the image.

    Source: Hosseini et al., 2017, arXiv:1703.06857.
    """

    name: ClassVar[str] = "negative"
    summary: ClassVar[str] = "the image, or its negative (negative)"
    example: ClassVar[str] = "negative"
    specs: ClassVar[tuple[str, ...]] = ("negative",)
    allows: ClassVar[str] = "the image or its negative"
    has_size: ClassVar[bool] = False

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = spec_format.check_box(self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the negative; ``text`` is empty, or the box."""
        _, low, high = spec_format.read_options(cls.name, text, ())
        return cls(low, high)

    @property
    def spec(self) -> str:
        """The exact text: ``negative``."""
        return spec_format.write_options(self.name, {}, self.low, self.high)

    def num_params(self, x: Tensor) -> int:
        """Return the number of parameters, 1."""
        self.check_images(x)
        return 1

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        """Return the image or its negative, whichever is nearer."""
        return torch.where(z.isnan(), z, (z > 0.5).to(z.dtype))

    def sample(
        self,
        x: Tensor,
        rng: ExampleRNG,  # noqa: ARG002
        cache: ProjectionCache | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Return the negative: the only change there is."""
        return torch.ones_like(self.identity(x))

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the negative where the parameter (B, 1) is 1, and the image where it is 0.

        A parameter between 0 and 1 gives a blend of the two, so that there is a gradient to follow.
        """
        self.check_params(params, x)
        blend_weight = params[:, :, None, None]
        blend = blend_weight * (self.low + self.high - x) + (1 - blend_weight) * x
        return blend.clamp(*representable_box(self.low, self.high, x.dtype))
