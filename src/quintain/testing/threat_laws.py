"""The laws of threats whose points are images (balls): projection, sampling, steepest step, spec."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from quintain.testing.checking import Law, require, require_equal, run_laws
from quintain.testing.models import random_inputs
from quintain.testing.parametric_laws import parametric_laws
from quintain.threats import ExampleRNG, Mask, ParametricThreat, Threat, contains, parse
from quintain.threats.shapes import shape_mask

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
IMAGE_SHAPES = ((1, 4, 4), (3, 5, 2))
VECTOR_SHAPES = ((1,), (3,))


def check_threat(threat: Threat) -> None:
    """Check all laws of threats on one: those of balls, or of parametric threats.

    Args:
        threat: As users get it, such as ``MyThreat(0.3)``.

    Raises:
        AssertionError: If it breaks any; the message names each, with what was seen.
    """
    laws = parametric_laws(threat) if isinstance(threat, ParametricThreat) else ball_laws(threat)
    run_laws(f"the threat {threat.spec}", laws, getattr(threat, "exemptions", ()))


def ball_laws(threat: Threat) -> list[Law]:
    """Return the laws of a ball by name, each on inputs of several shapes and types."""
    shapes = IMAGE_SHAPES if images_only(threat) else VECTOR_SHAPES + IMAGE_SHAPES
    cases = [
        (z.to(dtype), x)
        for dtype in DTYPES
        for seed, shape in enumerate(shapes)
        for x in [random_inputs(4, *shape, seed=seed, dtype=dtype)]
        for reach in (1e-6, threat.eps, 1.0, 100.0)
        for z in [x + reach * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1))]
    ]
    exact = [(z[:2], x[:2]) for z, x in cases if x.dtype == torch.float64 and x[0].numel() < 20]
    nearest = partial(check_projection_nearest, tries=12)
    gradient = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    size = 2.0 if whole_sizes(threat) else 0.3

    def each(check: Callable[..., None], on: list[tuple[Tensor, Tensor]]) -> None:
        for z, x in on:
            check(threat, z, x)

    def check_samples() -> None:
        for _, x in cases[::4]:
            check_sample_inside(threat, x)

    return [
        ("projection is inside", partial(each, check_projection_inside, cases)),
        ("projection is idempotent", partial(each, check_projection_idempotent, cases)),
        ("projection is the nearest point", partial(each, nearest, exact)),
        ("samples are inside", check_samples),
        ("steps are the steepest", partial(check_steepest_step, threat, gradient, size)),
        ("spec is exact", partial(check_spec, threat)),
        ("what is not a number is not allowed", partial(check_nan_not_allowed, threat)),
        ("an empty batch stays empty", partial(check_empty_batch, threat)),
    ]


def images_only(threat: Threat) -> bool:
    """Whether a threat takes images (B, C, H, W) alone, by its own word."""
    return bool(getattr(threat, "images_only", False))


def whole_sizes(threat: Threat) -> bool:
    """Whether sizes of a threat are whole numbers, by its own word."""
    return bool(getattr(threat, "whole_sizes", False))


def check_projection_inside(threat: Threat, z: Tensor, x: Tensor) -> None:
    """A projected point is in ball and box, measured in float64, with no tolerance.

    Args:
        threat: The ball.
        z: Points (B, *S), anywhere.
        x: Inputs (B, *S) in the box.

    Raises:
        AssertionError: If not.
    """
    p = threat.project(z, x)
    require(p.dtype == x.dtype, f"a projected point of {x.dtype}, as the input", f"{p.dtype}")
    require(p.shape == x.shape, f"a projected point of shape {tuple(x.shape)}", f"{tuple(p.shape)}")
    require(threat.measure(p, x) <= threat.eps, f"projected points within {threat.spec}, without tolerance")
    flat = p.double().flatten(1)
    inside = ((flat >= threat.low) & (flat <= threat.high)).all(1)
    require(inside, f"projected points in the box [{threat.low:g}, {threat.high:g}]")


def check_projection_idempotent(threat: Threat, z: Tensor, x: Tensor) -> None:
    """A projected point, a clean point and a sampled point come back bit for bit, with the cache or without.

    Args:
        threat: The ball.
        z: Points (B, *S), anywhere.
        x: Inputs (B, *S) in the box.

    Raises:
        AssertionError: If not.
    """
    once = threat.project(z, x)
    sampled = threat.sample(x, ExampleRNG(1, torch.arange(len(x))))
    for name, inside in (("projected", once), ("clean", x), ("sampled", sampled)):
        require_equal(threat.project(inside, x), inside, f"a {name} point to stay, bit for bit")
    cached = threat.project(z, x, threat.projection_cache(x))
    require_equal(cached, once, "the same projection with projection_cache as without")


def check_projection_nearest(threat: Threat, z: Tensor, x: Tensor, *, tries: int = 300) -> None:
    """No allowed point is nearer in L2 by more than 1e-6 and the spacing of numbers.

    Compared are random points of the ball, and points around the projection.

    Args:
        threat: The ball.
        z: Points (B, *S), anywhere.
        x: Inputs (B, *S) in the box.
        tries: How many points of each sort are compared.

    Raises:
        AssertionError: If one is.
    """
    z, x = z.double(), x.double()
    p = threat.project(z, x)

    def distance_to(point: Tensor) -> Tensor:
        return torch.linalg.vector_norm((point - z).flatten(1), dim=1)

    generator = torch.Generator().manual_seed(0)
    spacing, distance = torch.finfo(p.dtype).eps, distance_to(p)
    for attempt in range(tries):
        direction = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        scale = threat.eps * 10.0 ** -(attempt % 6)
        around = threat.project((p + scale * direction).clamp(threat.low, threat.high), x)
        for candidate in (around, threat.sample(x, ExampleRNG(attempt, torch.arange(len(x))))):
            nearest = distance <= distance_to(candidate) * (1 + 1e-6) + 4 * spacing
            require(
                contains(threat, candidate, x) <= nearest, "the projection to be the nearest allowed point"
            )


def check_sample_inside(threat: Threat, x: Tensor, *, seed: int = 0) -> None:
    """A sampled point is allowed, belongs to its example, and differs between seeds wherever there is room.

    Args:
        threat: The ball.
        x: Inputs (B, *S) in the box.
        seed: Of the random points.

    Raises:
        AssertionError: If not.
    """
    ids = torch.arange(len(x)) + 5
    z = threat.sample(x, ExampleRNG(seed, ids))
    require(contains(threat, z, x), f"sampled points within {threat.spec}")
    turned = threat.sample(x.flip(0), ExampleRNG(seed, ids.flip(0))).flip(0)
    require_equal(turned, z, "a sampled point that follows its example's id, not its place in the batch")
    if threat.eps > 1e-2 and x.numel() > 15 and x.dtype.itemsize > 2:
        other = threat.sample(x, ExampleRNG(seed + 1, ids))
        require(not torch.equal(other, z), "other points under another seed", "the same")


def check_steepest_step(threat: Threat, gradient: Tensor, size: float) -> None:
    """No other change of a step's size raises a linear function more than the steepest step.

    The step has the size asked for, and a zero gradient gives none.

    Args:
        threat: The ball.
        gradient: Gradients (B, *S) of linear functions.
        size: Size of the step, in the units of the threat.

    Raises:
        AssertionError: If not.
    """
    change = threat.steepest_step(gradient, size)
    origin = torch.zeros_like(gradient)
    sizes = threat.measure(change, origin)
    wanted = torch.full((len(gradient),), size, dtype=torch.float64)
    require(torch.isclose(sizes, wanted, rtol=1e-5), f"a step of size {size:g}", f"{sizes.tolist()}")
    generator = torch.Generator().manual_seed(0)
    gain = (change * gradient).flatten(1).sum(1)
    for _ in range(50):
        other = random_change(threat, size, origin, generator)
        rise = (other * gradient).flatten(1).sum(1)
        require(rise <= gain * (1 + 1e-5), "no change of the same size to raise a linear function more")
    require_equal(threat.steepest_step(origin, size), origin, "no step along a zero gradient")


def random_change(threat: Threat, size: float, origin: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random change (B, *S) of one size.

    Where sizes are whole, so many pixels move across part of the box; elsewhere it is noise that is scaled,
    on the shape where there is one.
    """
    noise = torch.randn(origin.shape, generator=generator, dtype=origin.dtype)
    if whole_sizes(threat):
        order = torch.rand(origin.flatten(1).shape, generator=generator).argsort(1).view_as(origin)
        return torch.where(order < size, noise.clamp(-1, 1) * (threat.high - threat.low), 0.0)
    if isinstance(threat, Mask):
        noise = noise * shape_mask(threat.shape, *origin.shape[-2:])
    scale = (size / threat.measure(noise, origin)).to(origin.dtype)
    return noise * scale.view(-1, *[1] * (origin.dim() - 1))


def check_spec(threat: Threat) -> None:
    """A threat is read back from its spec as an equal value with the same hash.

    Raises:
        AssertionError: If not.
    """
    again = parse(threat.spec)
    require(again == threat, f"{threat.spec} to be read as an equal threat", f"{again!r} beside {threat!r}")
    require(hash(again) == hash(threat), "equal threats to have one hash")
    require(again.spec == threat.spec, f"the spec {threat.spec}", again.spec)


def check_nan_not_allowed(threat: Threat) -> None:
    """A point with a number that is NaN is not allowed, and hinders no other example.

    Raises:
        AssertionError: If not.
    """
    x = torch.full((2, 2, 3), 0.5)
    z = x.clone()
    z[1, 0, 2] = torch.nan
    require(
        contains(threat, z, x).tolist() == [True, False], "a clean point to be allowed, and one with NaN not"
    )
    require(
        bool(contains(threat, threat.project(z, x), x)[0]), "NaN in one example to leave the others alone"
    )


def check_empty_batch(threat: Threat) -> None:
    """An empty batch stays empty.

    Raises:
        AssertionError: If not.
    """
    x = torch.empty(0, 1, 3)
    require(threat.project(x, x).shape == x.shape, "an empty batch to stay empty under project")
    require(contains(threat, x, x).shape == (0,), "an empty batch to have no sizes")
