"""Data sets known by name; each target is called without arguments and returns its ``Splits``."""

from quintain.core.registry import Entry

CATALOGUE = (
    Entry(
        "dataset",
        "xrays",
        "quintain.data.bundled_xrays:xrays",
        "PneumoniaMNIST: 28x28 gray chest X-rays of children, normal or pneumonia; train 4,708, val 524, "
        "test 624 (bundled, CC BY 4.0)",
        facts=(("noun", "X-rays"),),
    ),
)
