"""What a module needs to be trained privately."""

from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.validators.module_validator import ModuleValidator
from quintain.dp.opacus.validators.utils import register_module_fixer, register_module_validator

__all__ = ["ModuleValidator", "register_module_fixer", "register_module_validator"]
__getattr__ = missing_name_getattr(__name__)
