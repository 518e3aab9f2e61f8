"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

EXPORTS: dict[str, str] = {
    "BitSqueeze": "quintain.models.preprocessing.squeezing",
    "GaussianFilter": "quintain.models.preprocessing.filters",
    "JPEG": "quintain.models.preprocessing.jpeg",
    "MeanFilter": "quintain.models.preprocessing.filters",
    "MedianFilter": "quintain.models.preprocessing.filters",
    "RandomResize": "quintain.models.preprocessing.resizing",
}
