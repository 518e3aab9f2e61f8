"""What a client that missed a round can still tell of the models that it is sent."""

import copy

import numpy as np
import pytest
import torch

from quintain.core.errors import ProtocolError
from quintain.federated import FedAdam, FedAvg, FedAvgM, FederatedConfig, FedYogi, SecureSum
from quintain.federated.model_bytes import add_update, model_digest
from quintain.federated.model_chain import ModelChain
from quintain.federated.round_messages import PublishedSum
from tests.federated.settings import SHORT, Party, linear


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize(
    ("strategy", "checks"), [(FedAvg(), True), (FedAvgM(), True), (FedAdam(), False), (FedYogi(), False)]
)
def test_a_site_that_missed_a_round_checks_the_model_again_as_soon_as_it_can(
    strategy, checks, restarts, tmp_path
):
    """It misses the second of five rounds, and before the last one the server moves a weight by a little."""
    party = Party(config=FederatedConfig(5, SHORT, strategy=strategy), folder=tmp_path)
    party.clients[3] = party.client("hospital-4", update_file=tmp_path / "update")
    server, remarks = party.server(), []
    for index in range(5):
        if index == 4:
            with torch.no_grad():
                next(server.net.parameters())[0, 0] += 5e-4
        network = party.network(down=(3,) if index == 1 else ())
        server.run_round(network)
        remarks.append(" ".join(party.clients[3].remarks))
        if restarts:
            party.clients[3] = party.client("hospital-4", update_file=tmp_path / "update")
    refused = {"hospital-1", "hospital-2", "hospital-3"} | ({"hospital-4"} if checks else set())
    assert {name for name, why in network.failures.items() if "plus the published sum" in why} == refused
    said = ["has missed a round" in one for one in remarks]
    assert said == [False, False, strategy != FedAvg(), not checks, not checks]
    assert all("for the rest of this training" in one for one in remarks[2:]) == (not checks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_a_step_tells_of_the_velocity_is_enough_wherever_the_weights_cross_zero(dtype):
    """Its rounding is that of a weight before, which may be much larger than the weight after it."""
    strategy, rng, party = FedAvgM(0.9), np.random.default_rng(0), Party()
    net = linear().to(dtype)
    plan = party.plan(config=FederatedConfig(60, SHORT, strategy=strategy), net=net)
    own = copy.deepcopy(net)
    chain, state = ModelChain(plan, SecureSum(), own, pinned=True), {}
    chain = chain.followed_by(copy.deepcopy(net), model_digest(net), 0, 0, None)
    for index in range(1, 60):
        current = torch.cat([one.detach().double().flatten() for one in net.parameters()]).numpy()
        # the step takes most weights to nearly zero, now from above, now from below
        velocity = state["velocity"].numpy() if state else np.zeros_like(current)
        goal = rng.standard_normal(len(current)) * 10.0 ** rng.integers(-12, 0, len(current))
        mean = np.clip(goal - current - 0.9 * velocity, -0.9, 0.9)
        integers = np.rint(mean * 4 * plan.encoding.scale).astype(np.int64)
        change, state = plan.step(integers, plan.roster.names, state)
        add_update(net, change)
        if index == 2:
            continue  # missed
        published = PublishedSum(index - 1, (0, 1, 2, 3), integers)
        told = (copy.deepcopy(net), model_digest(net), index, index)
        chain = chain.followed_by(*told, published)
        assert (chain.state is None) == (index == 3)
    zeros = PublishedSum(59, (0, 1, 2, 3), np.zeros_like(integers))
    add_update(net, plan.step(zeros.integers, plan.roster.names, state)[0])
    chain.followed_by(copy.deepcopy(net), b"next", 60, 60, zeros)
    with torch.no_grad():
        net[1].weight[0, 0] += 1e-6
    with pytest.raises(ProtocolError, match="within rounding"):
        chain.followed_by(net, b"next", 60, 60, zeros)
