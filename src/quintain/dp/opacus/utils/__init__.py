"""Helpers of scripts, module by module as in Opacus."""

from quintain.dp.opacus.refused import refusing

__all__ = []
__getattr__ = refusing(__name__)
