"""What scripts of private training catch: why a module cannot be private."""

from quintain.core.errors import PrivacyError
from quintain.dp.opacus.refused import missing_name_getattr

__all__ = [
    "IllegalModuleConfigurationError",
    "NotYetSupportedModuleError",
    "ShouldReplaceModuleError",
    "UnsupportableModuleError",
    "UnsupportedError",
    "UnsupportedModuleError",
]
__getattr__ = missing_name_getattr(__name__)


class UnsupportedError(PrivacyError, ValueError):
    """Something that cannot be private."""


class UnsupportedModuleError(UnsupportedError):
    """A layer that cannot be private."""


class ShouldReplaceModuleError(UnsupportedModuleError):
    """A layer that ``ModuleValidator.fix`` replaces."""


class UnsupportableModuleError(UnsupportedModuleError):
    """A layer that no replacement makes private."""


class IllegalModuleConfigurationError(UnsupportedModuleError):
    """A layer that another setting makes private."""


class NotYetSupportedModuleError(UnsupportedModuleError):
    """A layer without a rule."""
