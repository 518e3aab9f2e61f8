"""Accountants by their usual names."""

from quintain.dp.opacus.accountants.accountant import IAccountant
from quintain.dp.opacus.accountants.gdp import GaussianAccountant
from quintain.dp.opacus.accountants.prv import PRVAccountant
from quintain.dp.opacus.accountants.rdp import RDPAccountant
from quintain.dp.opacus.accountants.registry import create_accountant, register_accountant
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = [
    "GaussianAccountant",
    "IAccountant",
    "PRVAccountant",
    "RDPAccountant",
    "create_accountant",
    "register_accountant",
]
__getattr__ = missing_name_getattr(__name__)
