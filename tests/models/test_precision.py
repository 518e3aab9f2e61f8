"""Every setting of torch that lowers float32 precision is seen, by the device that it matters on, and named
with its remedy.
"""

import warnings

import pytest
import torch

from quintain.attacks import PGD
from quintain.certify.conditions import require_bounded_rounding
from quintain.core.errors import ModelError
from quintain.data import from_arrays
from quintain.evaluate.model import predictions
from quintain.models import precision
from quintain.models.precision import (
    PrecisionSetting,
    full_precision,
    lowered_precision,
    plain_products,
    require_full_precision,
)
from quintain.threats import Linf

b = torch.backends
NEW = pytest.mark.skipif(not hasattr(b, "fp32_precision"), reason="torch 2.9 brought fp32_precision")


@pytest.fixture(autouse=True)
def torch_settings():
    """Torch's settings are global: each test finds those of a fresh process, and leaves them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fresh()
        yield
        fresh()


def fresh() -> None:
    b.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("highest")
    if hasattr(b, "fp32_precision"):
        b.fp32_precision = "none"
        b.mkldnn.set_flags(_fp32_precision="none")
        b.cudnn.fp32_precision = "none"
        for holder in (b.cuda.matmul, b.mkldnn.matmul, b.mkldnn.conv, b.mkldnn.rnn):
            holder.fp32_precision = "none"


def names(device: str, *operations) -> list[str]:
    found = lowered_precision(device, operations or ("matmul", "conv", "rnn"))
    return [one.setting.removeprefix("torch.backends.").removesuffix(".fp32_precision") for one in found]


ONEDNN = ["mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn"]
CPU = {
    "pass": [],
    "torch.set_float32_matmul_precision('high')": ["mkldnn.matmul"],
    "torch.set_float32_matmul_precision('medium')": ["mkldnn.matmul"],
    "b.fp32_precision = 'bf16'": ONEDNN,
    "b.mkldnn.matmul.fp32_precision = 'bf16'": ["mkldnn.matmul"],
    "b.mkldnn.conv.fp32_precision = 'tf32'": ["mkldnn.conv"],
    "b.mkldnn.set_flags(_fp32_precision='bf16')": ONEDNN,
    "b.cuda.matmul.allow_tf32 = True": [],
}
CUDA = {
    "pass": ["cudnn.conv", "cudnn.rnn"],
    "b.cudnn.allow_tf32 = False": [],
    "b.cudnn.allow_tf32 = False; b.cuda.matmul.allow_tf32 = True": ["cuda.matmul"],
    "b.cudnn.allow_tf32 = False; torch.set_float32_matmul_precision('high')": ["cuda.matmul"],
    "b.cudnn.conv.fp32_precision = 'ieee'; b.cudnn.rnn.fp32_precision = 'ieee'": [],
    "b.fp32_precision = 'tf32'": ["cuda.matmul", "cudnn.conv", "cudnn.rnn"],
    "b.cuda.matmul.fp32_precision = 'tf32'; b.cudnn.conv.fp32_precision = 'ieee'": [
        "cuda.matmul",
        "cudnn.rnn",
    ],
}


@NEW
@pytest.mark.parametrize(
    ("device", "line", "expected"),
    [*(("cpu", *case) for case in CPU.items()), *(("cuda:1", *case) for case in CUDA.items())],
)
def test_what_lowers_precision_is_named_and_its_remedy_works(device, line, expected):
    exec(line)
    assert names(device) == expected
    for one in lowered_precision(device):
        exec(one.remedy)
    assert names(device) == []


def test_a_net_without_convolutions_does_not_care_for_those_of_cudnn():
    assert names("cuda", "matmul") == []
    assert len(names("cuda", "conv")) == 1
    torch.set_float32_matmul_precision("high")
    assert len(names("cuda", "matmul")) == 1
    assert len(names("cuda", "conv")) == 2


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_onednn_may_be_told_by_the_environment(name, monkeypatch):
    monkeypatch.setenv(name, "STRICT")
    assert names("cpu") == []
    monkeypatch.setenv(name, "BF16")
    (found,) = lowered_precision("cpu")
    assert name in str(found)
    assert "unset" in found.remedy


def test_another_device_may_obey_either():
    assert len(names("xpu")) > 0
    b.cudnn.allow_tf32 = False
    assert names("xpu") == []
    torch.set_float32_matmul_precision("high")
    assert len(names("xpu")) > 0


def test_older_versions_are_asked_by_their_own_names(monkeypatch):
    monkeypatch.setattr(precision, "_has_fp32_precision", lambda: False)
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert names("cpu") == ["torch.get_float32_matmul_precision()"]
    assert names("cuda") == ["torch.get_float32_matmul_precision()", "cudnn.allow_tf32"]
    assert names("cuda", "matmul") == ["torch.get_float32_matmul_precision()"]


def test_the_refusal_says_what_is_set_and_how_to_switch_it_off(monkeypatch):
    require_full_precision("cpu", why="roundings are counted")
    one = PrecisionSetting("torch.backends.x", "tf32", 'torch.backends.x = "ieee"')
    monkeypatch.setattr(precision, "lowered_precision", lambda _device, _operations: (one,))
    said = (
        r"roundings are counted: torch.backends.x is 'tf32'; switch it off with `torch.backends.x = \"ieee\"`"
    )
    with pytest.raises(ModelError, match=said):
        require_full_precision("cuda", why="roundings are counted")


@NEW
def test_full_precision_is_switched_on_and_what_was_comes_back() -> None:
    b.mkldnn.conv.fp32_precision = "bf16"
    for device in ("cpu", "cuda"):
        before = names(device)
        with full_precision(torch.device(device)):
            assert names(device) == []
        assert names(device) == before != []


class Answers:
    """A model that says that it is on a GPU, and what lowers precision there at each call."""

    access, name, num_classes, hash, num_parameters = "gradients", "answers", 2, "", 0
    device, dtype = torch.device("cuda", 0), torch.float32

    def __init__(self) -> None:
        self.lowered: list[list[str]] = []

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.lowered.append(names("cuda"))
        return torch.stack([x.flatten(1).mean(1) - 0.4, 0.4 - x.flatten(1).mean(1)], 1)


@NEW
def test_the_clean_answer_and_the_confirmation_of_an_attack_have_all_bits_and_its_search_need_not() -> None:
    model, x = Answers(), torch.full((3, 4), 0.5)
    outcome = PGD(steps=3)(model, x, torch.zeros(3, dtype=torch.long), Linf(0.3))
    assert outcome.success.all()
    assert model.lowered[0] == model.lowered[-1] == []
    assert all(model.lowered[1:-1])
    assert names("cuda") == ["cudnn.conv", "cudnn.rnn"]


@NEW
def test_predictions_have_all_bits() -> None:
    model = Answers()
    predictions(model, from_arrays(torch.full((3, 4), 0.5).numpy(), [0, 1, 0]))
    assert model.lowered == [[]]
    assert names("cuda") == ["cudnn.conv", "cudnn.rnn"]


@NEW
def test_bounds_hold_for_convolutions_on_a_gpu_in_plain_products() -> None:
    net, device = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 2)).eval(), torch.device("cuda")
    with pytest.raises(ModelError, match="cuDNN"):
        require_bounded_rounding(net, device, torch.float32)
    with plain_products(device):
        require_bounded_rounding(net, device, torch.float32)
    assert b.cudnn.enabled
    with plain_products(torch.device("cpu")):
        assert b.cudnn.enabled
