"""The modules of ``opacus.utils``, under their own names."""

from quintain.dp.opacus.refused import missing_name_getattr

__all__ = []
__getattr__ = missing_name_getattr(__name__)
