"""The accountant whose epsilon is too small, answered by another."""

import warnings

from quintain.dp.opacus.accountants.pld import PLDAccountant
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["GaussianAccountant"]
__getattr__ = missing_name_getattr(__name__)


class GaussianAccountant(PLDAccountant):
    """The name "gdp", answered by privacy loss distributions: the central limit's epsilon is too small."""

    def __init__(self) -> None:
        super().__init__()
        warnings.warn(
            'accountant "gdp" takes the sum of privacy losses for normal, by the central limit theorem, '
            "and its epsilon is then smaller than the true one; "
            'privacy loss distributions ("pld") answer in its place',
            stacklevel=2,
        )

    @classmethod
    def mechanism(cls) -> str:
        return "gdp"
