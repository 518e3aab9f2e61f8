"""Pictures of fooled examples: as it was, the change, as it became."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.pictures import drawable, store_picture
from quintain.evaluate.subject import Subject
from quintain.results.artifacts import Gallery, Picture
from quintain.threats.threat import Threat

MAGNIFIED = 10


@dataclass(frozen=True, slots=True)
class Fooled:
    """One example that an attack broke.

    Args:
        id: Its row.
        adversarial: (C, H, W).
        size: Of the change.
    """

    id: int
    adversarial: Tensor
    size: float


def gallery(folder: Path, subject: Subject, data: Dataset, fooled: list[Fooled], threat: Threat) -> Gallery:
    """Store clean picture, magnified change and adversarial picture of each fooled example."""
    if not drawable(data.shape):
        return ()
    rows = []
    for one in fooled:
        clean, _ = data.batch([one.id])
        ball = threat_name(threat.spec)
        stem = f"{subject.name}-{ball}-{one.id}"
        change = 0.5 + MAGNIFIED * (one.adversarial - clean[0])
        rows.append(
            (
                answered(folder, f"{stem}-clean", subject, data, clean[0]),
                store_picture(folder, f"{stem}-change", change, f"change x{MAGNIFIED}, {_size(one.size, ball)}"),
                answered(folder, f"{stem}-adversarial", subject, data, one.adversarial, "bad"),
            )
        )
    return tuple(rows)


@torch.inference_mode()
def answered(folder: Path, name: str, subject: Subject, data: Dataset, picture: Tensor, mark: Literal["", "bad"] = "") -> Picture:
    """Store a picture (C, H, W) with what the model answers to it, and how surely."""
    scores = subject.model(picture[None])[0]
    answer = int(scores.argmax())
    caption = dict(enumerate(data.class_names)).get(answer, str(answer))
    if subject.model.access != "labels":
        caption += f" {100 * float(scores.softmax(0)[answer]):.0f} %"
    return store_picture(folder, name, picture, caption, mark)


def _size(size: float, ball: str) -> str:
    match ball:
        case "linf":
            return f"{size * 255:.1f}/255"
        case "l0":
            return f"{size:.0f} pixels"
    return f"{size:.2f}"
