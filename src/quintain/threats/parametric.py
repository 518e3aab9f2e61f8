"""Parametric threats: patches, rotations, projected light.

The adversary chooses parameters, images are rendered from them.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from quintain.core.errors import DataError
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import ProjectionCache, Threat, contains, in_box


@runtime_checkable
class ParametricThreat(Threat, Protocol):
    """A threat whose points are parameters p (B, P); the model sees ``render(x, p)``.

    ``project``, ``steepest_step``, ``measure`` and ``sample`` take and return parameters (B, P), with the
    images ``x`` (B, *S) beside them.
    """

    def identity(self, x: Tensor) -> Tensor:
        """Return parameters (B, P) that change nothing: ``render(x, identity(x))`` is ``x``, bit for bit."""

    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the changed images (B, *S) in the box, differentiable in ``params`` where the change is."""


class ParametricBase(ABC):
    r"""The base of the parametric threats: parameters are fractions of what is allowed.

    Parameters of 0 change nothing.

    .. math:: \{render(x, p) : p \in [a, 1]^P\}, \quad a \in \{-1, 0\}

    so that ``eps`` is 1, the whole allowance, and the size of a change is its largest parameter in absolute
    value.

    Attributes:
        name: The registered name, with which its spec begins.
        param_min: :math:`a`: -1 where a change has two directions, 0 where it has one.
        low, high: The data box.
    """

    __slots__ = ()

    name: ClassVar[str]
    parametric: ClassVar[bool] = True
    guarantee: ClassVar[str] = (
        "no change is exact, bit for bit; every change stays in the data box; the image follows from the "
        "parameters alone"
    )
    param_min: ClassVar[float] = 0.0
    low: float
    high: float

    @property
    @abstractmethod
    def spec(self) -> str:
        """The exact text of this threat."""

    def __str__(self) -> str:
        return self.spec

    @property
    def eps(self) -> float:
        """The whole allowance: 1."""
        return 1.0

    def describe_size(self, size: float) -> str:
        """Return the size of a change, for people."""
        return f"{size:.2f}"

    @abstractmethod
    def num_params(self, x: Tensor) -> int:
        """P, how many parameters an image has.

        Raises:
            DataError: If the inputs are not images that this change can be made to.
        """

    def identity(self, x: Tensor) -> Tensor:
        """Return parameters (B, P) that change nothing, bit for bit."""
        return x.new_zeros(len(x), self.num_params(x))

    def projection_cache(self, x: Tensor) -> ProjectionCache:  # noqa: ARG002
        """Return nothing: all images allow the same parameters."""
        return ()

    def project(self, z: Tensor, x: Tensor, cache: ProjectionCache | None = None) -> Tensor:  # noqa: ARG002
        """Return the allowed parameters nearest to ``z`` (B, P) in L2."""
        return z.clamp(self.param_min, 1)

    def steepest_step(self, gradient: Tensor, size: float) -> Tensor:
        """Return the change of parameters, of size ``size``, that raises a linear function most.

        It is ``size * sign(gradient)``.
        """
        return size * gradient.sign()

    def measure(self, z: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002
        """Return the largest absolute parameter (B,), in float64."""
        return z.double().abs().amax(1)

    def sample(
        self,
        x: Tensor,
        rng: ExampleRNG,
        cache: ProjectionCache | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Return uniform allowed parameters (B, P), from each example's own stream."""
        return self.param_min + (1 - self.param_min) * rng.uniform(self.identity(x))

    @abstractmethod
    def render(self, x: Tensor, params: Tensor) -> Tensor:
        """Return the changed images (B, C, H, W), in the box."""

    def check_images(self, x: Tensor) -> None:
        """Raise if inputs are not images.

        Raises:
            DataError: If so.
        """
        if x.dim() != 4:
            raise DataError(
                f"inputs of shape {tuple(x.shape)} for {self.spec}; expected images (B, C, H, W): add the "
                "missing axes"
            )

    def check_params(self, params: Tensor, x: Tensor) -> None:
        """Raise if parameters do not belong to the images.

        Raises:
            DataError: If so.
        """
        expected = (len(x), self.num_params(x))
        if params.shape != expected:
            raise DataError(
                f"parameters of shape {tuple(params.shape)} for {self.spec} on {tuple(x.shape)}; expected "
                f"{expected}: make them with identity or sample of the same images"
            )


def identity(threat: Threat, x: Tensor) -> Tensor:
    """Return the adversary's point that changes nothing: the image itself, or parameters."""
    return threat.identity(x) if isinstance(threat, ParametricThreat) else x


def to_image(threat: Threat, z: Tensor, x: Tensor) -> Tensor:
    """Return the images of the adversary's points ``z``."""
    return threat.render(x, z) if isinstance(threat, ParametricThreat) else z


def is_allowed(threat: Threat, z: Tensor, x: Tensor) -> Tensor:
    """Whether each point of the adversary is allowed for its ``x`` (B,), without tolerance; NaN is not."""
    if not isinstance(threat, ParametricThreat):
        return contains(threat, z, x)
    unchanged = (threat.project(z, x) == z).flatten(1).all(1)
    return unchanged & in_box(threat, threat.render(x, z)) & (threat.measure(z, x) <= threat.eps)
