"""From a finished sticker to a sheet of paper: PNG or PDF, in centimeters."""

import io
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor
from torch.nn import functional

from quintain.attacks.universal.fitted_patch import FittedPatch
from quintain.attacks.universal.printing import non_printability, palette
from quintain.core.errors import SettingError
from quintain.core.files import write_atomically
from quintain.threats.warp import resample

PER_CENTIMETER = 120
"""Pixels: 304.8 to the inch, so that a centimeter is a whole number of them and PNG's pixels per metre are
exact.
"""

MARGIN = 0.5
"""Centimeters of white paper round a sticker."""

LARGEST = 50.0
LINE = 2
"""Pixels: the width of the cutting line, a sixth of a millimetre."""


@dataclass(frozen=True, slots=True)
class Printout:
    """A sheet that was written.

    Args:
        path: Where.
        width, height: Of the sticker, in centimeters.
        page_size: Width and height of the page, in centimeters.
        non_printability: Mean distance of its colors to the nearest printable one, in the units of the data;
            0 is printable.
    """

    path: Path
    width: float
    height: float
    page_size: tuple[float, float]
    non_printability: float


def export_patch(patch: FittedPatch, path: str | Path, *, centimeters: float) -> Printout:
    """Write a sticker as a page to be printed at its true size (100 %).

    A sticker that is not a full rectangle gets a line to cut along.

    The page is the sticker and a white margin. The PNG holds its size as pixels per metre, the PDF as its
    page; both carry the non-printability score, as text or as the document's subject.

    Args:
        patch: The sticker; on paper it has the colors that it was fitted with.
        path: Ends in ``.png`` or ``.pdf``; an existing file is replaced.
        centimeters: Height of the sticker. It is rounded to whole pixels, a 120th of a centimeter.

    Raises:
        SettingError: If the path ends otherwise, or the height is not between 0.1 and 50 cm.
        StorageError: If the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf"):
        raise SettingError(f"{path.name} is neither .png nor .pdf; expected one of the two")
    if not 0.1 <= centimeters <= LARGEST:
        raise SettingError(f"a sticker {centimeters} cm high; expected 0.1 to {LARGEST:g} cm")
    nps = float(non_printability(patch.pattern, palette(patch.pattern.shape[0]), patch.alpha))
    page, (rows, columns) = render_sheet(patch, centimeters)
    picture = Image.fromarray((page * 255).round().to(torch.uint8).permute(1, 2, 0).squeeze(2).cpu().numpy())
    written, description = io.BytesIO(), f"non-printability score {nps:.4f}; print at 100 %"
    if path.suffix.lower() == ".png":
        notes = PngInfo()
        notes.add_text("Description", description)
        picture.save(written, "PNG", dpi=(PER_CENTIMETER * 2.54,) * 2, pnginfo=notes)
    else:
        picture.save(
            written, "PDF", resolution=PER_CENTIMETER * 2.54, quality=95, title="Sticker", subject=description
        )
    write_atomically(path, written.getvalue())
    size = picture.width / PER_CENTIMETER, picture.height / PER_CENTIMETER
    return Printout(path, columns / PER_CENTIMETER, rows / PER_CENTIMETER, size, nps)


def render_sheet(patch: FittedPatch, centimeters: float) -> tuple[Tensor, tuple[int, int]]:
    """Return the page (C, H, W) in [0, 1], and height and width of its sticker, in pixels of the paper."""
    rows = max(1, round(centimeters * PER_CENTIMETER))
    columns = max(1, round(rows * patch.pattern.shape[2] / patch.pattern.shape[1]))
    margin = math.ceil(MARGIN * PER_CENTIMETER)
    # paper pixel -> pattern coordinate; colors of the nearest edge, alpha cut at 0.5, a line of 2 pixels
    # round the cut
    down, right = (
        ((torch.arange(paper + 2 * margin) - margin + 0.5) * (own / paper) - 0.5).to(patch.pattern)
        for paper, own in zip((rows, columns), patch.pattern.shape[1:], strict=True)
    )
    down, right = down[:, None].expand(1, -1, len(right)), right.expand(1, len(down), -1)
    colors = resample(patch.pattern[None], down, right)[0]
    inside = (resample(patch.alpha[None], down, right, 0.0)[0] >= 0.5).to(colors)
    page = colors * inside + (1 - inside)
    if bool((patch.alpha < 0.5).any()):
        around = functional.max_pool2d(inside, 2 * LINE + 1, 1, LINE) - inside
        page = torch.where(around > 0, 0.0, page)
    return page, (rows, columns)
