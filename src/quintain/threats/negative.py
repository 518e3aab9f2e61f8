"""The negative of a picture."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from quintain.threats import options, settings
from quintain.threats.ball import Room
from quintain.threats.draw import Draw
from quintain.threats.family import Change
from quintain.threats.rounding import box_inside


@dataclass(frozen=True, slots=True)
class Negative(Change):
    r"""The picture, or its negative; there is nothing between.

    .. math:: x' = low + high - x

    Args:
        low, high: The data box.

    The only parameter, P = 1, is 1 for the negative and 0 for the picture.

    Source: Hosseini et al., 2017, arXiv:1703.06857.
    """

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = settings.check_box(self.low, self.high)
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @classmethod
    def from_token(cls, size: str) -> Self:
        """The negative; ``size`` is empty, or the box."""
        _, low, high = options.read("negative", size, ())
        return cls(low, high)

    @property
    def token(self) -> str:
        """The exact text: ``negative``."""
        return options.write("negative", {}, self.low, self.high)

    def count(self, x: Tensor) -> int:
        """One."""
        self.require_pictures(x)
        return 1

    def project(self, z: Tensor, x: Tensor, room: Room | None = None) -> Tensor:  # noqa: ARG002
        """The picture or its negative, whichever is nearer."""
        return torch.where(z.isnan(), z, (z > 0.5).to(z.dtype))

    def sample(self, x: Tensor, draw: Draw, room: Room | None = None) -> Tensor:  # noqa: ARG002
        """The negative: the only change there is."""
        return torch.ones_like(self.identity(x))

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """The negatives where the parameter is 1; between 0 and 1 a blend, so that it has a gradient."""
        self.require_params(params, x)
        share = params[:, :, None, None]
        blend = share * (self.low + self.high - x) + (1 - share) * x
        return blend.clamp(*box_inside(self.low, self.high, x.dtype))
