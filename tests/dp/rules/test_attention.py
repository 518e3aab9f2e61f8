"""Attention that trains privately, beside torch's own."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.capture.hooks import _CAPTURE_OF_LAYER
from quintain.dp.opacus.layers import DPMultiheadAttention
from tests.dp.support.singles import (
    EXACT,
    TIGHT,
    built,
    captured,
    check_singles,
    clipped_sum,
    one_by_one,
    passes,
)

pytestmark = pytest.mark.rounding


class Attend(nn.Module):
    """Attention on parts of x (B, 5, 4), with masks that depend on the batch."""

    def __init__(
        self,
        parts: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] = lambda x: (x, x, x),
        mask: Callable[[int, int, int], Tensor] | None = None,
        padding: bool = False,
        call: dict[str, bool] | None = None,
        **settings: object,
    ) -> None:
        super().__init__()
        self.parts, self.mask, self.padding, self.call = parts, mask, padding, call or {}
        self.layer = nn.MultiheadAttention(4, 2, **{"batch_first": True, **settings})

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.parts(x)
        arguments: dict[str, object] = dict(self.call)
        if self.mask:
            arguments["attn_mask"] = self.mask(len(x), query.shape[1], key.shape[1])
        if self.padding:
            blocked = key[:, :, 0] > 0.3
            blocked[:, 0] = False
            arguments["key_padding_mask"] = blocked
        if not self.layer.batch_first:
            turned = {id(part): part.transpose(0, 1) for part in (query, key, value)}
            query, key, value = (turned[id(part)] for part in (query, key, value))
        out, weights = self.layer(query, key, value, **arguments)
        out = out if self.layer.batch_first else out.transpose(0, 1)
        return out if weights is None else torch.cat([out.flatten(1), weights.flatten(1)], 1)


def causal(_batch: int, queries: int, keys: int) -> Tensor:
    return torch.full((queries, keys), -torch.inf, dtype=torch.float64).triu(1)


def each_its_own(batch: int, queries: int, keys: int) -> Tensor:
    return torch.linspace(-1, 1, batch * 2 * queries * keys, dtype=torch.float64).view(
        batch * 2, queries, keys
    )


def cross(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    memory = x[:, 2:]
    return x[:, :3], memory, memory


def narrow(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return x, x[:, :3, :2], x[:, 2:, 1:]


PLAIN = {"call": {"need_weights": False}}
CASES: dict[str, dict[str, object]] = {
    "self": PLAIN,
    "weights": {},
    "weights of each head": {"call": {"average_attn_weights": False}},
    "without bias": {"bias": False, **PLAIN},
    "positions first": {"batch_first": False, **PLAIN},
    "positions first, weights": {"batch_first": False},
    "cross": {"parts": cross, **PLAIN},
    "cross, positions first": {"parts": cross, "batch_first": False, **PLAIN},
    "query and value the same": {"parts": lambda x: (x, x.flip(1), x), **PLAIN},
    "three inputs": {"parts": lambda x: (x, x.flip(1), x.sin()), **PLAIN},
    "keys and values of other widths": {"parts": narrow, "kdim": 2, "vdim": 3, **PLAIN},
    "keys and values of other widths, without bias": {"parts": narrow, "kdim": 2, "vdim": 3, "bias": False},
    "one more key": {"add_bias_kv": True, **PLAIN},
    "one more key, cross, masks": {
        "add_bias_kv": True,
        "parts": cross,
        "mask": causal,
        "padding": True,
        **PLAIN,
    },
    "a zero key": {"add_zero_attn": True, **PLAIN},
    "two more keys, masks, weights": {
        "add_bias_kv": True,
        "add_zero_attn": True,
        "mask": causal,
        "padding": True,
    },
    "mask": {"mask": causal, **PLAIN},
    "mask of truth values": {"mask": lambda *shape: causal(*shape).isinf(), **PLAIN},
    "padding": {"padding": True, **PLAIN},
    "padding and mask of truth values": {
        "padding": True,
        "mask": lambda *shape: causal(*shape).isinf(),
        **PLAIN,
    },
    "causal": {"mask": causal, "call": {"is_causal": True, "need_weights": False}},
    "causal, one more key": {
        "mask": causal,
        "add_bias_kv": True,
        "call": {"is_causal": True, "need_weights": False},
    },
    "causal, padding": {"mask": causal, "padding": True, "call": {"is_causal": True, "need_weights": False}},
    "causal, weights": {"mask": causal, "call": {"is_causal": True}},
}


def batch(examples: int, *shape: int) -> Tensor:
    return torch.randn(
        examples, *(shape or (5, 4)), generator=torch.Generator().manual_seed(examples), dtype=torch.float64
    )


@pytest.mark.parametrize("kind", CASES)
def test_outputs_are_those_of_torch(kind: str) -> None:
    net, x = built(Attend(**CASES[kind])), batch(4).requires_grad_()
    plain = copy.deepcopy(net)
    captured(net)
    torch.testing.assert_close(net(x), plain(x), **EXACT)
    slopes = [torch.autograd.grad(each(x).sin().sum(), x)[0] for each in (net, plain)]
    torch.testing.assert_close(*slopes, **EXACT)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("examples", [0, 1, 5])
@pytest.mark.parametrize("kind", CASES)
def test_gradients_are_those_of_single_examples(kind: str, examples: int, mean: bool) -> None:
    check_singles(built(Attend(**CASES[kind])), batch(examples), mean=mean)


def test_a_mask_for_each_example_and_head_gives_the_outputs_of_torch() -> None:
    net, x = built(Attend(mask=each_its_own, padding=True, **PLAIN)), batch(3)
    plain = copy.deepcopy(net)
    captured(net)
    torch.testing.assert_close(net(x), plain(x), **EXACT)


@settings(max_examples=25, deadline=None)
@given(
    heads=st.integers(1, 3),
    width=st.integers(1, 3),
    queries=st.integers(1, 4),
    keys=st.integers(1, 4),
    examples=st.integers(1, 4),
    first=st.booleans(),
    more=st.booleans(),
)
def test_attention_of_any_shape(
    heads: int, width: int, queries: int, keys: int, examples: int, first: bool, more: bool
) -> None:
    net = Attend(lambda x: (x[:, :queries], x[:, queries:], x[:, queries:]), batch_first=first, **PLAIN)
    net.layer = nn.MultiheadAttention(heads * width, heads, batch_first=first, add_bias_kv=more)
    check_singles(built(net), batch(examples, queries + keys, heads * width), mean=True)


@pytest.mark.parametrize(
    "frozen", ["in_proj_weight", "in_proj_bias", "bias_k", "out_proj.weight", "out_proj.bias"]
)
def test_a_frozen_part_does_not_count(frozen: str) -> None:
    net = built(Attend(add_bias_kv=True, **PLAIN))
    net.layer.get_parameter(frozen).requires_grad_(False)
    check_singles(net, batch(3), mean=True)


@pytest.mark.parametrize("trained", ["in_proj_weight", "bias_v", "out_proj.weight"])
def test_all_but_one_part_may_be_frozen(trained: str) -> None:
    net = built(Attend(add_bias_kv=True, **PLAIN)).requires_grad_(False)
    net.layer.get_parameter(trained).requires_grad_(True)
    check_singles(net, batch(3), mean=True)


def test_a_layer_that_is_used_twice_adds_up_before_the_norm() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            once = self.layer(x, x, x)[0]
            return self.layer(once, x, x)[0]

    check_singles(built(Twice()), batch(3), mean=False)


def test_an_example_that_is_not_finite_is_left_out() -> None:
    net, x = built(Attend(add_bias_kv=True, **PLAIN)), batch(4)
    without = clipped_sum(passes(net, x[1:], torch.sum)[0], 0.5, mean=False)
    x[0, 2, 1] = torch.nan
    found = clipped_sum(passes(net, x, torch.sum)[0], 0.5, mean=False)
    assert found.factors[0] == 0
    for parameter in net.parameters():
        torch.testing.assert_close(found.total[parameter], without.total[parameter], **TIGHT)


def test_dropout_draws_as_in_torch_and_only_in_training() -> None:
    net, x = built(Attend(dropout=0.4)), batch(4)
    plain = copy.deepcopy(net)
    captured(net)
    outs = []
    for each in (net, plain):
        torch.manual_seed(1)
        outs.append(each(x))
    torch.testing.assert_close(*outs, **EXACT)
    same = net(x[:1].repeat(64, 1, 1))
    assert not torch.equal(same[0], same[1])
    net.layer.eval()
    plain.layer.eval()
    torch.testing.assert_close(net(x), plain(x), **EXACT)


def test_copies_evaluation_and_what_is_left_after_removal_run_torch_s_forward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[nn.Module] = []
    forward = nn.MultiheadAttention.forward
    monkeypatch.setattr(
        nn.MultiheadAttention,
        "forward",
        lambda layer, *args, **kwargs: calls.append(layer) or forward(layer, *args, **kwargs),
    )
    net, x = built(Attend(**PLAIN)), batch(2)
    capture = captured(net)
    twin = copy.deepcopy(net)
    assert type(net.layer) is type(twin.layer) is nn.MultiheadAttention
    assert net.state_dict().keys() == twin.state_dict().keys()
    net(x)
    assert not calls
    twin(x).sum().backward()
    assert calls == [twin.layer]
    assert twin.layer.in_proj_weight.grad is not None
    net.eval()(x)
    with torch.no_grad():
        net.train()(x)
    assert calls == [twin.layer, net.layer, net.layer]
    capture.remove()
    assert "forward" not in vars(net.layer)
    assert net.layer not in _CAPTURE_OF_LAYER
    net(x).sum().backward()
    assert calls[-1] is net.layer
    assert net.layer.in_proj_weight.grad is not None
    twin.zero_grad()
    check_singles(twin, x, mean=True)


def test_unfit_calls_are_refused() -> None:
    net, x = built(Attend(**PLAIN)), batch(2)
    captured(net)
    assert net(x).shape == x.shape

    class Raw(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, *args: Tensor, **kwargs: bool) -> Tensor:
            return self.layer(*args, need_weights=False, **kwargs)[0]

    raw = Raw().double()
    captured(raw)
    with pytest.raises(PrivacyError, match="without a batch"):
        raw(x[0], x[0], x[0])
    with pytest.raises(PrivacyError, match="as many keys"):
        raw(x, x[:1], x[:1])
    with pytest.raises(SettingError, match="attn_mask"):
        raw(x, x, x, is_causal=True)
    own = nn.MultiheadAttention(4, 2)
    own.forward = lambda *args: args
    with pytest.raises(PrivacyError, match="forward of its own"):
        captured(own)


def test_second_derivatives_are_refused() -> None:
    net, x = built(Attend(**PLAIN)), batch(2).requires_grad_()
    captured(net)
    with pytest.raises(PrivacyError, match="create_graph"):
        torch.autograd.grad(net(x).sum(), x, create_graph=True)


def test_the_name_that_scripts_import_is_the_same_layer() -> None:
    net = Attend(**PLAIN)
    net.layer = DPMultiheadAttention(4, 2, batch_first=True)
    assert net.layer.state_dict().keys() == nn.MultiheadAttention(4, 2).state_dict().keys()
    check_singles(built(net), batch(2), mean=True)


def test_single_gradients_that_are_missed_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutation: the last projection past its hook."""
    net, x = built(Attend(**PLAIN)), batch(3)
    expected = one_by_one(net, x)
    monkeypatch.setattr(
        nn.modules.linear.NonDynamicallyQuantizableLinear,
        "__call__",
        lambda layer, x: x @ layer.weight.mT + layer.bias,
    )
    (turn,) = passes(net, x, torch.sum)
    assert len(turn.gradients) < len(expected[0])
