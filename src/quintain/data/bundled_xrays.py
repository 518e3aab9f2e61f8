"""The chest X-rays that come with the package."""

from pathlib import Path

from quintain.data.npz import load_npz
from quintain.data.splits import Splits

NAME = "xrays"
"""Under which they are registered, whatever files lie about: they are public, and may be shown."""

BUNDLED = Path(__file__).parent / "bundled" / "pneumoniamnist.npz"


def xrays() -> Splits:
    """PneumoniaMNIST: 28x28 grey chest X-rays of children, normal (0) or pneumonia (1).

    Train 4,708 (1,214 / 3,494), val 524 (135 / 389), test 624 (234 / 390): "always pneumonia" is right on 62.5 % of the test X-rays.

    Source: Kermany et al., 2018; MedMNIST v2, Yang et al., 2023. CC BY 4.0, see ``bundled/NOTICE``.
    """
    return load_npz(BUNDLED, name=NAME, class_names=("normal", "pneumonia"))
