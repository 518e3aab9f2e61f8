"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.data.bundled_xrays import xrays as xrays
    from quintain.data.synthetic_people import synthetic_faces as synthetic_faces
    from quintain.data.synthetic_people import synthetic_public_faces as synthetic_public_faces

EXPORTS: dict[str, str] = {
    "Batch": "quintain.data.dataset",
    "Dataset": "quintain.data.dataset",
    "Splits": "quintain.data.splits",
    "check_data": "quintain.data.checks",
    "draw_faces": "quintain.data.face_drawing",
    "from_arrays": "quintain.data.dataset",
    "from_torch": "quintain.data.torch_source",
    "load_data": "quintain.data.loading",
    "synthetic_faces": "quintain.data.synthetic_people",
    "synthetic_public_faces": "quintain.data.synthetic_people",
    "xrays": "quintain.data.bundled_xrays",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "dataset",
        "synthetic-faces",
        "quintain.data.synthetic_people:synthetic_faces",
        (
            "28x28 gray faces of 10 people who do not exist, drawn by numbers: train 20 pictures of each, "
            "test 5 others"
        ),
        facts=(
            ("is_public", "yes"),
            ("noun", "drawn faces"),
        ),
    ),
    Entry(
        "dataset",
        "synthetic-public-faces",
        "quintain.data.synthetic_people:synthetic_public_faces",
        (
            "28x28 gray faces of 30 other people who do not exist, drawn by numbers: test 10 pictures of "
            "each"
        ),
        facts=(
            ("is_public", "yes"),
            ("noun", "drawn faces"),
        ),
    ),
    Entry(
        "dataset",
        "xrays",
        "quintain.data.bundled_xrays:xrays",
        (
            "PneumoniaMNIST: 28x28 gray chest X-rays of children, normal or pneumonia; train 4,708, val "
            "524, test 624 (bundled, CC BY 4.0)"
        ),
        facts=(
            ("is_public", "yes"),
            ("noun", "X-rays"),
        ),
    ),
)
