"""Accountants by name."""

from quintain.core.errors import SettingError, UnknownNameError
from quintain.dp.opacus.accountants.accountant import IAccountant
from quintain.dp.opacus.accountants.gdp import GaussianAccountant
from quintain.dp.opacus.accountants.pld import PLDAccountant
from quintain.dp.opacus.accountants.prv import PRVAccountant
from quintain.dp.opacus.accountants.rdp import RDPAccountant
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = ["create_accountant", "register_accountant"]
__getattr__ = missing_name_getattr(__name__)


_ACCOUNTANTS: dict[str, type[IAccountant]] = {
    "pld": PLDAccountant,
    "prv": PRVAccountant,
    "rdp": RDPAccountant,
    "gdp": GaussianAccountant,
}


def register_accountant(mechanism: str, accountant: type[IAccountant], force: bool = False) -> None:
    """Add an accountant that ``create_accountant`` can make.

    Raises:
        SettingError: If the name is taken and ``force`` is not set.
    """
    if mechanism in _ACCOUNTANTS and not force:
        raise SettingError(
            f"accountant {mechanism!r} is registered already; expected a new name, or force=True to replace "
            "it"
        )
    _ACCOUNTANTS[mechanism] = accountant


def create_accountant(mechanism: str) -> IAccountant:
    """A fresh accountant: "pld", "prv", "rdp" or "gdp".

    Raises:
        UnknownNameError: If there is none of the name.
    """
    if mechanism not in _ACCOUNTANTS:
        raise UnknownNameError("accountant", mechanism, _ACCOUNTANTS)
    return _ACCOUNTANTS[mechanism]()
