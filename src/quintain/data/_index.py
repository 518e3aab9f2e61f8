"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.data.bundled_xrays import xrays as xrays

EXPORTS: dict[str, str] = {
    "Batch": "quintain.data.dataset",
    "Dataset": "quintain.data.dataset",
    "Splits": "quintain.data.splits",
    "check_data": "quintain.data.checks",
    "from_arrays": "quintain.data.dataset",
    "from_torch": "quintain.data.torch_source",
    "load_data": "quintain.data.loading",
    "xrays": "quintain.data.bundled_xrays",
}

ENTRIES: tuple[Entry, ...] = (
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
