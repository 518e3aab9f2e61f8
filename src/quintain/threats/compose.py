"""Several changes, one after the other."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.threats.parametric import ParametricBase
from quintain.threats.rng import ExampleRNG
from quintain.threats.specs import parse
from quintain.threats.threat import ProjectionCache

_JOINT = re.compile(r"\+(?=\s*[a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, init=False)
class Compose(ParametricBase):
    r"""Changes of several families, made in the order in which they are written.

    .. math:: x' = render_k(\dots render_1(x, p_1) \dots, p_k)

    Args:
        parts: Two or more families with one data box, such as ``Color(brightness=0.2), Patch(0.05)``.

    The parameters are those of the parts, one behind the other; each part may use the whole of its own
    allowance.

    Raises:
        SettingError: If there are fewer than two parts, one is no family or is composed itself, or their
            boxes differ.

    Source: Hsiung et al., 2023, arXiv:2202.04235, for attacks on compositions and the weight of their order.
    """

    name: ClassVar[str] = "compose"
    summary: ClassVar[str] = (
        "several of the changes of images, in the order given (compose:color:brightness=0.2+patch:area=5%)"
    )
    example: ClassVar[str] = "compose:color:brightness=0.2+patch:area=20%,position=0.5x0.5"
    specs: ClassVar[tuple[str, ...]] = ("compose:color:brightness=0.2+patch:area=5%",)
    joins: ClassVar[bool] = True
    allows: ClassVar[str] = "several of the changes of images, in that order"

    parts: tuple[ParametricBase, ...]

    def __init__(self, *parts: ParametricBase) -> None:
        for part in parts:
            if not isinstance(part, ParametricBase) or isinstance(part, Compose):
                raise SettingError(
                    f"compose: {part} cannot be a part; expected families such as Color(0.2), none composed"
                )
        if len(parts) < 2:
            raise SettingError(
                f"compose: {len(parts)} parts; expected two or more, such as Compose(Color(0.2), Patch(0.05))"
            )
        boxes = {(part.low, part.high) for part in parts}
        if len(boxes) > 1:
            raise SettingError(
                f"compose: parts with the boxes {sorted(boxes)}; expected one data box for all"
            )
        object.__setattr__(self, "parts", parts)

    @classmethod
    def from_spec(cls, text: str) -> Self:
        """Return the threat of a spec ``compose:text``, such as ``color:brightness=0.2+patch:area=5%``."""
        return cls(*map(parse, _JOINT.split(text)))  # type: ignore[arg-type]

    @property
    def spec(self) -> str:
        """The exact text, such as ``compose:color:brightness=0.2+patch:area=5%``."""
        return f"{self.name}:" + "+".join(part.spec for part in self.parts)

    @property
    def low(self) -> float:  # type: ignore[override]
        """Least value of the data."""
        return self.parts[0].low

    @property
    def high(self) -> float:  # type: ignore[override]
        """Greatest value of the data."""
        return self.parts[0].high

    def num_params(self, x: Tensor) -> int:
        """Return as many as the parts have together."""
        return sum(part.num_params(x) for part in self.parts)

    def unpack(self, params: Tensor, x: Tensor) -> Iterator[tuple[ParametricBase, Tensor]]:
        """Yield each part with its own parameters."""
        self.check_params(params, x)
        return zip(self.parts, params.split([part.num_params(x) for part in self.parts], 1), strict=True)

    def identity(self, x: Tensor) -> Tensor:
        """No change by any part."""
        return torch.cat([part.identity(x) for part in self.parts], 1)

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        """Return the nearest parameters that each part allows."""
        return torch.cat([part.project(own, x) for part, own in self.unpack(z, x)], 1)

    def measure(self, z: Tensor, x: Tensor) -> Tensor:
        """Return the largest fraction of its allowance that a part uses (B,), in float64."""
        return torch.stack([part.measure(own, x) for part, own in self.unpack(z, x)]).amax(0)

    def sample(
        self,
        x: Tensor,
        rng: ExampleRNG,
        cache: ProjectionCache | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Return a sample of each part, from streams of its own."""
        return torch.cat(
            [part.sample(x, rng.fold_in("part", index)) for index, part in enumerate(self.parts)], 1
        )

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the images changed by one part after the other."""
        image = x
        for part, own in self.unpack(params, x):
            image = part.render(image, own)
        return image
