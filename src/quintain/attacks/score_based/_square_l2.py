"""Square Attack's changes in L2: tiles of two-lobed bumps, then one bump at the cost of a window."""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from quintain.attacks.score_based.windows import image_dims, window_pixels, window_shape
from quintain.threats.rng import ExampleRNG
from quintain.threats.threat import Threat

SLACK = 1e-6
"""By how much a change is made shorter than ``eps``, so that rounding seldom puts it outside."""

EXTRA_RESCALES = 2
"""How often a change is rescaled again after clipping to the box has shortened it."""


def initial_tiles(threat: Threat, x: Tensor, rng: ExampleRNG) -> Tensor:
    """Return the start (n, *S): a grid of 5 by 5 bumps with random signs, rescaled to length ``eps``."""
    channels, height, width = image_dims(x.shape[1:])
    window_height, window_width = max(1, height // 5), max(1, width // 5)
    down, across = height // window_height, width // window_width
    # a centered grid of bumps, each channel with a random sign, each bump with a random orientation
    like = torch.empty(len(x), channels + 1, down, across, device=x.device)
    flags = rng.uniform(like) < 0.5
    signs = torch.where(flags[:, :-1], -1.0, 1.0)[..., None, None]
    change = (
        (signs * bumps(window_height, window_width, flags[:, -1])[:, None])
        .transpose(3, 4)
        .reshape(len(x), channels, down * window_height, across * window_width)
    )
    top, left = (height - down * window_height) // 2, (width - across * window_width) // 2
    framed = pad(
        change, (left, width - across * window_width - left, top, height - down * window_height - top)
    )
    return rescale_to_eps(threat, framed.view(x.shape).to(x.dtype), x)


def propose_l2(threat: Threat, area_fraction: float, z: Tensor, x: Tensor, uniforms: Tensor) -> Tensor:
    r"""Return the next point (n, *S): a bump is mixed into one window.

    The window also gets the length of a second one and what is unspent.

    .. math:: \nu_{1} \leftarrow \frac{\sigma\eta + \nu_{1} / |\nu_{1}|}{|\sigma\eta + \nu_{1} / |\nu_{1}||}
        \sqrt{|\nu_{1 \cup 2}|^2 + (\varepsilon^2 - |\nu|^2) / C}, \qquad \nu_{2 \setminus 1} \leftarrow 0

    for each of the C channels, with the change :math:`\nu`, the bump :math:`\eta` and a random sign
    :math:`\sigma`.

    Args:
        threat: The ball.
        area_fraction: Of the image that a window covers.
        z, x: Current and clean points (n, *S).
        uniforms: Uniform in [0, 1] (n, 5 + C).
    """
    channels, height, width = image_dims(x.shape[1:])
    window_height, window_width = (
        min(max(side | 1, 3), most)
        for side, most in zip(window_shape(area_fraction, height, width), (height, width), strict=True)
    )
    first, second = (
        window_pixels(position, window_height, window_width, height, width)[:, None].expand(-1, channels, -1)
        for position in (uniforms[:, :2], uniforms[:, 2:4])
    )
    # Take the norm of window 1, of window 2 without 1, and the unused budget; put all of it into window 1 as
    # sigma eta + old / |old|, normalized; window 2 becomes 0 (Square Attack, L2 update).
    change = (z - x).view(len(x), channels, -1)
    unspent = (threat.eps**2 - change.square().sum((1, 2))).clamp(min=0)[:, None, None]
    old = change.gather(2, first)
    change.scatter_(2, first, 0)
    length = (_squares(old) + _squares(change.gather(2, second)) + unspent / channels).sqrt()
    change.scatter_(2, second, 0)
    signs = torch.where(uniforms[:, 5:, None] < 0.5, -1.0, 1.0)
    bump = (signs * bumps(window_height, window_width, uniforms[:, 4] < 0.5).flatten(1)[:, None]).to(x.dtype)
    mixed = bump + _unit(old)
    mixed = torch.where(_squares(mixed) > SLACK**2, mixed, bump)
    change.scatter_(2, first, _unit(mixed) * length)
    return rescale_to_eps(threat, change.view(x.shape), x)


def rescale_to_eps(threat: Threat, change: Tensor, x: Tensor) -> Tensor:
    """Return the point in the direction of a change, in the ball and the box, at nearly length ``eps``."""
    origin, cut = x, change
    # clipping to the box shortens the change, so it is rescaled again before it is projected
    for _ in range(1 + EXTRA_RESCALES):
        length = torch.linalg.vector_norm(cut.flatten(1), dim=1).view(-1, *[1] * (x.dim() - 1))
        change = change * (threat.eps * (1 - SLACK) / length.clamp(min=torch.finfo(x.dtype).eps))
        z = (origin + change).clamp(threat.low, threat.high)
        cut = z - origin
    return threat.project(z, origin)


def bumps(window_height: int, window_width: int, transposed: Tensor) -> Tensor:
    """Return two-lobed bumps of Euclidean length 1: (..., height, width).

    They are transposed where ``transposed`` (...) is set and the window is square.
    """
    plain = two_lobes(window_height, window_width).to(transposed.device)
    return (
        torch.where(transposed[..., None, None], plain.T, plain)
        if window_height == window_width
        else plain.expand(*transposed.shape, window_height, window_width)
    )


@cache
def two_lobes(window_height: int, window_width: int) -> Tensor:
    """Return a positive hill beside a negative one (height, width), of Euclidean length 1.

    The window is halved along its longer side.
    """
    if window_width > window_height:
        return two_lobes(window_width, window_height).T
    both = torch.cat(
        (
            pyramid(window_height // 2, window_width),
            -pyramid(window_height - window_height // 2, window_width),
        )
    )
    return both / torch.linalg.vector_norm(both)


def pyramid(window_height: int, window_width: int) -> Tensor:
    r"""Return nested rectangles around the middle (height, width), of Euclidean length 1.

    The height of ring r is :math:`\sum_{i \ge r} 1 / (i + 1)^2`.
    """
    down, across = (torch.arange(side) - side // 2 for side in (window_height, window_width))
    # nested rectangles: the value at ring r is sum_{i >= r} 1 / (i + 1)^2
    ring = torch.maximum(down[:, None].abs(), across.abs())
    steps = 1.0 / torch.arange(1, max(window_height, window_width) // 2 + 2).square()
    levels = steps.flip(0).cumsum(0).flip(0)[ring]
    return levels / torch.linalg.vector_norm(levels).clamp(min=1e-30)


def _squares(window: Tensor) -> Tensor:
    return window.square().sum(2, keepdim=True)


def _unit(window: Tensor) -> Tensor:
    return window / _squares(window).sqrt().clamp(min=torch.finfo(window.dtype).tiny)
