"""The chest X-rays that come with the package."""

from pathlib import Path

from quintain.core.registry import declare
from quintain.data.npz import load_npz
from quintain.data.splits import Splits

NAME = "xrays"
"""The name under which they are registered; a file of that name does not take their place."""

BUNDLED = Path(__file__).parent / "bundled" / "pneumoniamnist.npz"


@declare(
    name=NAME,
    summary="PneumoniaMNIST: 28x28 gray chest X-rays of children, normal or pneumonia; train 4,708, val 524, "
    "test 624 (bundled, CC BY 4.0)",
    is_public=True,
    noun="X-rays",
)
def xrays() -> Splits:
    """Load PneumoniaMNIST: 28x28 gray chest X-rays of children, normal (0) or pneumonia (1).

    Train 4,708 (1,214 / 3,494), val 524 (135 / 389), test 624 (234 / 390): "always pneumonia" is right on
    62.5 % of the test X-rays.

    Source: Kermany et al., 2018; MedMNIST v2, Yang et al., 2023. CC BY 4.0, see ``bundled/NOTICE``.
    """
    return load_npz(BUNDLED, name=NAME, class_names=("normal", "pneumonia"))
