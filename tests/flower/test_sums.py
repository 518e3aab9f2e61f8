"""A Flower app becomes secure by two lines: the same model bit for bit, and no update leaves a site."""

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord
from flwr.serverapp.strategy import FedAdam, FedAvg

from quintain.core.errors import ProtocolError
from quintain.federated.flower import SecAgg, secagg_mod
from quintain.federated.secagg.encoding import finest_encoding
from quintain.federated.secagg.messages import MessageType
from tests.flower.app import NUM_SITES, client_app, config, net, trained
from tests.flower.federation import InProcessGrid, enroll, equal, numbers, settings_in, start, terms_of

ROUNDS = 2
ALL = tuple(range(NUM_SITES))


def secure(folder, rounds=ROUNDS, *, strategy=None, more="", terms=None, **grid):
    """Run the app with both lines; returns the model, the strategy and the grid."""
    terms = terms or terms_of(enroll(folder, more=more))
    strategy = SecAgg(strategy or FedAvg(fraction_evaluate=0.0), terms)
    grid = InProcessGrid(client_app([secagg_mod(settings_in(folder))]), **grid)
    result = start(strategy, grid, ArrayRecord(net().state_dict()), rounds, config())
    return result and numbers(result.arrays), strategy, grid


def by_hand(survivors):
    """The model that a plain sum of integers makes, over these sites in each round."""
    state = net().state_dict()
    names = [name for name, value in state.items() if value.is_floating_point()]
    for sites in survivors:
        updates = []
        for site in sites:
            new = trained(state, site, 0.1)
            updates.append(
                np.concatenate([(new[n].double() - state[n].double()).numpy().ravel() for n in names])
            )
        encoding = finest_encoding(len(updates[0]), 1.0, NUM_SITES)
        total = sum(encoding.to_signed(encoding.quantize(update)) for update in updates)
        mean = torch.from_numpy(encoding.decode(total) / len(sites))
        parts = dict(zip(names, mean.split([state[n].numel() for n in names]), strict=True))
        state = {
            n: (v.double() + parts[n].view_as(v)).to(v.dtype) if n in parts else v for n, v in state.items()
        }
    return {name: value.numpy() for name, value in state.items()}


def test_the_model_is_that_of_a_plain_sum_of_integers_bit_for_bit(tmp_path):
    model, strategy, _ = secure(tmp_path)
    assert equal(model, by_hand([ALL, ALL]))
    assert [report.survivors for report in strategy.reports] == [strategy.terms.roster.names] * ROUNDS


@pytest.mark.parametrize(
    ("kind", "is_in_the_sum"),
    [
        (MessageType.OFFER, False),
        (MessageType.KEY_LIST, False),
        (MessageType.DELIVERY, False),
        (MessageType.SURVIVORS, True),
        (MessageType.SIGNATURES, True),
    ],
)
def test_a_site_that_falls_silent_at_a_stage_is_left_out_or_had_sent_its_vector(
    tmp_path, kind, is_in_the_sum
):
    """The first site is silent from this message of the first round on, and back in the second."""
    model, strategy, _ = secure(
        tmp_path, silent=lambda site, got, turn: site == 0 and turn < 5 and got >= kind
    )
    assert equal(model, by_hand([ALL if is_in_the_sum else ALL[1:], ALL]))
    assert [report.abort_reason for report in strategy.reports] == ["", ""]


def test_a_round_with_too_few_sites_is_abandoned_and_tried_again_with_the_same_updates(tmp_path):
    trainings = []
    folder = settings_in(tmp_path)

    def counted(message, context, call_next):
        trainings.append(context.node_config["partition-id"])
        return call_next(message, context)

    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path)))
    grid = InProcessGrid(
        client_app([secagg_mod(folder), counted]),
        silent=lambda site, kind, turn: kind is MessageType.DELIVERY and site < 2 and turn < 5,
    )
    result = strategy.start(grid, ArrayRecord(net().state_dict()), ROUNDS, train_config=config())
    first, second = strategy.reports
    assert "3 of 5 sites sent a masked vector" in first.abort_reason
    assert second.survivors == strategy.terms.roster.names
    assert sorted(trainings) == list(ALL)
    assert equal(numbers(result.arrays), by_hand([ALL]))


def test_a_run_of_which_all_rounds_were_abandoned_is_no_success(tmp_path):
    """The sites' own files say another clip; Flower would return the first model."""
    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path, more="clip_value = 0.5\n")))
    grid = InProcessGrid(client_app([secagg_mod(settings_in(tmp_path))]))
    with pytest.raises(ProtocolError, match=r"all 2 rounds were abandoned.*0 of 5 sites sent keys"):
        strategy.start(grid, ArrayRecord(net().state_dict()), ROUNDS, train_config=config())
    assert len(strategy.reports) == ROUNDS


def test_fedadam_takes_its_step_from_the_secure_average(tmp_path):
    average, _, _ = secure(tmp_path, 1)
    other = tmp_path / "adam"
    other.mkdir()
    model, _, _ = secure(other, 1, strategy=FedAdam(fraction_evaluate=0.0, eta=0.01))
    old = {name: value.numpy() for name, value in net().state_dict().items()}
    for name, array in average.items():
        step = np.sign(model[name] - old[name]) == np.sign(array - old[name])
        assert step.all() or array.dtype.kind != "f"
        assert array.dtype.kind == "f" or np.array_equal(model[name], old[name])
    assert not equal(model, average)


def test_public_weights_weigh_and_are_part_of_the_terms(tmp_path):
    weights = {f"hospital-{site}": weight for site, weight in enumerate((2, 2, 1, 2, 2))}
    table = "weights = {" + ", ".join(f'"{name}" = {weight}' for name, weight in weights.items()) + "}\n"
    roster = enroll(tmp_path, more=table)
    _, strategy, _ = secure(tmp_path, 1, terms=terms_of(roster, weights=weights))
    assert strategy.reports[0].weight == 9
    _, strategy, grid = secure(tmp_path, 1, terms=terms_of(roster))
    assert strategy.reports[0].survivors == ()
    assert all(reply.has_error() for _, reply in grid.received)
