"""Nets of files that differ in one number, wherever the program holds it, have different hashes."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from quintain.models.fingerprint import fingerprint

HEAD = """
import enum, functools
from functools import cached_property, partial, partialmethod, singledispatchmethod
from torch import nn
"""

PROGRAMS = {
    "cached_property": """
class Net(nn.Module):
    @cached_property
    def scale(self): return NUMBER
    def forward(self, x): return x * self.scale
""",
    "partialmethod": """
def times(self, x, k): return x * k
class Net(nn.Module):
    forward = partialmethod(times, k=NUMBER)
""",
    "singledispatchmethod": """
class Net(nn.Module):
    @singledispatchmethod
    def scaled(self, x): return x * NUMBER
    def forward(self, x): return self.scaled(x)
""",
    "singledispatch": """
@functools.singledispatch
def scaled(x): return x
@scaled.register
def _(x: object): return x * NUMBER
class Net(nn.Module):
    def forward(self, x): return scaled(x)
""",
    "own descriptor": """
class lazy:
    def __init__(self, function): self.function = function
    def __get__(self, owner, kind=None): return self.function(owner)
class Net(nn.Module):
    @lazy
    def scale(self): return NUMBER
    def forward(self, x): return x * self.scale
""",
    "decorator that is a class": """
class logged:
    def __init__(self, function): self.function = function
    def __get__(self, owner, kind=None): return partial(self.function, owner)
class Net(nn.Module):
    @logged
    def forward(self, x): return x * NUMBER
""",
    "enumeration": """
class Mode(enum.Enum):
    SIGN = NUMBER
class Net(nn.Module):
    def forward(self, x): return x * Mode.SIGN.value
""",
    "enumeration of numbers": """
class Temperature(float, enum.Enum):
    HIGH = NUMBER
class Net(nn.Module):
    def forward(self, x): return x * Temperature.HIGH
""",
    "object of its own class": """
class Settings:
    def __init__(self, k): self.k = k
Settings.default = Settings(NUMBER)
class Net(nn.Module):
    def forward(self, x): return x * Settings.default.k
""",
    "constant with underscores": """
class Net(nn.Module):
    __scale__ = NUMBER
    def forward(self, x): return x * self.__scale__
""",
    "property of a metaclass": """
class Meta(type):
    @property
    def scale(cls): return NUMBER
class Net(nn.Module, metaclass=Meta):
    def forward(self, x): return x * type(self).scale
""",
}


def net_of(folder: Path, program: str, number: str) -> nn.Module:
    folder.mkdir()
    (folder / "net_to_hash.py").write_text(HEAD + program.replace("NUMBER", number))
    spec = importlib.util.spec_from_file_location("net_to_hash", folder / "net_to_hash.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: nn.Module = module.Net()
    return made.eval()


@pytest.mark.parametrize("name", PROGRAMS)
def test_one_number_makes_another_net(name: str, tmp_path: Path) -> None:
    hashes = [
        fingerprint(net_of(tmp_path / folder, PROGRAMS[name], number))
        for folder, number in (("one", "1"), ("again", "1"), ("other", "-1"))
    ]
    assert hashes[0] == hashes[1]
    assert hashes[0] != hashes[2]


@pytest.mark.parametrize("name", PROGRAMS)
def test_running_such_a_net_leaves_its_hash(name: str, tmp_path: Path) -> None:
    net = net_of(tmp_path / "net", PROGRAMS[name], "3")
    before = fingerprint(net)
    assert torch.equal(net(torch.ones(2)), torch.full((2,), 3.0))
    assert fingerprint(net) == before


def test_what_a_net_uses_of_another_file_of_its_own_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
import helper_to_hash
class Net(nn.Module):
    def forward(self, x): return helper_to_hash.act(x)
"""
    hashes = []
    for number in ("1", "1", "-1"):
        home = tmp_path / f"home{len(hashes)}"
        home.mkdir()
        (home / "helper_to_hash.py").write_text(f"UNUSED = {len(hashes)}\ndef act(x): return x * {number}\n")
        monkeypatch.syspath_prepend(home)
        sys.modules.pop("helper_to_hash", None)
        hashes.append(fingerprint(net_of(home / "net", program, number)))
    sys.modules.pop("helper_to_hash", None)
    assert hashes[0] == hashes[1] != hashes[2]


NAMED_ALIKE = """
scale = shift = width = 1
class Net(nn.Module):
    width = 2
    def __init__(self):
        super().__init__()
        self.scale = 2
    def forward(self, x):
        inner = lambda x: x * self.scale + shift
        return inner(x) * self.width
"""


def test_a_global_counts_where_it_is_read_and_not_where_an_attribute_is_called_the_same(
    tmp_path: Path,
) -> None:
    net = net_of(tmp_path / "net", NAMED_ALIKE, "")
    before, program = fingerprint(net), type(net).forward.__globals__
    for name, counts in (("scale", False), ("width", False), ("shift", True)):
        program[name] = 5
        assert (fingerprint(net) != before) is counts
        program[name] = 1
    assert fingerprint(net) == before
    net.scale = 5
    assert fingerprint(net) != before


@pytest.mark.parametrize(
    "body",
    [
        "scale * x",
        "(lambda: scale)() * x",
        "[scale * one for one in [x]][0]",
        "self.scale * x * scale",
        "settings.scale * x",
        "self.settings.scale * x",
    ],
)
def test_a_global_that_is_read_counts_however_it_is_read(tmp_path: Path, body: str) -> None:
    program = f"""
import types
settings = types.ModuleType("settings")
scale = settings.scale = NUMBER
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.settings, self.scale = settings, 1
    def forward(self, x):
        return {body}
"""
    hashes = [
        fingerprint(net_of(tmp_path / folder, program, number))
        for folder, number in (("one", "1"), ("again", "1"), ("other", "-1"))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
