"""Whatever a net returns becomes logits, or a clear refusal."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quintain.core.errors import ModelError
from quintain.models.adapters import adapt

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


@given(batch=st.integers(1, 5), column=st.booleans(), scale=st.floats(0.1, 20))
def test_one_logit_is_the_second_class_against_zero(batch, column, scale):
    z = torch.linspace(-scale, scale, batch)
    logits = adapt(z[:, None] if column else z, batch)
    assert logits.shape == (batch, 2)
    assert torch.allclose(logits.softmax(1)[:, 1], z.sigmoid())
    assert torch.equal(logits.argmax(1), (z > 0).long())


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
