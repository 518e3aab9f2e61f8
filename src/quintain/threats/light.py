"""Projected light, which can only brighten."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats import spec_format
from quintain.threats.parametric import ParametricBase
from quintain.threats.rounding import representable_box

Form = Literal["additive", "albedo"]


@dataclass(frozen=True, slots=True)
class ProjectedLight(ParametricBase):
    r"""Light of at most ``gain``, of any image, is thrown onto the scene.

    .. math::
        x' = \min(x + g\, p,\; high) \quad\text{or, by albedo,}\quad
        x' = \min(x + (x - low)\, g\, p,\; high), \quad p \in [0, 1]

    Args:
        gain: :math:`g`: the brightest light, in the units of the data; by albedo, as a multiple of what the
            surface reflects.
        form: ``additive``, or ``albedo``: a surface reflects a fraction of the light that falls on it, so
            that black does not light up.
        low, high: The data box.

    The parameters are the light's values, P = C H W: no pixel gets darker, none without light changes, and
    none exceeds ``high``. Where the light is too strong for ``high``, its gradient is that of the pixel, so
    that a search can turn it down again.

    Raises:
        SettingError: If the gain is negative, or wider than the box in the additive form.

    Source: Nassi et al., 2020, Phantom of the ADAS (CCS); Lovisotto et al., 2021, arXiv:2007.04137.
    """

    name: ClassVar[str] = "light"
    summary: ClassVar[str] = (
        "a phantom: light is thrown onto the scene and can only add (light:0.3, light:0.3,form=albedo)"
    )
    example: ClassVar[str] = "light:0.3"
    specs: ClassVar[tuple[str, ...]] = ("light:0.3", "light:0.3,form=albedo")
    allows: ClassVar[str] = "light that only adds, on every surface alike or by what it reflects"

    options: ClassVar[Mapping[str, str]] = {"gain": "bare-number", "form": "additive|albedo"}

    gain: float
    form: Form = "additive"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        low, high = spec_format.check_box(self.low, self.high)
        if self.form not in ("additive", "albedo"):
            raise SettingError(f"light: form = {self.form!r}; expected additive or albedo")
        widest, unit = (
            (high - low, "in the units of the data")
            if self.form == "additive"
            else (1e6, "times the surface's light")
        )
        gain = spec_format.check_amount("light", "gain", self.gain, widest, unit)
        for name, value in (("gain", gain), ("low", low), ("high", high)):
            object.__setattr__(self, name, value)

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the light that ``light:`` and ``text`` stand for, such as ``0.3`` or ``0.3,form=albedo``."""
        given, low, high = spec_format.read_options(cls.name, text, tuple(cls.options), bare="gain")
        if "gain" not in given:
            raise SettingError(f"light: {text!r} has no gain; write it first, such as light:0.3")
        form = given.get("form", "additive")
        return cls(spec_format.number(given["gain"]), form, low, high)  # type: ignore[arg-type]

    @property
    def spec(self) -> str:
        """The exact text of this light, such as ``light:0.3``."""
        form = {} if self.form == "additive" else {"form": self.form}
        return spec_format.write_options(
            self.name, {"": spec_format.format_number(self.gain), **form}, self.low, self.high
        )

    def num_params(self, x: Tensor) -> int:
        """Return one light for each value of the image."""
        self.check_images(x)
        return x.shape[1] * x.shape[2] * x.shape[3]

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the lit images."""
        self.check_params(params, x)
        light = self.gain * params.view_as(x)
        lit = x + (light if self.form == "additive" else (x - self.low) * light)
        brightest = representable_box(self.low, self.high, x.dtype)[1]
        # clipped at high, but with the gradient of the unclipped light
        return torch.where(lit > brightest, brightest + (lit - lit.detach()), lit)
