"""Modules without a rule: run again example by example, or refused."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import PrivacyError
from quintain.dp import PrivacyEngine
from quintain.dp.capture.hooks import Capture
from quintain.dp.rules import VMAP_RULE, register_rule
from tests.dp.support.owners import NETS, Alone, Borrowed, LogitScale, Scale, Vision
from tests.dp.support.singles import check_singles, passes

pytestmark = pytest.mark.filterwarnings("ignore:layer .* has no rule")


def build(kind: str) -> nn.Module:
    torch.manual_seed(11)
    return NETS[kind][0]().double()


@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("kind", NETS)
def test_modules_without_a_rule_equal_single_examples(kind: str, batch: int) -> None:
    x = torch.randn(
        batch, *NETS[kind][1], dtype=torch.float64, generator=torch.Generator().manual_seed(batch)
    )
    check_singles(build(kind), x, mean=True)


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("mode", ["auto", "hooks"])
def test_a_weight_of_no_dimension_trains(mode: str, secure: bool) -> None:
    data = TensorDataset(torch.randn(20, 4), torch.arange(20) % 3)
    for clipping in ("flat", "per_layer"):
        net = LogitScale()
        before = net.scale.item()
        model, optimizer, loader = PrivacyEngine(secure_mode=secure).make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), 0.1),
            data_loader=DataLoader(data, batch_size=10),
            grad_sample_mode=mode,
            clipping=clipping,
        )
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            if mode == "hooks":
                assert {name: p.grad_sample.shape[1:] for name, p in net.named_parameters()} == {
                    name: p.shape for name, p in net.named_parameters()
                }
            optimizer.step()
        assert net.scale.shape == ()
        assert net.scale.item() != before


def test_weights_used_outside_their_layer_count_with_the_owner() -> None:
    torch.manual_seed(2)
    net = Borrowed(own=True).double()
    del net.unused
    check_singles(net, torch.randn(3, 4, dtype=torch.float64), mean=False)


def test_layers_that_an_owner_does_not_use_have_no_gradient() -> None:
    net = Borrowed(own=True)
    (turn,) = passes(net, torch.randn(3, 4), torch.sum)
    assert net.unused.weight not in turn.gradients
    assert {net.layer.weight, net.layer.bias, net.scale} == set(turn.gradients)


@pytest.mark.usefixtures("registry")
def test_an_owner_without_parameters_can_be_registered() -> None:
    torch.manual_seed(2)
    net, x = Alone().double(), torch.randn(3, 4, dtype=torch.float64)
    plain = Capture(net)
    net(x).sum().backward()
    plain.remove()
    assert net.layer.weight.grad is not None
    net.zero_grad()
    register_rule(Alone)(VMAP_RULE)
    check_singles(net, x, mean=False)


def test_frozen_parameters_stay_out() -> None:
    net = build("vision transformer")
    net.token.requires_grad_(False)
    net.mid.requires_grad_(False)
    check_singles(net, torch.randn(3, 1, 4, 4, dtype=torch.float64), mean=True)


def test_a_module_used_twice_counts_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = Scale(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.scale(self.scale(x)) + self.scale(x**2)

    torch.manual_seed(4)
    check_singles(Twice().double(), torch.randn(3, 4, dtype=torch.float64), mean=False)


@pytest.mark.parametrize(
    "layer", [Scale(4), nn.Bilinear(4, 4, 2), nn.EmbeddingBag(4, 4)], ids=lambda layer: type(layer).__name__
)
def test_a_batch_that_is_not_first_is_refused(layer: nn.Module) -> None:
    with pytest.raises(PrivacyError, match="batch must be the first dimension"):
        Capture(nn.Sequential(nn.Linear(4, 4), layer), batch_first=False)


def test_it_says_what_it_costs() -> None:
    with pytest.warns(
        UserWarning,
        match=r"layer '1' is a Scale, which has no rule .* keeps 5 numbers for each example; "
        r".*register_rule\(Scale\)",
    ):
        Capture(nn.Sequential(nn.Linear(4, 4), Scale(4))).remove()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Capture(nn.Sequential(nn.Linear(4, 4), nn.Conv2d(1, 1, 1))).remove()


class Odd(Scale):
    """A module whose forward does something that one example alone cannot repeat."""

    def __init__(self, what: str) -> None:
        super().__init__(4)
        self.what, self.drop = what, nn.Dropout(0.5)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = x * self.weight + self.shift
        match self.what:
            case "dropout":
                return self.drop(y)
            case "noise":
                return y + torch.randn_like(y)
            case "count":
                self.count = self.count + 1
                return y
            case "mean":
                self.count.mul_(0.9).add_(y.detach().mean())
                return y
            case "batch":
                return y - y.mean(0)
            case "tuple":
                return y, y
            case "value":
                return y if float(y.detach().sum()) > 1e9 else 2 * y
            case _:
                return y.sum()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("dropout", "no randomness"),
        ("noise", "no randomness"),
        ("count", "writes its buffers"),
        ("mean", "no randomness inside|writes its buffers"),
        ("batch", "returns another output of an example alone than in its batch"),
        ("tuple", "returns a tuple; expected one tensor"),
        ("value", "fails one example at a time"),
        ("number", "returns a Tensor; expected one tensor, the batch first"),
    ],
)
def test_what_cannot_be_repeated_for_one_example_is_refused(what: str, message: str) -> None:
    with pytest.raises(PrivacyError, match=f"a Odd without a rule.*({message})"):
        passes(nn.Sequential(nn.Linear(4, 4), Odd(what)), torch.randn(3, 4), torch.sum)


def test_inputs_that_are_not_examples_are_refused() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = Gated()

        def forward(self, x: Tensor) -> Tensor:
            return self.scale(x, torch.ones(4))

    class Gated(Scale):
        def __init__(self) -> None:
            super().__init__(4)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            return x * self.weight * mask

    with pytest.raises(
        PrivacyError,
        match=r"takes tensors of shapes \[\(3, 4\), \(4,\)\]; expected tensors alone with 3 examples first",
    ):
        passes(Masked(), torch.randn(3, 4), torch.sum)


def test_a_record_that_is_not_finite_stops_nothing() -> None:
    net, x = Scale(4), torch.randn(3, 4)
    x[1] = torch.nan
    (turn,) = passes(net, x, torch.sum)
    assert turn.gradients[net.weight].squared_norms().isfinite().tolist() == [True, False, True]


def test_a_transformer_with_a_class_token_trains_through_the_engine() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(40, 1, 4, 4), torch.arange(40) % 3)
    net, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=(inner := Vision()),
        optimizer=torch.optim.SGD(inner.parameters(), lr=0.1),
        data_loader=DataLoader(data, batch_size=10),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    before = [p.detach().clone() for p in inner.parameters()]
    seen = 0
    for x, y in loader:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        seen += len(x)
    assert optimizer.examples_seen == seen > 0
    assert all((p != q).any() for p, q in zip(inner.parameters(), before, strict=True))


def test_weights_borrowed_without_an_owner_are_refused_at_the_step() -> None:
    data = TensorDataset(torch.randn(20, 4), torch.arange(20) % 3)
    net, optimizer, loader = PrivacyEngine(seed=0).make_private(
        module=(inner := Alone()),
        optimizer=torch.optim.SGD(inner.parameters(), lr=0.1),
        data_loader=DataLoader(data, batch_size=10),
    )
    x, y = next(iter(loader))
    F.cross_entropy(net(x), y).backward()
    with pytest.raises(PrivacyError, match="plain gradient"):
        optimizer.step()


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("key", ["name", "parameter", "names asked for"])
def test_a_registered_rule_is_used(key: str) -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight + self.bias

    if key == "names asked for":

        @register_rule(Gate)
        def rule(layer, activations, backprops, names):
            return {name: backprops * activations if name == "weight" else backprops for name in names}
    else:

        @register_rule(Gate)
        def rule(layer, activations, backprops):
            return {
                ("weight" if key == "name" else layer.weight): activations * backprops,
                ("bias" if key == "name" else layer.bias): backprops,
            }

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for frozen in (False, True):
            net = Gate().double()
            net.bias.requires_grad_(not frozen)
            check_singles(net, torch.randn(3, 4, dtype=torch.float64), mean=True)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"weigth": torch.zeros(3, 4)}, "expected its own parameters"),
        ({"weight": torch.zeros(3, 4)}, "expected all of them"),
        ({"weight": torch.zeros(3, 5), "shift": torch.zeros(3, 1)}, "of shape"),
    ],
)
def test_a_registered_rule_that_is_wrong_is_refused(found: dict[str, Tensor], message: str) -> None:
    register_rule(Scale)(lambda _layer, _a, _g: found)
    with pytest.raises(PrivacyError, match=message):
        passes(Scale(4), torch.randn(3, 4), torch.sum)
