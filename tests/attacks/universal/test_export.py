import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from quintain.attacks.universal.export import export_patch
from quintain.attacks.universal.fitted_patch import FittedPatch, cut_alpha
from quintain.attacks.universal.printing import palette
from quintain.attacks.universal.view import View
from quintain.core.errors import SettingError, StorageError


def decal(shape: str = "disc", channels: int = 3, value: float = 0.4) -> FittedPatch:
    return FittedPatch(torch.full((channels, 30, 30), value), cut_alpha(shape, 30), 0.3, View())


@pytest.mark.parametrize("centimeters", [2.0, 8.4, 12.5])
def test_a_png_is_exactly_as_large_as_asked(tmp_path: Path, centimeters: float) -> None:
    told = export_patch(decal(), tmp_path / "sticker.png", centimeters=centimeters)
    raw = (tmp_path / "sticker.png").read_bytes()
    at = raw.index(b"pHYs") + 4
    per_metre = int.from_bytes(raw[at : at + 4], "big")
    assert (per_metre, raw[at + 8]) == (12000, 1)
    with Image.open(tmp_path / "sticker.png") as picture:
        assert picture.width / per_metre * 100 == pytest.approx(centimeters + 1)
        assert f"{told.non_printability:.4f}" in picture.info["Description"]
    assert (told.width, told.height) == (centimeters, centimeters)
    assert told.page_size == pytest.approx((centimeters + 1, centimeters + 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_pdf_is_exactly_as_large_as_asked_and_says_how_printable_it_is(
    tmp_path: Path, channels: int
) -> None:
    told = export_patch(decal(channels=channels), tmp_path / "sticker.pdf", centimeters=8.4)
    raw = (tmp_path / "sticker.pdf").read_bytes()
    box = re.search(rb"/MediaBox\s*\[\s*([\d.]+)\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s*\]", raw)
    assert box is not None
    assert [float(side) / 72 * 2.54 for side in box.groups()] == pytest.approx([0, 0, 9.4, 9.4], abs=1e-4)
    spoken = re.search(rb"/Subject \((.*?)\)", raw, re.DOTALL)
    assert spoken is not None
    assert f"{told.non_printability:.4f}" in spoken[1].replace(b"\x00", b"").decode("latin-1")


def test_a_disc_lies_on_white_paper_with_a_line_to_cut_along(tmp_path: Path) -> None:
    export_patch(decal(), tmp_path / "sticker.png", centimeters=3)
    with Image.open(tmp_path / "sticker.png") as picture:
        page = np.asarray(picture)
    assert page.shape == (480, 480, 3)
    down, right = np.arange(480)[:, None] - 239.5, np.arange(480)[None] - 239.5
    radius = np.hypot(down, right)
    assert (page[radius < 174] == 102).all()
    assert (page[radius > 186] == 255).all()
    black = (page == 0).all(2)
    assert np.abs(radius[black] - 180).max() < 6
    angles = np.degrees(np.arctan2(down, right))[black].round()
    assert len(np.unique(angles)) >= 360


def test_a_rectangle_needs_no_line(tmp_path: Path) -> None:
    export_patch(decal("square"), tmp_path / "sticker.png", centimeters=3)
    with Image.open(tmp_path / "sticker.png") as picture:
        page = np.asarray(picture)
    assert set(np.unique(page).tolist()) == {102, 255}
    assert (page[:60] == 255).all()


def test_printable_colors_score_nothing(tmp_path: Path) -> None:
    plain = palette(3)[40].view(3, 1, 1).expand(3, 10, 10)
    told = export_patch(
        FittedPatch(plain, cut_alpha("disc", 10), 0.3, View()), tmp_path / "plain.png", centimeters=2
    )
    assert told.non_printability < 1e-5
    assert export_patch(decal(value=0.0), tmp_path / "black.png", centimeters=2).non_printability > 0.05


def test_an_existing_file_is_replaced_and_a_bad_path_or_size_refused(tmp_path: Path) -> None:
    for _ in range(2):
        export_patch(decal(), tmp_path / "sticker.PNG", centimeters=1)
    with pytest.raises(SettingError, match=r"neither \.png nor \.pdf"):
        export_patch(decal(), tmp_path / "sticker.jpg", centimeters=1)
    for size in (0.0, 51.0, float("nan")):
        with pytest.raises(SettingError, match="cm high"):
            export_patch(decal(), tmp_path / "sticker.png", centimeters=size)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        export_patch(decal(), tmp_path / "file" / "sticker.png", centimeters=1)
