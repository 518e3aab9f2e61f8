"""Recurrent layers that train privately, beside torch's own."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.core.errors import DataError, PrivacyError
from quintain.dp import PrivacyEngine
from quintain.dp.capture.hooks import _CAPTURE_OF_LAYER
from quintain.dp.opacus.layers import DPGRU, DPLSTM, DPRNN
from quintain.dp.per_example import cost_model
from quintain.dp.rules import recurrent_cells
from tests.dp.support.loops import step
from tests.dp.support.sequences import CASES, KINDS, Run, batch, made
from tests.dp.support.singles import EXACT, TIGHT, built, captured, check_singles, clipped_sum, passes

pytestmark = pytest.mark.rounding


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_torch(kind: type[nn.RNNBase], case: str) -> None:
    net, x = made(kind, case), batch(4).requires_grad_()
    plain = copy.deepcopy(net)
    captured(net)
    torch.testing.assert_close(net(x), plain(x), **EXACT)
    slopes = [torch.autograd.grad(each(x).sin().sum(), x)[0] for each in (net, plain)]
    torch.testing.assert_close(*slopes, **EXACT)


@pytest.mark.parametrize("examples", [1, 5])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_single_examples(kind: type[nn.RNNBase], case: str, examples: int) -> None:
    for mean in (True, False):
        check_singles(made(kind, case), batch(examples), mean=mean)


@pytest.mark.parametrize("case", [case for case, (_, run) in CASES.items() if not run.get("lengths")])
@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_brings_nothing(kind: type[nn.RNNBase], case: str) -> None:
    check_singles(made(kind, case), batch(0), mean=True)


@pytest.mark.parametrize("case", ["one layer", "packed, two layers, both directions"])
def test_relu(case: str) -> None:
    net = made(nn.RNN, case, nonlinearity="relu")
    twin = captured(copy.deepcopy(net))
    torch.testing.assert_close(twin.root(batch(4)), net(batch(4)), **EXACT)
    check_singles(net, batch(5), mean=True)


@settings(max_examples=30, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    hidden=st.integers(1, 4),
    layers=st.integers(1, 2),
    steps=st.integers(1, 4),
    examples=st.integers(1, 4),
    sides=st.booleans(),
    lengths=st.booleans(),
    given_first=st.booleans(),
)
def test_layers_of_any_shape(kind, hidden, layers, steps, examples, sides, lengths, given_first) -> None:
    layer = kind(3, hidden, layers, batch_first=True, bidirectional=sides)
    check_singles(built(Run(layer, given=given_first, lengths=lengths)), batch(examples, steps), mean=False)


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_to_a_norm_give_the_same(
    kind: type[nn.RNNBase], ghost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    check_singles(made(kind, "two layers, both directions"), batch(3), mean=True)


@pytest.mark.parametrize("ghost", [True, False])
@pytest.mark.parametrize("scale", [1e10, 1e25])
@pytest.mark.parametrize("kind", KINDS)
def test_no_sum_passes_the_bound_in_short_numbers(
    kind: type[nn.RNNBase], scale: float, ghost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost_model, "ghost_norm_is_cheaper", lambda *_: ghost)
    torch.manual_seed(0)
    net = kind(3, 4, batch_first=True)
    capture = captured(net)
    (net(torch.randn(1, 64, 3))[0] * torch.randn(64, 1) * scale).sum().backward()
    total = clipped_sum(capture.pop_passes()[0], 1e-2, mean=False).total
    assert 0 < float(torch.cat([g.flatten() for g in total.values()]).double().norm()) <= 1e-2 * (1 + 1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0_reverse"])
def test_a_frozen_part_does_not_count(kind: type[nn.RNNBase], frozen: str) -> None:
    net = made(kind, "both directions")
    net.layer.get_parameter(frozen).requires_grad_(False)
    check_singles(net, batch(3), mean=True)


def test_a_frozen_layer_passes_gradients_on() -> None:
    net = made(nn.LSTM, "one layer").requires_grad_(False)
    check_singles(nn.Sequential(nn.Linear(3, 3).double(), net), batch(3), mean=True)


def test_a_layer_that_is_used_twice_adds_up_before_the_norm() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(3, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            once, hidden = self.layer(x)
            return self.layer(once[:, :2], hidden)[0]

    check_singles(built(Twice()), batch(3), mean=False)


@pytest.mark.parametrize("case", ["two layers, both directions", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_example_that_is_not_finite_is_left_out(kind: type[nn.RNNBase], case: str) -> None:
    net, x = made(kind, case), batch(4)
    without = clipped_sum(passes(net, x[1:], torch.sum)[0], 0.5, mean=False)
    x[0, :, 1] = torch.nan
    found = clipped_sum(passes(net, x, torch.sum)[0], 0.5, mean=False)
    assert found.factors[0] == 0
    for parameter in net.parameters():
        torch.testing.assert_close(found.total[parameter], without.total[parameter], **TIGHT)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_between_layers_draws_as_in_torch_and_only_in_training(kind: type[nn.RNNBase]) -> None:
    net, x = made(kind, "three layers", dropout=0.5), batch(6)
    plain = copy.deepcopy(net)
    captured(net)
    outs = []
    for each in (net, plain):
        torch.manual_seed(1)
        outs.append(each(x))
    torch.testing.assert_close(*outs, **EXACT)
    net.layer.eval()
    plain.layer.eval()
    torch.testing.assert_close(net(x), plain(x), **EXACT)


def test_gradients_go_through_what_dropout_left() -> None:
    net = made(nn.LSTM, "three layers", dropout=1.0)
    (turn,) = passes(net, batch(3), torch.sum)
    found = clipped_sum(turn, torch.inf, mean=False).total
    assert not found[net.layer.weight_ih_l1].any()
    assert found[net.layer.bias_ih_l1].any()


@pytest.mark.parametrize("kind", KINDS)
def test_copies_evaluation_and_what_is_left_after_removal_run_torch_s_forward(
    kind: type[nn.RNNBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[nn.Module] = []
    forward = kind.forward
    monkeypatch.setattr(kind, "forward", lambda layer, *args: calls.append(layer) or forward(layer, *args))
    net, x = made(kind, "one layer"), batch(2)
    capture = captured(net)
    twin = copy.deepcopy(net)
    assert type(net.layer) is type(twin.layer) is kind
    assert net.state_dict().keys() == twin.state_dict().keys()
    net(x)
    assert not calls
    twin(x).sum().backward()
    assert calls == [twin.layer]
    assert twin.layer.weight_ih_l0.grad is not None
    net.eval()(x)
    with torch.no_grad():
        net.train()(x)
    assert calls == [twin.layer, net.layer, net.layer]
    capture.remove()
    assert "forward" not in vars(net.layer)
    assert net.layer not in _CAPTURE_OF_LAYER
    net(x).sum().backward()
    assert net.layer.weight_ih_l0.grad is not None


def test_a_copy_can_be_made_private_in_its_turn() -> None:
    net = made(nn.LSTM, "one layer")
    captured(net)
    check_singles(copy.deepcopy(net), batch(3), mean=True)


def test_unfit_calls_are_refused() -> None:
    net = nn.LSTM(3, 2, batch_first=True).double()
    captured(net)
    x = batch(2)
    with pytest.raises(PrivacyError, match="without a batch"):
        net(x[0])
    with pytest.raises(DataError, match="no step"):
        net(x[:, :0])
    with pytest.raises(RuntimeError, match="Expected hidden"):
        net(x, (torch.zeros(1, 3, 2), torch.zeros(1, 3, 2)))
    projected = nn.LSTM(3, 4, proj_size=2).double()
    captured(projected)
    with pytest.raises(PrivacyError, match="proj_size"):
        projected(x)


def test_second_derivatives_are_refused() -> None:
    net, x = made(nn.GRU, "one layer"), batch(2).requires_grad_()
    captured(net)
    with pytest.raises(PrivacyError, match="create_graph"):
        torch.autograd.grad(net(x).sum(), x, create_graph=True)


def test_outputs_may_be_changed_in_place() -> None:
    class Clamped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.relu = nn.RNN(3, 2, batch_first=True), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(self.layer(x)[0])

    check_singles(built(Clamped()), batch(3), mean=True)


def test_the_names_that_scripts_import_are_the_same_layers() -> None:
    for private, plain in ((DPLSTM, nn.LSTM), (DPGRU, nn.GRU), (DPRNN, nn.RNN)):
        assert private(3, 2).state_dict().keys() == plain(3, 2).state_dict().keys()
        check_singles(built(Run(private(3, 2, batch_first=True))), batch(2), mean=True)


def test_a_small_lstm_trains_privately() -> None:
    torch.manual_seed(0)

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.layer, self.head = (
                nn.Embedding(10, 4),
                nn.LSTM(4, 6, batch_first=True),
                nn.Linear(6, 2),
            )

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.layer(self.table(ids))[1][0][-1])

    ids = torch.randint(10, (48, 7))
    net = Tagger()
    before = [parameter.clone() for parameter in net.parameters()]
    engine = PrivacyEngine(seed=0)
    module, optimizer, loader = engine.make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(ids, (ids[:, 0] > 4).long()), batch_size=16),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    for _ in range(2):
        for rows, labels in loader:
            step(module, optimizer, rows, labels)
    assert engine.get_epsilon(1e-3) > 0
    assert all(
        not torch.equal(parameter, old) for parameter, old in zip(net.parameters(), before, strict=True)
    )


def test_a_gate_gradient_that_is_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutation: the new gate of a GRU as if states came in past the reset gate."""
    backward = recurrent_cells.Gru.backward

    def wrong(*args: object) -> recurrent_cells.CellBackward:
        found = backward(*args)
        return recurrent_cells.CellBackward(
            found.gate_grads_ih, found.gate_grads_ih, found.initial_state_grads
        )

    monkeypatch.setattr(recurrent_cells.Gru, "backward", wrong)
    with pytest.raises(AssertionError):
        check_singles(made(nn.GRU, "one layer"), batch(3), mean=True)
