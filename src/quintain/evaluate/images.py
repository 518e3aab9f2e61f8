"""Pictures of a run: stored as lossless files known by their hash, and rows of adversarial examples."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from quintain.core.files import sha256, write_atomically
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.model import EvaluatedModel
from quintain.results.artifacts import Gallery, Picture
from quintain.results.run_layout import PICTURES
from quintain.threats.threat import Threat

PictureFrame = Literal["", "good", "bad", "reference"]


def store_picture(
    folder: Path, name: str, picture: Tensor, caption: str, frame: PictureFrame = ""
) -> Picture:
    """Write one picture as PNG.

    Args:
        folder: The run folder.
        name: File name without ending.
        picture: (C, H, W) in [0, 1], gray or RGB; clamped.
        caption: What is seen.
        frame: The color of its frame in the report.
    """
    levels = (picture.detach().cpu().double().clamp(0, 1) * 255).round().to(torch.uint8)
    image = (
        Image.fromarray(levels[0].numpy())
        if len(levels) == 1
        else Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())
    )
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    path = Path(PICTURES) / f"{name}.png"
    write_atomically(folder / path, buffer.getvalue())
    return Picture(path.as_posix(), sha256(buffer.getvalue()), caption, frame)


def drawable(shape: tuple[int, ...]) -> bool:
    """Return whether samples of this shape are pictures."""
    return len(shape) == 3 and shape[0] in (1, 3)


MAGNIFICATION = 10
"""The factor by which a change is magnified in its picture."""


@dataclass(frozen=True, slots=True)
class AdversarialExample:
    """One example that an attack broke.

    Args:
        id: Its row.
        adversarial: The adversarial example (C, H, W).
        size: Size of the change.
    """

    id: int
    adversarial: Tensor
    size: float


def gallery(
    folder: Path, subject: EvaluatedModel, data: Dataset, examples: list[AdversarialExample], threat: Threat
) -> Gallery:
    """Store the clean picture, the magnified change and the adversarial picture of each broken example."""
    if not drawable(data.shape):
        return ()
    rows = []
    for one in examples:
        clean, _ = data.batch([one.id])
        name = threat_name(threat.spec)
        stem = f"{subject.name}-{name}-{one.id}"
        change = 0.5 + MAGNIFICATION * (one.adversarial - clean[0])
        rows.append(
            (
                store_prediction(folder, f"{stem}-clean", subject, data, clean[0]),
                store_picture(
                    folder,
                    f"{stem}-change",
                    change,
                    f"change x{MAGNIFICATION}, {threat.describe_size(one.size)}",
                ),
                store_prediction(folder, f"{stem}-adversarial", subject, data, one.adversarial, "bad"),
            )
        )
    return tuple(rows)


@torch.inference_mode()
def store_prediction(
    folder: Path,
    name: str,
    subject: EvaluatedModel,
    data: Dataset,
    picture: Tensor,
    frame: Literal["", "bad"] = "",
) -> Picture:
    """Store a picture (C, H, W) with the model's prediction and its probability."""
    scores = subject.model(picture[None])[0]
    label = int(scores.argmax())
    caption = dict(enumerate(data.class_names)).get(label, str(label))
    if subject.model.access != "labels":
        caption += f" {100 * float(scores.softmax(0)[label]):.0f} %"
    return store_picture(folder, name, picture, caption, frame)
