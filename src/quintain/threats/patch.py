"""A sticker: anything may be pasted onto a share of the picture."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats import options, settings, shapes
from quintain.threats.ball import Room
from quintain.threats.draw import Draw
from quintain.threats.family import Change
from quintain.threats.rounding import box_inside


class Sticker(NamedTuple):
    """The parameters of stickers, apart.

    Args:
        pixels: Their colours (B, C, h, w), as shares of the box: 0 is ``low``, 1 is ``high``.
        place: Where they are (B, 2): 0 is the top or left edge, 1 the bottom or right one.
        on: 1 where there is a sticker, 0 where there is none (B, 1).
    """

    pixels: Tensor
    place: Tensor
    on: Tensor


@dataclass(frozen=True, slots=True)
class Patch(Change):
    r"""A sticker with any colours in the data box: a square of ``area``, at a given place or anywhere; or a ``shape`` of its own.

    .. math:: x'_{ij} = s_{i - top,\, j - left} \text{ under the sticker}, \quad x'_{ij} = x_{ij} \text{ elsewhere}

    Args:
        area: Share of the picture, 0 to 1; the side is :math:`\lfloor\sqrt{area \cdot H W}\rfloor`, at most the shorter side of the
            picture, and at least 1 pixel.
        place: ``(down, right)``, 0 to 1, from the top left to the bottom right; anywhere if not given: a sample draws it from the
            example's own stream, and a search may move it.
        shape: Instead of an area, what is stuck on, drawn as large as the picture: ``eyeglasses``, ``border``, ``disc``, or a path to a
            ``.png`` or ``.npy`` mask of the pictures' size.
        low, high: The data box.

    The parameters are the pixels, the place and whether there is a sticker; the change is differentiable in the pixels.

    Raises:
        SettingError: If the area is 0 or above 1, the place is outside the picture, or not exactly one of area and shape is given.
        UnknownName: For a name that no shape has.

    Source: Brown et al., 2017, arXiv:1712.09665.
    """

    area: float = 0.0
    place: tuple[float, float] | None = None
    shape: str = ""
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = settings.check_box(self.low, self.high)
        area = options.allowance("patch", "area", self.area, 1.0, "of the picture, such as 0.05 or, in a token, 5%")
        if bool(area) == bool(self.shape):
            got = f"area = {area:g} and shape = {self.shape!r}"
            raise SettingError(f"patch: {got}; expected one of the two: a share above 0 such as 0.05 (in a token, 5%), or a shape")
        if self.shape:
            self._check_shape()
        if self.place is not None:
            if len(self.place) != 2:
                raise SettingError(f"patch: place = {self.place!r}; expected two shares (down, right), such as (0.5, 0.5)")
            place = tuple(options.allowance("patch", "place", share, 1.0, "(down, right), such as 0.5x0.5") for share in self.place)
            object.__setattr__(self, "place", place)
        for name, value in (("area", area), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    def _check_shape(self) -> None:
        shapes.require_shape(self.shape)
        if self.place is not None:
            raise SettingError(f"patch: place = {self.place} for the shape {self.shape!r}; a shape covers the whole picture: leave it out")
        if set(",[]+") & set(self.shape):
            raise SettingError(f"patch: the path {self.shape!r} has one of , [ ] +, which a token cannot hold; rename the file")

    @classmethod
    def from_token(cls, size: str) -> Self:
        """The stickers that ``patch:`` and ``size`` stand for, such as ``area=5%``, ``area=5%,place=0.5x0.5`` or ``shape=eyeglasses``."""
        given, low, high = options.read("patch", size, ("area", "place", "shape"), bare="area")
        area = options.share(given.get("area", "0"))
        if "place" not in given:
            return cls(area, None, given.get("shape", ""), low, high)
        down, cross, right = given["place"].partition("x")
        if not cross:
            raise SettingError(f"patch: place = {given['place']!r}; expected down x right, such as place=0.5x0.5 for the middle")
        return cls(area, (options.share(down), options.share(right)), given.get("shape", ""), low, high)

    @property
    def token(self) -> str:
        """The exact text of these stickers, such as ``patch:area=5%,place=0.5x0.5``."""
        what = {"shape": self.shape} if self.shape else {"area": options.percent(self.area)}
        place = {} if self.place is None else {"place": "x".join(map(options.plain, self.place))}
        return options.write("patch", {**what, **place}, self.low, self.high)

    def sides(self, x: Tensor) -> tuple[int, int]:
        """The sticker's height and width in pixels, on pictures (B, C, H, W)."""
        self.require_pictures(x)
        height, width = x.shape[2:]
        if self.shape:
            return height, width
        side = max(1, min(height, width, math.floor(math.sqrt(self.area * height * width) + 1e-9)))
        return side, side

    def count(self, x: Tensor) -> int:
        """The sticker's values, two for its place, one for whether it is there."""
        return int(x.shape[1]) * math.prod(self.sides(x)) + 3

    def split(self, params: Tensor, x: Tensor) -> Sticker:
        """The parameters (B, P), apart."""
        self.require_params(params, x)
        return Sticker(params[:, :-3].reshape(len(x), x.shape[1], *self.sides(x)), params[:, -3:-1], params[:, -1:])

    def join(self, sticker: Sticker) -> Tensor:
        """The parameters (B, P) of a sticker."""
        return torch.cat((sticker.pixels.flatten(1), sticker.place, sticker.on), 1)

    def corner(self, place: Tensor, x: Tensor) -> Tensor:
        """The top left pixel (B, 2) of stickers at a place (B, 2)."""
        free = self._free(x)
        return (place.double().nan_to_num() * (free + 1)).long().clamp(min=0).minimum(free)

    def place_of(self, corner: Tensor, x: Tensor) -> Tensor:
        """The place (B, 2) of stickers whose top left pixel is ``corner`` (B, 2)."""
        return ((corner + 0.5) / (self._free(x) + 1)).to(x.dtype)

    def _free(self, x: Tensor) -> Tensor:
        return torch.tensor(x.shape[2:], device=x.device) - torch.tensor(self.sides(x), device=x.device)

    def identity(self, x: Tensor) -> Tensor:
        """No sticker."""
        return self._settled(x.new_zeros(len(x), self.count(x)))

    def project(self, z: Tensor, x: Tensor, room: Room | None = None) -> Tensor:  # noqa: ARG002
        """The nearest allowed parameters: colours and place in their box, a sticker or none."""
        return self._settled(z.clamp(0, 1))

    def _settled(self, params: Tensor) -> Tensor:
        fixed = (0.0, 0.0) if self.shape else self.place
        place = params[:, -3:-1] if fixed is None else params.new_tensor(fixed).expand(len(params), 2)
        on = params[:, -1:]
        return torch.cat((params[:, :-3], place, torch.where(on.isnan(), on, (on > 0.5).to(on.dtype))), 1)

    def measure(self, z: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002
        """1 where there is a sticker, else 0 (B,), in float64."""
        return z[:, -1].double()

    def sample(self, x: Tensor, draw: Draw, room: Room | None = None) -> Tensor:  # noqa: ARG002
        """A sticker of uniform colours, at a uniform place."""
        params = draw.uniform(x.new_empty(len(x), self.count(x)))
        params[:, -1] = 1
        return self._settled(params)

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """The pictures with their stickers on."""
        pixels, place, on = self.split(params, x)
        colours = (self.low + (self.high - self.low) * pixels).clamp(*box_inside(self.low, self.high, x.dtype))
        height, width = self.sides(x)
        corner = self.corner(place.detach(), x)
        row = (corner[:, :1] + torch.arange(height, device=x.device))[:, None, :, None]
        column = (corner[:, 1:] + torch.arange(width, device=x.device))[:, None, None, :]
        example = torch.arange(len(x), device=x.device)[:, None, None, None]
        channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        under = (example, channel, row, column)
        stuck = on[..., None, None] > 0.5
        if self.shape:
            stuck = stuck & shapes.place(self.shape, x)
        return x.index_put(under, torch.where(stuck, colours, x[under]))
