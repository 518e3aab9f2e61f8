"""Which objects, modules and files the hash of a model looks into, and which it knows by their names."""

import sys
import sysconfig
from argparse import Namespace
from functools import cache
from operator import attrgetter, itemgetter, methodcaller
from random import Random
from types import SimpleNamespace

import numpy as np
import torch

READ = (Namespace, SimpleNamespace, itemgetter, attrgetter, methodcaller)
"""Types of the standard library whose objects are read; of others (locks, files), the type counts."""

GENERATORS = (Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator, torch.Generator)
"""Sources of random numbers, whose states change with each use."""

MACHINERY = ("torch._", "torch.fx", "torch.distributed", "torch.jit", "torch.autograd", "torch.cuda")
"""Packages of PyTorch whose objects say how a net runs, not what it computes."""


def is_read(klass: type) -> bool:
    """Tell whether the attributes of a class's objects are read."""
    if issubclass(klass, GENERATORS):
        return False
    if issubclass(klass, READ) or not is_library(klass.__module__):
        return True
    from_arrays = klass.__module__.partition(".")[0] in ("torch", "numpy")
    return klass is torch.ScriptObject or (from_arrays and not klass.__module__.startswith(MACHINERY))


@cache
def is_library(module: str | None) -> bool:
    """Tell whether a module is PyTorch's, NumPy's or the standard library's, whose names tell the program."""
    top = (module or "").partition(".")[0]
    if top in ("torch", "numpy", "builtins"):
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return top in sys.stdlib_module_names and (file is None or file.startswith(sysconfig.get_path("stdlib")))


def is_installed(file: str | None) -> bool:
    """Tell whether a file is that of an installed package, or of Quintain."""
    root = __file__.removesuffix("models/hash_scope.py")
    return file is not None and ("site-packages" in file or "dist-packages" in file or file.startswith(root))
