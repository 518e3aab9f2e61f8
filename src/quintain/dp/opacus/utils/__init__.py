"""The modules of ``opacus.utils``, under their own names."""

from quintain.dp.opacus.refused import refusing

__all__ = []
__getattr__ = refusing(__name__)
