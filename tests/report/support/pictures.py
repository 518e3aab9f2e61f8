"""Pictures drawn from nothing, stored as a run stores them."""

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from quintain.results.artifacts import Picture


def store(folder: Path, name: str, image: np.ndarray, caption: str, mark: str = "") -> Picture:
    """A grey picture as a PNG of the run folder."""
    buffer = io.BytesIO()
    Image.fromarray((np.clip(image, 0, 1) * 255).astype(np.uint8)).save(buffer, "PNG")
    path = Path("pictures") / f"{name}.png"
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(buffer.getvalue())
    return Picture(path.as_posix(), hashlib.sha256(buffer.getvalue()).hexdigest(), caption, mark)  # type: ignore[arg-type]


def xray(seed: int) -> np.ndarray:
    """Something that looks like a chest from far away."""
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[0:28, 0:28] / 27.0
    image = 0.75 - 0.25 * np.abs(x - 0.5) + 0.1 * draw.random()
    for centre in (0.28, 0.72):
        lung = ((x - centre - 0.02 * draw.standard_normal()) / 0.15) ** 2 + ((y - 0.48) / 0.3) ** 2
        image -= (0.35 + 0.15 * draw.random()) * np.exp(-(lung**2))
    return np.clip(image + 0.02 * draw.standard_normal(image.shape), 0, 1)
