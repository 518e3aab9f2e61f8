"""Which objects, modules and files enter the hash of a model by their contents, and which by name alone."""

import sys
import sysconfig
from argparse import Namespace
from functools import cache
from operator import attrgetter, itemgetter, methodcaller
from random import Random
from types import SimpleNamespace

import numpy as np
import torch

READ_TYPES = (Namespace, SimpleNamespace, itemgetter, attrgetter, methodcaller)
"""Types of the standard library whose objects are hashed by their attributes; of others (locks, files), only
the type is hashed.
"""

GENERATORS = (Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator, torch.Generator)
"""Sources of random numbers, whose states change with each use."""

RUNTIME_PACKAGES = ("torch._", "torch.fx", "torch.distributed", "torch.jit", "torch.autograd", "torch.cuda")
"""Packages of PyTorch whose objects say how a net runs, not what it computes."""


def is_read(klass: type) -> bool:
    """Tell whether the objects of a class are hashed by their attributes."""
    if issubclass(klass, GENERATORS):
        return False
    if issubclass(klass, READ_TYPES) or not is_library(klass.__module__):
        return True
    from_arrays = klass.__module__.partition(".")[0] in ("torch", "numpy")
    return klass is torch.ScriptObject or (from_arrays and not klass.__module__.startswith(RUNTIME_PACKAGES))


@cache
def is_library(module: str | None) -> bool:
    """Tell whether a module is of PyTorch, NumPy or the standard library, whose code is hashed by name."""
    top = (module or "").partition(".")[0]
    if top in ("torch", "numpy", "builtins"):
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return top in sys.stdlib_module_names and (file is None or file.startswith(sysconfig.get_path("stdlib")))


def is_installed(file: str | None) -> bool:
    """Tell whether a file is that of an installed package, or of Quintain."""
    root = __file__.removesuffix("models/hash_scope.py")
    return file is not None and ("site-packages" in file or "dist-packages" in file or file.startswith(root))
