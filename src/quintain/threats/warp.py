"""Warps of images: where each pixel looks, what it finds there, and stickers laid onto scenes.

The edges of stickers are smooth.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def resample(image: Tensor, rows: Tensor, columns: Tensor, fill: float | None = None) -> Tensor:
    """Return bilinear values of an image at points given in pixels; at a whole pixel, that pixel bit for bit.

    Args:
        image: Images (B, C, H, W).
        rows, columns: Where to look (B, h, w); (0, 0) is the middle of the first pixel.
        fill: What lies around the image, one pixel beyond its edge; the nearest pixel of the edge if not
            given.

    The image is padded to sides that are powers of two, on which pixels and grid coordinates convert
    without rounding.
    """
    kind = torch.promote_types(image.dtype, torch.float32)
    ring = 0 if fill is None else 1
    points, padding = [], []
    for coordinates, side in ((columns, image.shape[3]), (rows, image.shape[2])):
        # grid_sample wants [-1, 1]; for a side that is a power of two the conversion is exact: whole pixels
        # are hit
        whole = 1 << (side + 2 * ring - 1).bit_length()
        inside = coordinates.to(kind).nan_to_num().clamp(-ring, side - 1 + ring)
        points.append((2 * (inside + ring) + 1) / whole - 1)
        padding += [ring, whole - side - ring]
    padded = F.pad(image.to(kind), padding, value=fill or 0.0)
    return F.grid_sample(
        padded, torch.stack(points, -1), mode="bilinear", padding_mode="zeros", align_corners=False
    ).to(image.dtype)


def rotation_terms(angle: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return what a rotation and a change of size add to where a pixel looks, as two factors (B,).

    Both are 0 at no rotation and size 1.

    .. math:: (a, b) = (\cos\varphi / s - 1,\; \sin\varphi / s), \quad
        \Delta row = a \cdot row + b \cdot column, \; \Delta column = a \cdot column - b \cdot row

    about the middle, for an image turned counterclockwise by ``angle`` (B,) in radians and magnified
    ``size`` (B,) times.
    """
    return angle.cos() / size - 1, angle.sin() / size


def centered_grid(rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows (h, 1) and columns (1, w) of an image, in pixels from its middle."""
    down = torch.arange(rows, dtype=like.dtype, device=like.device) - (rows - 1) / 2
    right = torch.arange(columns, dtype=like.dtype, device=like.device) - (columns - 1) / 2
    return down[:, None], right[None]


def similarity(angle: Tensor, size: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Return the matrices (B, 3, 3) on (row, column, 1) that turn counterclockwise, magnify and then move.

    Args:
        angle: Radians (B,).
        size: Factor (B,).
        down, right: Pixels (B,).
    """
    cosine, sine, zero, one = (
        size * angle.cos(),
        size * angle.sin(),
        torch.zeros_like(angle),
        torch.ones_like(angle),
    )
    return torch.stack((cosine, -sine, down, sine, cosine, right, zero, zero, one), 1).view(-1, 3, 3)


def homography(corners: Tensor, rows: int, columns: int) -> Tensor:
    """Return the matrices (B, 3, 3) that carry an image's corners to four points of a scene.

    They are a view in perspective; corners and points are in pixels from the middle.

    Args:
        corners: Where the outer corners go (B, 4, 2) as (row, column) from the scene's middle: top left, top
            right, bottom right, bottom left.
        rows, columns: The image's sides in pixels.

    Source: the direct linear solution; Hartley and Zisserman, Multiple View Geometry, 2004, section 4.1.
    """
    half_height, half_width = rows / 2, columns / 2
    source = corners.new_tensor(
        [
            [-half_height, -half_width],
            [-half_height, half_width],
            [half_height, half_width],
            [half_height, -half_width],
        ]
    ).expand_as(corners)
    one, zero = corners.new_ones(len(corners), 4, 1), corners.new_zeros(len(corners), 4, 3)
    # direct linear transform: two equations per corner, h_33 = 1
    point = torch.cat((source, one), 2)
    upper = torch.cat((point, zero, -corners[..., :1] * source), 2)
    lower = torch.cat((zero, point, -corners[..., 1:] * source), 2)
    solved = torch.linalg.solve(
        torch.cat((upper, lower), 1), torch.cat((corners[..., 0], corners[..., 1]), 1)
    )
    return torch.cat((solved, one[:, 0]), 1).view(-1, 3, 3)


def composite(scene: Tensor, layer: Tensor, alpha: Tensor, matrix: Tensor, *, supersample: int = 2) -> Tensor:
    r"""Return scenes with a sticker laid on, smoothed at its edges and pixels.

    The result is differentiable in the sticker, its alpha and the matrix.

    .. math:: x' = x (1 - \bar\alpha) + \bar s, \quad \bar\alpha, \bar s = \text{means of } \alpha, \alpha s
        \text{ over } finer^2 \text{ points of each pixel}

    Args:
        scene: Images (B, C, H, W).
        layer: What is laid on (B, C, h, w).
        alpha: How much of it covers (B, 1, h, w): 0 where the scene shows through.
        matrix: From the sticker to the scene (B, 3, 3), on (row, column, 1) in pixels from either middle.
        supersample: Points along each side of a pixel; take about 1 / size where a sticker is made much
            smaller.
    """
    height, width = scene.shape[2:]
    down, right = (
        part / supersample for part in centered_grid(height * supersample, width * supersample, matrix)
    )
    # Inverse mapping at supersample^2 points per pixel; points behind the camera (depth <= 0) see nothing.
    # Average, then composite with premultiplied alpha.
    back = torch.linalg.inv(matrix)
    row, column, depth = (
        back[:, axis, 0, None, None] * down
        + back[:, axis, 1, None, None] * right
        + back[:, axis, 2, None, None]
        for axis in range(3)
    )
    middle = [(side - 1) / 2 for side in layer.shape[2:]]
    layers = torch.cat((alpha * layer, alpha), 1)
    in_front = depth > 0
    depth = torch.where(in_front, depth, 1)
    seen = resample(layers, row / depth + middle[0], column / depth + middle[1], 0.0)
    seen = F.avg_pool2d(torch.where(in_front[:, None], seen, 0), supersample)
    return scene * (1 - seen[:, -1:]) + seen[:, :-1]
