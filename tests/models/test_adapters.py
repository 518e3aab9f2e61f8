"""Whatever a net returns becomes logits, or a clear refusal."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from quintain.core.errors import ModelError
from quintain.models.adapters import adapt, forward_logits

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))

WRAPPINGS = {
    "tensor": lambda z: z,
    "logits": lambda z: {"loss": torch.zeros(()), "logits": z},
    "out": lambda z: OrderedDict(out=z, aux=z + 1),
    "only tensor": lambda z: {"scores": z, "names": ["a"]},
    "tuple": lambda z: (z, torch.zeros(4, 3)),
    "list": lambda z: [z],
    "object": lambda z: SimpleNamespace(logits=z, hidden=None),
    "nested": lambda z: ({"logits": (z,)}, None),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_logits_are_found(wrap):
    assert torch.equal(adapt(wrap(LOGITS), 4), LOGITS)


def test_a_net_may_write_into_the_copy_that_it_gets():
    class Normalizing(nn.Module):
        def forward(self, x):
            return (x.sub_(0.5).div_(0.25),)

    x = torch.rand(4, 3, requires_grad=True)
    before = x.detach().clone()
    logits = forward_logits(Normalizing(), x)
    logits.sum().backward()
    assert torch.equal(x, before)
    torch.testing.assert_close(logits, (before - 0.5) / 0.25)
    assert torch.equal(x.grad, torch.full((4, 3), 4.0))


@given(batch=st.integers(1, 5), column=st.booleans(), scale=st.floats(0.1, 20))
def test_one_logit_is_the_second_class_against_zero(batch, column, scale):
    z = torch.linspace(-scale, scale, batch)
    logits = adapt(z[:, None] if column else z, batch)
    assert logits.shape == (batch, 2)
    assert torch.allclose(logits.softmax(1)[:, 1], z.sigmoid())
    assert torch.equal(logits.argmax(1), (z > 0).long())


@pytest.mark.parametrize(
    ("shape", "logits"),
    [((), [[0.0, 2.0]]), ((1,), [[0.0, 2.0]]), ((1, 1), [[0.0, 2.0]]), ((3,), [[2.0, 2.0, 2.0]])],
)
def test_one_example_may_have_lost_its_batch_dimension(shape, logits):
    assert adapt(torch.full(shape, 2.0), 1).tolist() == logits


@pytest.mark.parametrize(
    ("given_type", "got"),
    [(torch.float16, torch.float32), (torch.bfloat16, torch.float32), (torch.float64, torch.float64)],
)
def test_half_precision_is_widened_and_double_kept(given_type, got):
    assert adapt(LOGITS.to(given_type), 4).dtype == got


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"a": LOGITS, "b": LOGITS}, "dict with 'a', 'b'; expected 'logits'"),
        ({}, "dict with nothing"),
        (None, "returns NoneType"),
        ((), "returns tuple"),
        ("cat", "returns str"),
        (LOGITS.argmax(1), "int64; expected floating-point logits, not labels"),
        (LOGITS[:3], r"shape \(3, 3\) for 4 examples; expected \(4, classes\)"),
        (LOGITS[None], r"shape \(1, 4, 3\)"),
        (LOGITS.sum(), r"shape \(\)"),
        (LOGITS[:, :, None, None], r"shape \(4, 3, 1, 1\)"),
    ],
)
def test_what_holds_no_logits_is_refused(output, message):
    with pytest.raises(ModelError, match=message):
        adapt(output, 4)
