"""Nets and functions that compute differently have different hashes, and one hash in each process."""

import argparse
import collections
import contextlib
import enum
import functools
import io
import json
import os
import runpy
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quintain.core.errors import ModelError
from quintain.models import BlackBox
from quintain.models.fingerprint import fingerprint

SCALE = 1.0


class Holder(nn.Module):
    """A linear layer, and attributes beside it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__()
        self.line = filled(nn.Linear(2, 2))
        vars(self).update(attributes)

    def forward(self, x):
        return self.line(x)


class Scripted(nn.Module):
    """A net whose factor is an attribute of the compiled program."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


class Predictor:
    """A model as scikit-learn and others have them."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def predict_proba(self, x):
        return x @ self.inner

    def __call__(self, x):
        return self.predict_proba(x)


class Slotted:
    """An object without a dictionary."""

    __slots__ = ("weights",)

    def __init__(self, weights: Any) -> None:
        self.weights = weights


class Relus(enum.Enum):
    RELU = (F.relu,)
    GELU = (F.gelu,)


class Both(enum.Flag):
    X = 1
    Y = 2


class Opaque:
    """An object whose ``repr`` is its address."""


class Held(enum.Enum):
    ONE = Opaque()


@dataclass
class Config:
    depth: int = 1
    other: object = field(default_factory=Opaque)


class Addressed(int):
    """A number whose ``repr`` is its address."""

    def __repr__(self):
        return object.__repr__(self)


def filled(net: nn.Module, value: float = 1.0) -> nn.Module:
    for parameter in net.parameters():
        nn.init.constant_(parameter, value)
    return net


def times(factor):
    def act(x):
        return x * factor

    return act


def encoder(**settings: Any) -> nn.Module:
    chosen = {"d_model": 6, "nhead": 2, "dim_feedforward": 8, "batch_first": True, **settings}
    return filled(nn.TransformerEncoderLayer(**chosen))


def quantized(value: float) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(
            filled(nn.Sequential(nn.Linear(2, 2)), value), {nn.Linear}
        )


def hooked(hook: Callable[..., Any], *, before: bool = False) -> nn.Module:
    net = Holder()
    (net.line.register_forward_pre_hook if before else net.line.register_forward_hook)(hook)
    return net


def after(factor):
    return lambda module, args, output: output * factor


def wrapped(body: Callable[[Any], Any]) -> nn.Module:
    net = filled(nn.Sequential(nn.Linear(2, 2)))
    inner = net.forward

    @functools.wraps(inner)
    def forward(x):
        return body(inner(x))

    net.forward = forward
    return net


def negated() -> nn.Module:
    net = filled(nn.Sequential(nn.Linear(2, 2)))
    inner = net.forward
    net.forward = functools.wraps(inner)(lambda x: -inner(x))
    return net


def doubled() -> nn.Module:
    net = filled(nn.Sequential(nn.Linear(2, 2)))
    inner = net.forward
    net.forward = functools.wraps(inner)(lambda x: 2 * inner(x))
    return net


def scripted(factor: float) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(Scripted(factor))


def compiled_function(sign: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.CompilationUnit(f"def f(x):\n    return x {sign} 1\n").f


def weight_normed(dim: int) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nn.utils.weight_norm(filled(nn.Linear(2, 2)), dim=dim)


def in_file(text: str, name: str = "f") -> Any:
    """What a text without a file defines under a name."""
    space: dict[str, Any] = {"__name__": "users", "nn": nn}
    exec(text, space)
    return space[name]


def reads_global(value: object) -> Callable[..., Any]:
    space: dict[str, Any] = {"__name__": "users", "W": value}
    exec("def f(x):\n    return g(x)\ndef g(x):\n    return x @ W", space)
    return space["f"]


def with_attribute(value):
    def predict(x):
        return x @ predict.weights

    predict.weights = value
    return predict


EYE = np.eye(2, dtype=np.float32)
LAMBDAS = {"plus": lambda x: x + 1, "minus": lambda x: x - 1}

NETS = {
    "what an average counts": (nn.AvgPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1, count_include_pad=False)),
    "what an average divides by": (nn.AvgPool2d(2), nn.AvgPool2d(2, divisor_override=1)),
    "aligned corners": (
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    ),
    "norm_first": (encoder(), encoder(norm_first=True)),
    "activation": (encoder(), encoder(activation="gelu")),
    "nhead": (encoder(nhead=1), encoder(nhead=6)),
    "batch_first": (encoder(), encoder(batch_first=False)),
    "approximation": (nn.GELU("none"), nn.GELU("tanh")),
    "modules in a list": (
        Holder(layers=[filled(nn.Linear(2, 2), 1.0)]),
        Holder(layers=[filled(nn.Linear(2, 2), 2.0)]),
    ),
    "modules that are hidden": (
        Holder(inner=filled(nn.Linear(2, 2), 1.0)),
        Holder(inner=filled(nn.Linear(2, 2), 2.0)),
    ),
    "mode of hidden modules": (Holder(inner=nn.Dropout()), Holder(inner=nn.Dropout().eval())),
    "closures": (Holder(act=times(1.0)), Holder(act=times(2.0))),
    "defaults": (Holder(act=lambda x, k=1.0: x * k), Holder(act=lambda x, k=2.0: x * k)),
    "lambdas of one line": (Holder(act=LAMBDAS["plus"]), Holder(act=LAMBDAS["minus"])),
    "argparse.Namespace": (Holder(args=argparse.Namespace(k=1)), Holder(args=argparse.Namespace(k=2))),
    "SimpleNamespace": (Holder(args=types.SimpleNamespace(k=1)), Holder(args=types.SimpleNamespace(k=2))),
    "classes": (Holder(act=nn.ReLU), Holder(act=nn.Tanh)),
    "objects": (Holder(act=Predictor([1])), Holder(act=Predictor([2]))),
    "slots": (Holder(act=Slotted(1)), Holder(act=Slotted(2))),
    "members": (Holder(act=Relus.RELU), Holder(act=Relus.GELU)),
    "packed weights": (quantized(1.0), quantized(-1.0)),
    "hooks": (hooked(after(1.0)), hooked(after(-1.0))),
    "hooks before": (
        hooked(functools.partial(max, 1), before=True),
        hooked(functools.partial(max, 2), before=True),
    ),
    "wrapped on the instance": (wrapped(times(1.0)), wrapped(times(-1.0))),
    "wrapped or not": (filled(nn.Sequential(nn.Linear(2, 2))), wrapped(times(-1.0))),
    "wrapped by other functions": (negated(), doubled()),
    "scripted functions": (Holder(x=compiled_function("+")), Holder(x=compiled_function("-"))),
    "scripted attributes": (scripted(1.0), scripted(2.0)),
    "dim of weight_norm": (weight_normed(0), weight_normed(1)),
    "tensors": (
        Holder(x=torch.distributions.Normal(0.0, 1.0)),
        Holder(x=torch.distributions.Normal(0.0, 2.0)),
    ),
    "itemgetter": (Holder(x=itemgetter(0)), Holder(x=itemgetter(1))),
    "cached functions": (
        Holder(x=functools.lru_cache(LAMBDAS["plus"])),
        Holder(x=functools.lru_cache(LAMBDAS["minus"])),
    ),
    "globals of the own file": (Holder(x=reads_global(EYE)), Holder(x=reads_global(-EYE))),
}

FUNCTIONS = {
    "bound methods": (Predictor(EYE).predict_proba, Predictor(-EYE).predict_proba),
    "callable objects": (Predictor(EYE), Predictor(-EYE)),
    "objects in objects": (Predictor([Predictor(EYE)]), Predictor([Predictor(-EYE)])),
    "methods of C": (EYE.dot, (-EYE).dot),
    "closures": (times(EYE), times(-EYE)),
    "partials": (functools.partial(np.dot, EYE), functools.partial(np.dot, -EYE)),
    "attributes of the function": (with_attribute(EYE), with_attribute(-EYE)),
    "globals of the own file": (reads_global(EYE), reads_global(-EYE)),
    "nets": (Predictor(filled(nn.Linear(2, 2), 1.0)), Predictor(filled(nn.Linear(2, 2), 2.0))),
}

SINGLE = {
    "member of functions": Relus.RELU,
    "member of an object": Held.ONE,
    "flags": Both.X | Both.Y,
    "constants of a function": in_file("def f(x):\n    return x if x in {'a', 'b', 'c'} else ('d', {'e'})"),
    "constants of a lambda": lambda x: x in {"a", "b", "c"},
    "set": {"x", "y", "z"},
    "set of members": {Relus.RELU, Relus.GELU},
    "counter": collections.Counter("abca"),
    "generator": torch.Generator(),
    "dataclass with an object": Config(),
    "number with an address": Addressed(3),
    "slice": slice(0, 2),
    "view of a dict": types.MappingProxyType({"a": 1}),
    "object": Opaque(),
    "weak set": {frozenset({"a", "b"}), frozenset({"c"})},
    "compiled": torch.compile(torch.relu, backend="eager"),
}


def all_hashes() -> dict[str, str]:
    nets = {f"{name} {i}": fingerprint(net) for name, pair in NETS.items() for i, net in enumerate(pair)}
    functions = {
        f"f {name} {i}": BlackBox(f).hash for name, pair in FUNCTIONS.items() for i, f in enumerate(pair)
    }
    return {**nets, **functions, **{name: fingerprint(Holder(x=value)) for name, value in SINGLE.items()}}


@pytest.fixture(scope="module")
def of_processes() -> list[dict[str, str]]:
    """The hashes of all, in this process and in one that orders its sets differently."""
    other = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    told = subprocess.run(
        [sys.executable, "-W", "ignore", __file__],
        env={**os.environ, "PYTHONHASHSEED": other},
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    here = io.StringIO()
    with contextlib.redirect_stdout(here), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runpy.run_path(__file__, run_name="__main__")
    return [json.loads(told), json.loads(here.getvalue())]


@pytest.mark.parametrize("name", NETS)
def test_nets_that_compute_differently_have_different_hashes(name):
    one, other = NETS[name]
    assert fingerprint(one) != fingerprint(other)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_that_hold_different_models_have_different_hashes(name):
    one, other = FUNCTIONS[name]
    assert BlackBox(one).hash != BlackBox(other).hash


def test_each_has_one_hash_in_each_process(of_processes):
    first, second = of_processes
    assert first.keys() == all_hashes().keys()
    assert {name for name in first if first[name] != second[name]} == set()


def test_a_net_on_another_device_is_the_same_one():
    assert fingerprint(Holder(on=torch.device("cpu"))) == fingerprint(Holder(on=torch.device("cuda", 1)))


def test_what_refers_to_registered_modules_and_to_itself_ends():
    def net(name: str) -> nn.Module:
        net = Holder()
        net.inner = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        filled(net)
        vars(net)["refers"] = [net, net.inner[0] if name == "first" else net.inner[1]]
        return net

    assert fingerprint(net("first")) != fingerprint(net("second"))
    assert fingerprint(net("first").train()) == fingerprint(net("first").eval())


def test_a_long_chain_of_objects_is_refused_with_what_to_do():
    chain = None
    for _ in range(1000):
        chain = Slotted(chain)
    with pytest.raises(ModelError, match=r"nested too deep .* hash="):
        BlackBox(Predictor(chain))
    assert BlackBox(Predictor(chain), hash="ab").hash == "ab"


def made_anew() -> Iterator[nn.Module]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.nn.utils.weight_norm(filled(nn.Linear(2, 2)))
    with torch.no_grad():
        net.weight_g.mul_(2)
    yield net
    yield nn.LSTM(2, 2)
    yield scripted(1.0)
    yield torch.compile(Holder(), backend="eager")


@pytest.mark.parametrize("net", list(made_anew()), ids=lambda net: type(net).__name__)
def test_running_a_net_leaves_its_hash(net):
    before = fingerprint(net.eval())
    net(torch.ones(1, 2))
    assert fingerprint(net) == before


if __name__ == "__main__":
    sys.stdout.write(json.dumps(all_hashes()))
