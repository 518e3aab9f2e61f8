"""Faces that are drawn by numbers: pictures of people who do not exist, which anybody may see."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset, from_arrays

Floats = npt.NDArray[np.float64]

FEATURES = (
    "skin", "width", "jaw", "hairline", "hair", "sides", "eye_distance", "eye_size", "eye_height",
    "brow_weight", "brow_slope", "brow_height", "nose_length", "nose_width",
    "mouth_width", "mouth_height", "lips", "beard",
)  # fmt: skip
"""What is a person's own, each uniform in [-1, 1]."""

POSE = (
    "turn", "growth", "right", "down", "sideways", "blink", "glance", "raise", "open", "smile",
    "light", "side_light",
)  # fmt: skip
"""What differs between pictures of a person, each normal with the standard deviation ``VARIATION``."""

VARIATION = 0.45
NOISE = 0.03
"""Standard deviation of the noise of each pixel, where black is 0 and white 1."""

ROUNDNESS = 2.3
"""Exponent of the outline of a head; 2 is an ellipse, and more is squarer."""


def draw_faces(
    people: Sequence[int],
    pictures: Sequence[int],
    *,
    size: int = 28,
    seed: int = 0,
    name: str = "drawn faces",
) -> Dataset:
    """Draw gray pictures of the faces of people who do not exist.

    A person is 18 numbers, such as the shape of the head, hair, skin, brows, eyes, nose and mouth; pictures
    of one differ in pose, light, expression and noise. Nothing is learned from faces of real people.

    Args:
        people: Numbers of the people; the label of a picture is the place of its person among them.
        pictures: Numbers of each person's pictures. A picture follows from both numbers and the seed alone,
            so that other numbers are other pictures of the same people.
        size: Side of a picture in pixels, at least 16.
        seed: Of everyone's features and of the pictures.
        name: The data set's name in results.

    Returns:
        The pictures, (n, 1, size, size), one person after another.

    Raises:
        SettingError: If there are no people or pictures, or some twice, or the size is too small.
    """
    require_at_least(16, size=size)
    for what, numbers in (("people", people), ("pictures", pictures)):
        if not len(numbers) or len(set(numbers)) != len(numbers):
            raise SettingError(f"got {what} {list(numbers)}; expected at least one number, and none twice")
    own, pose, noise = [], [], []
    for person in people:
        features = np.random.default_rng(derive_seed(seed, "drawn person", person)).uniform(
            -1, 1, len(FEATURES)
        )
        for picture in pictures:
            rng = np.random.default_rng(derive_seed(seed, "drawn picture", person, picture))
            own.append(features)
            pose.append(VARIATION * rng.standard_normal(len(POSE)))
            noise.append(NOISE * rng.standard_normal((size, size)))
    images = _render(_columns_by_name(FEATURES, own), _columns_by_name(POSE, pose), size) + np.stack(noise)
    return from_arrays(
        (255 * images.clip(0, 1)).round().astype(np.uint8),
        np.repeat(np.arange(len(people)), len(pictures)),
        name=name,
        class_names=[f"drawn person {person}" for person in people] if len(people) > 1 else (),
    )


def _columns_by_name(names: Sequence[str], rows: Sequence[Floats]) -> dict[str, Floats]:
    """Return each column of some rows by its name, shaped (n, 1, 1) to go with pictures."""
    return {name: column[:, None, None] for name, column in zip(names, np.stack(rows).T, strict=True)}


def _render(own: dict[str, Floats], pose: dict[str, Floats], size: int) -> Floats:
    """Return pictures (n, size, size) without noise, of features and poses (n, 1, 1)."""
    x, y = _coordinates(pose, size)
    soft = 2.5 / size  # edges are as wide as a pixel or two
    # Head and hair: the chin is narrower than the forehead; hair falls to its line and down the sides.
    half = (0.62 + 0.1 * own["width"]) * (1 - (0.12 + 0.12 * own["jaw"]) * y.clip(0, 1) ** 1.5)
    head = _inside(_radius(x, y - 0.03, half), 2 * soft)
    around = _radius(x, y + 0.08, half + 0.07 + 0.04 * own["sides"])
    sides = _inside(around, 2 * soft) * _below(y - 0.1 - 0.35 * own["sides"], 3 * soft)
    line = -0.5 + 0.17 * own["hairline"] + 0.25 * x**2 * (1 + own["sides"])
    hair = np.maximum(sides * (1 - head), head * _below(y - line, 2 * soft))
    # What is in the face shifts with a turn sideways; each eye has its own origin.
    x_face = x - 0.07 * pose["sideways"]
    x_eye = np.abs(x_face) - 0.27 - 0.06 * own["eye_distance"]
    y_eye = y + 0.12 - 0.05 * own["eye_height"]
    opening = (0.055 + 0.02 * own["eye_size"]) * np.exp(0.25 * pose["blink"])
    eyes = _inside(np.hypot(x_eye / (0.115 + 0.03 * own["eye_size"]), y_eye / opening), 4 * soft)
    pupils = eyes * _inside(np.hypot(x_eye - 0.03 * pose["glance"], y_eye) / 0.045, 8 * soft)
    y_brow = y_eye + 0.15 + 0.03 * own["brow_height"] + 0.015 * pose["raise"]
    y_brow = y_brow - 0.22 * (own["brow_slope"] - 0.3) * x_eye
    brows = np.maximum(np.abs(x_eye) / 0.17, np.abs(y_brow) / (0.04 + 0.025 * own["brow_weight"]))
    length = 0.2 + 0.06 * own["nose_length"]
    ridge = np.hypot(x_face / (0.05 + 0.02 * own["nose_width"]), (y_eye - 0.6 * length) / (0.6 * length))
    tip = np.hypot(x_face / (0.1 + 0.04 * own["nose_width"]), (y_eye - 1.15 * length) / 0.035)
    y_mouth = y - 0.5 - 0.07 * own["mouth_height"] + 0.36 * pose["smile"] * x_face**2
    mouth_width = (0.22 + 0.08 * own["mouth_width"]) * np.exp(0.1 * pose["open"])
    mouth = np.hypot(x_face / mouth_width, y_mouth / (0.055 + 0.03 * own["lips"]))
    # Shades, one over the other: skin, beard, nose, mouth, eyes, pupils, brows; then the head and its hair.
    dark = 0.12 + 0.12 * own["hair"]
    face = (0.6 + 0.16 * own["skin"]) * (1 - 0.3 * own["beard"].clip(0, 1) * _below(0.25 - y, 2 * soft))
    face = face + 0.1 * _inside(ridge, 6 * soft) - 0.25 * _inside(tip, 8 * soft)
    for shade, where in (
        (0.3, _inside(mouth, 4 * soft)),
        (0.85, eyes),
        (0.05, pupils),
        (dark, _inside(brows, 8 * soft)),
    ):
        face = face * (1 - where) + shade * where
    picture = 0.2 * (1 - head) + face * head
    picture = picture * (1 - hair) + (0.33 + 0.27 * own["hair"]) * hair
    return picture * (1 + 0.12 * pose["light"]) * (1 + 0.25 * pose["side_light"] * x)


def _coordinates(pose: dict[str, Floats], size: int) -> tuple[Floats, Floats]:
    """Return for each pixel where it lies in the face: (n, size, size) in x to the right and in y down."""
    centers = (np.arange(size) + 0.5) / size * 2 - 1
    right = centers[None, None, :] - 0.05 * pose["right"]
    down = centers[None, :, None] - 0.05 * pose["down"]
    cos, sin, growth = np.cos(0.08 * pose["turn"]), np.sin(0.08 * pose["turn"]), 1 + 0.05 * pose["growth"]
    return (right * cos + down * sin) / growth, (down * cos - right * sin) / growth


def _radius(x: Floats, y: Floats, half: Floats) -> Floats:
    """Return how far points are out, where 1 is the outline of a head of half a width."""
    return (np.abs(x / half) ** ROUNDNESS + np.abs(y / 0.88) ** ROUNDNESS) ** (1 / ROUNDNESS)


def _inside(radius: Floats, soft: float) -> Floats:
    """Return 1 inside, 0 outside and something between at an edge of some width, for radii about 1."""
    return _below(radius - 1, soft)


def _below(value: Floats, soft: float) -> Floats:
    """Return 1 where a value is below 0, 0 where it is above, and something between within some width."""
    return 0.5 - 0.5 * np.tanh(2 * value / soft)
