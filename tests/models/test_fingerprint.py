"""Models are one subject exactly when weights and program are the same."""

import copy
import linecache
from collections import deque
from dataclasses import dataclass
from enum import Enum
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from quintain.models import Normalize, mlp, xray_cnn
from quintain.models.fingerprint import fingerprint


class Scaled(nn.Module):
    """A program with settings that are neither weights nor buffers."""

    def __init__(self, factor=2.0, act=torch.relu, shift=None, table=None):
        super().__init__()
        self.factor = factor
        self.act = act
        self.shift = shift
        self.table = table
        self.line = nn.Linear(3, 2)
        nn.init.ones_(self.line.weight)
        nn.init.zeros_(self.line.bias)

    def forward(self, x):
        return self.line(self.act(self.factor * x))


def variant(body: str) -> type[nn.Module]:
    """A class called ``Net`` whose source can be read, as from a user's file."""
    source = f"class Net(nn.Module):\n    def forward(self, x):\n{body}\n"
    name = f"<{hash(source)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space: dict = {"nn": nn, "__name__": "users"}
    exec(compile(source, name, "exec"), space)
    return space["Net"]


@given(which=st.integers(0, 7), where=st.integers(0), bit=st.integers(0, 31))
def test_any_bit_of_any_weight_counts(which, where, bit):
    net = xray_cnn()
    before = fingerprint(net)
    weight = list(net.parameters())[which].detach().view(torch.int32).flatten()
    weight[where % weight.numel()] ^= 1 << bit if bit < 31 else -(2**31)
    assert fingerprint(net) != before


def test_a_copy_is_the_same_model_in_any_mode_and_place():
    net = xray_cnn()
    assert fingerprint(net) == fingerprint(copy.deepcopy(net))
    assert fingerprint(net.train()) == fingerprint(copy.deepcopy(net).eval())
    net.requires_grad_(False)
    assert fingerprint(net) == fingerprint(xray_cnn())
    strided = xray_cnn()
    strided[5].weight = nn.Parameter(strided[5].weight.detach().t().contiguous().t())
    assert fingerprint(strided) == fingerprint(xray_cnn())


def test_modes_count_where_they_matter():
    net = nn.Sequential(nn.Dropout(0.5), nn.Flatten())
    assert fingerprint(net.train(), include_modes=True) != fingerprint(net.eval(), include_modes=True)


def test_the_same_bytes_in_another_shape_or_type_are_other_weights():
    def holding(tensor):
        net = nn.Identity()
        net.register_buffer("kept", tensor)
        return fingerprint(net)

    tensor = torch.arange(6, dtype=torch.int32)
    assert (
        len(
            {
                holding(tensor),
                holding(tensor.view(2, 3)),
                holding(tensor.view(3, 2)),
                holding(tensor.view(torch.float32)),
            }
        )
        == 4
    )


def test_the_same_weights_under_another_program_are_another_model():
    weights = mlp().state_dict()
    plain = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(), nn.Linear(32, 2))
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.Tanh(), nn.Linear(32, 2))
    steep = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.LeakyReLU(0.1), nn.Linear(32, 2))
    steeper = nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.LeakyReLU(0.2), nn.Linear(32, 2))
    for net in (plain, smooth, steep, steeper):
        net.load_state_dict(weights)
    assert len({fingerprint(net) for net in (mlp(), plain, smooth, steep, steeper)}) == 4
    assert fingerprint(plain) == fingerprint(mlp())


def test_buffers_count_even_those_that_are_not_saved():
    assert fingerprint(Normalize([0.5], [0.2])) != fingerprint(Normalize([0.5], [0.3]))
    net = nn.Identity()
    net.register_buffer("hidden", torch.zeros(1), persistent=False)
    before = fingerprint(net)
    net.hidden += 1
    assert fingerprint(net) != before


@pytest.mark.parametrize(
    "settings",
    [
        {"factor": 3.0},
        {"act": torch.tanh},
        {"act": lambda x: x},
        {"shift": torch.zeros(3)},
        {"shift": [1, 2]},
        {"shift": (1, (2, {3}))},
        {"table": {"low": 0.0}},
        {"table": {"low": 1.0}},
        {"shift": object()},
    ],
)
def test_plain_attributes_of_the_users_own_modules_count(settings):
    assert fingerprint(Scaled(**settings)) != fingerprint(Scaled())
    assert fingerprint(Scaled(**settings)) == fingerprint(Scaled(**settings))


NUMPY = [
    np.array([0.1, 0.2]),
    np.array([0.1, 0.3]),
    np.array([0.1, 0.2], np.float32),
    np.array([[0.1, 0.2]]),
    np.array([0.1, None], object),
    np.array([0.2, None], object),
    np.float32(1),
    np.float32(2),
    np.float16(1),
    np.int64(1),
    [np.array(1.0)],
    [np.array(2.0)],
]


def test_arrays_and_numbers_of_numpy_count_with_type_shape_and_values():
    hashes = [fingerprint(Scaled(shift=value)) for value in NUMPY]
    assert len(set(hashes)) == len(NUMPY)
    assert hashes == [fingerprint(Scaled(shift=copy.deepcopy(value))) for value in NUMPY]
    strided = np.array([[0.1, 9.0], [0.2, 9.0]])[:, 0]
    assert fingerprint(Scaled(shift=strided)) == hashes[0]


def endless(item):
    value = [item]
    value.append(value)
    return value


class Setting(Enum):
    LOW = 1
    HIGH = 2


@dataclass
class Settings:
    gain: float
    layers: list


NESTED = [
    [[0, 1], [2, 3]],
    [[0], [1, 2, 3]],
    [0, 1, 2, 3],
    ([0, 1], [2, 3]),
    ((0, 1), (2, 3)),
    {"a": {"b": 1}, "c": 2},
    {"a": {"b": 1, "c": 2}},
    {"a": [1]},
    {"a": []},
    {"a": 1, "b": 2},
    {"b": 2, "a": 1},
    [],
    (),
    [[]],
    [None],
    [[[[[[0]]]]]],
    [[[[[[1]]]]]],
    deque([0, 1]),
    deque([0, 2]),
    range(3),
    range(4),
    slice(0, 1),
    slice(0, 2),
    bytearray(b"ab"),
    bytearray(b"ac"),
    b"ab",
    Setting.LOW,
    Setting.HIGH,
    Settings(1.0, [2]),
    Settings(1.0, [3]),
    partial(max, 1),
    partial(max, 2),
    partial(max, key=len),
    {frozenset({"a", "b"}), frozenset({"c"})},
    {frozenset({"a"}), frozenset({"b", "c"})},
    endless(1),
    endless(2),
]


def test_containers_count_with_their_type_and_how_they_are_nested():
    hashes = [fingerprint(Scaled(shift=value)) for value in NESTED]
    assert len(set(hashes)) == len(NESTED)
    assert hashes == [fingerprint(Scaled(shift=copy.deepcopy(value))) for value in NESTED]


def test_what_is_shared_counts_as_what_is_equal_and_is_looked_at_once():
    def doubled(times, again):
        value = [0]
        for _ in range(times):
            value = [value, again(value)]
        return value

    equal, shared = doubled(8, copy.deepcopy), doubled(8, lambda value: value)
    vast = doubled(64, lambda value: value)
    assert fingerprint(Scaled(shift=equal)) == fingerprint(Scaled(shift=shared))
    assert fingerprint(Scaled(shift=vast)) != fingerprint(Scaled(shift=shared))


def test_sets_count_whatever_their_order():
    assert fingerprint(Scaled(shift={"a", "b", "c"})) == fingerprint(Scaled(shift={"c", "b", "a"}))


def test_the_forward_counts_but_not_its_comments():
    one = variant("        return x + 1")
    same = variant("        # adds one\n        return   x+1")
    told = variant('        """Adds one."""\n        return x + 1')
    other = variant("        return x - 1")
    assert fingerprint(one()) == fingerprint(same()) == fingerprint(told())
    assert fingerprint(one()) != fingerprint(other())


def test_the_forward_counts_where_there_is_no_source():
    classes = []
    for sign in "+-":
        space: dict = {"nn": nn, "__name__": "nowhere"}
        exec(f"class Net(nn.Module):\n    def forward(self, x):\n        return x {sign} 1", space)
        classes.append(space["Net"])
    assert fingerprint(classes[0]()) != fingerprint(classes[1]())


def test_constants_and_inherited_methods_of_a_class_count():
    class Base(nn.Module):
        gain = 1.0

        def forward(self, x):
            return self.gain * self.inner(x)

    def made(gain_of, inner_of):
        return type("Net", (Base,), {"gain": gain_of, "inner": inner_of})()

    def plain(self, x):
        return x

    def twice(self, x):
        return 2 * x

    nets = [
        made(1.0, plain),
        made(2.0, plain),
        made(1.0, staticmethod(twice)),
        made(1.0, property(lambda self: abs)),
    ]
    assert len({fingerprint(net) for net in nets}) == 4
    assert fingerprint(made(1.0, plain)) == fingerprint(nets[0])


def test_hooks_count_and_go():
    net = mlp()
    before = fingerprint(net)
    handle = net.register_forward_hook(lambda module, args, output: output * 2)
    assert fingerprint(net) != before
    handle.remove()
    assert fingerprint(net) == before


def test_traced_programs_count():
    def trace(sign):
        class Net(nn.Module):
            def forward(self, x):
                return x + sign * x.relu()

        return torch.fx.symbolic_trace(Net())

    assert fingerprint(trace(1)) != fingerprint(trace(-1))
