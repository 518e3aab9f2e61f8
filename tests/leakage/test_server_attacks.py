"""What a malicious server gets at through secure sums, and which defense keeps it from that.

Each attack is shown to work where the defense is off, and to come to nothing where it is on.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from quintain.core.errors import ModelError, ProtocolError, SettingError
from quintain.core.statistics import psnr
from quintain.data import xrays
from quintain.federated import (
    Client,
    ClientConfig,
    ClientNoise,
    FederatedConfig,
    HomomorphicSum,
    SecureSum,
    Server,
    TrainingPlan,
    partition,
    secure_sum,
    simulate,
)
from quintain.federated.differencing import cosine
from quintain.federated.engine import local_engine
from quintain.federated.local import local_update
from quintain.federated.model_bytes import add_update, model_digest, pack_model
from quintain.federated.round_messages import PublishedSum, RoundTask, early_answer
from quintain.federated.secagg import Identity, MemoryJournal, Roster
from quintain.federated.secagg.key_list import pack_key_lists
from quintain.federated.secagg.message_bodies import SignedKeys, pack_offer, parse_keys
from quintain.federated.secagg.messages import MessageType, from_server, site_body
from quintain.federated.secagg.primitives import SIGNATURE_BYTES
from quintain.federated.simulated_network import SimulatedNetwork
from quintain.leakage import (
    isolating_models,
    isolating_recipes,
    plant_imprint,
    read_imprint,
    solve_participation,
    subtract_sums,
)
from quintain.leakage.updates.imprint import imprinted_layer
from quintain.training import Recipe
from tests.federated.settings import blobs, linear

STEP = Recipe(epochs=1, batch_size=10_000, learning_rate=0.05, optimizer="sgd", schedule="constant")
UNITS, EACH = 1024, 20


class Federation:
    """A server and clients over some sites, each with a plan of its own."""

    def __init__(self, sites, net, config, **client_settings):
        self.sites, self.net = sites, net
        self.identities = {name: Identity.create(name) for name in sites}
        self.roster = Roster.from_identities(*self.identities.values())
        self.config, self.settings = config, client_settings
        self.clients = [self.client(name) for name in sites]

    def plan(self, config=None):
        return TrainingPlan.for_net(self.roster, config or self.config, self.net)

    def client(self, name, config=None):
        settings = ClientConfig(self.plan(config), **self.settings)
        return Client(settings, self.identities[name], self.sites[name], self.net, MemoryJournal())

    def network(self, kind=SimulatedNetwork):
        carry = local_engine([one.handle for one in self.clients], lambda carry: carry)
        return kind(self.clients, carry, {}, SecureSum.replies, lambda _: None)


def published(server):
    """The average (length,) of the last sum, in float64."""
    names = server.plan.roster.names_of(server.state.published.survivors)
    return server.plan.mean(server.state.published.integers, names)


def vector(net):
    return torch.cat([one.detach().double().flatten() for one in net.parameters()]).numpy()


# -- the imprint layer
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hospitals():
    """Five sites of 20 X-rays each, and the brightness of others, which the server knows."""
    data = xrays().split("train")
    order = np.random.default_rng(0).permutation(len(data))
    sites = {f"site-{k}": data.subset(order[k * EACH : (k + 1) * EACH]) for k in range(5)}
    public, _ = data.batch(np.sort(order[5 * EACH : 5 * EACH + 1000]))
    quantiles = torch.linspace(0, 1, UNITS + 2, dtype=torch.float64)[1:-1]
    return sites, public.flatten(1).mean(1).double().quantile(quantiles).float()


def wide():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, UNITS), nn.ReLU(), nn.Linear(UNITS, 2)).eval()


def found_images(mean, sites):
    """How many of the sites' images are read to more than 34 dB from an average (length,) of updates."""
    weight, bias = mean[: 784 * UNITS].view(UNITS, 784), mean[784 * UNITS : 785 * UNITS]
    images = read_imprint(weight, bias, (1, 28, 28)).double()
    originals = torch.cat([data.batch(np.arange(EACH))[0] for data in sites.values()]).double()
    errors = (originals[:, None] - images[None]).square().flatten(2).mean(2).amin(1)
    return sum(psnr(float(error)) > 34 for error in errors)


def test_a_planted_first_model_gives_images_out_of_an_exact_sum_of_five_and_a_pinned_one_does_not(hospitals):
    sites, thresholds = hospitals
    planted = wide()
    plant_imprint(planted, thresholds)
    config = FederatedConfig(1, STEP, min_survivors=5)
    careless = Federation(sites, wide(), config, pin_first_model=False)
    server = Server(careless.plan(), copy.deepcopy(planted), SecureSum())
    assert len(server.run_round(careless.network()).survivors) == 5
    assert found_images(published(server), sites) > 70
    careful = Federation(sites, wide(), config)
    with pytest.raises(ProtocolError, match="another model than this site's own first one"):
        Server(careful.plan(), copy.deepcopy(planted), SecureSum()).run_round(careful.network())
    assert all(client.update is None for client in careful.clients)


def said_to_be_missed(fed, planted, index):
    """A task of a round in which a site is told that it was in none of the rounds before."""
    plan = fed.plan()
    policy = plan.policy(index, bytes(16), model_digest(planted))
    sum_ = PublishedSum(index - 1, (0, 1, 2, 3, 4), np.zeros(plan.encoding.num_words, np.int64))
    return RoundTask(bytes(16), index, "secagg", pack_offer(policy), pack_model(planted), sum_).pack()


def test_a_pinned_first_model_holds_where_a_server_says_that_rounds_were_missed(hospitals):
    """A site that says that it joins late takes the same model, which is the price of that setting."""
    sites, thresholds = hospitals
    planted = wide()
    plant_imprint(planted, thresholds)
    config = FederatedConfig(6, STEP, min_survivors=5)
    fed = Federation(sites, wide(), config)
    for index in (1, 2, 5):
        for client in fed.clients:
            with pytest.raises(ProtocolError, match="this site was in none before"):
                client.handle(said_to_be_missed(fed, planted, index))
            assert client.update is None
    late = Federation(sites, wide(), config, joins_late=True)
    assert early_answer(late.clients[0].handle(said_to_be_missed(late, planted, 2)))


@pytest.mark.parametrize(("clip_value", "at_least", "at_most"), [(1.0, 70, 100), (0.07, 0, 10)])
def test_a_forged_sum_plants_an_imprint_in_one_round_under_a_wide_clip_and_not_under_a_tight_one(
    hospitals, clip_value, at_least, at_most
):
    """The server publishes the sum that leads as near to its imprint as the clip lets it."""
    sites, thresholds = hospitals
    fed = Federation(sites, wide(), FederatedConfig(2, STEP, min_survivors=5, clip_value=clip_value))
    server = Server(fed.plan(), wide(), SecureSum())
    assert len(server.run_round(fed.network()).survivors) == 5
    assert all(client.update.largest < 0.07 / 2 for client in fed.clients)
    planted, net, encoding = wide(), wide(), server.plan.encoding
    plant_imprint(planted, thresholds)
    wanted = np.clip(vector(planted) - vector(net), -clip_value, clip_value)
    integers = 5 * np.rint(wanted * encoding.scale).astype(np.int64)
    add_update(net, server.plan.step(integers, server.plan.roster.names, {})[0])
    server.net = net
    server.state = replace(server.state, published=PublishedSum(0, (0, 1, 2, 3, 4), integers))
    assert len(server.run_round(fed.network()).survivors) == 5
    assert at_least <= found_images(published(server), sites) < at_most


def test_the_sum_over_an_honest_model_gives_few_images(hospitals):
    """Some: those that alone of all examples reach a unit. A sum of 100 is no protection."""
    sites, _ = hospitals
    honest = Federation(sites, wide(), FederatedConfig(1, STEP, min_survivors=5))
    server = Server(honest.plan(), wide(), SecureSum())
    server.run_round(honest.network())
    assert found_images(published(server), sites) < 30


def test_noise_on_the_sum_keeps_images_from_a_planted_model(hospitals):
    """The defense where a server forges models within the clip."""
    sites, thresholds = hospitals
    planted = wide()
    plant_imprint(planted, thresholds)
    config = FederatedConfig(1, STEP, client_noise=ClientNoise(0.1, 1.0))
    careless = Federation(sites, wide(), config, pin_first_model=False)
    server = Server(careless.plan(), copy.deepcopy(planted), SecureSum())
    assert len(server.run_round(careless.network()).survivors) == 5
    assert found_images(published(server), sites) == 0


def test_a_foreign_layer_is_refused_also_where_the_first_model_is_not_pinned(hospitals):
    sites, thresholds = hospitals
    inner = wide()
    foreign = nn.Sequential(
        nn.Flatten(),
        imprinted_layer(thresholds[::32], 784),
        nn.ReLU(),
        nn.Linear(UNITS // 32, 784),
        *list(inner)[1:],
    ).eval()
    config = FederatedConfig(1, STEP, min_survivors=5)
    careless = Federation(sites, wide(), config, pin_first_model=False)
    policy = careless.plan().policy(0, bytes(16), model_digest(foreign))
    task = RoundTask(bytes(16), 0, "secagg", pack_offer(policy), pack_model(foreign))
    for client in careless.clients:
        with pytest.raises(ProtocolError, match=r"another model than Sequential: unexpected: 4\.bias, 4"):
            client.handle(task.pack())
        assert client.update is None


def test_an_imprint_that_cannot_be_planted_is_refused():
    with pytest.raises(SettingError, match="do not rise"):
        imprinted_layer(torch.tensor([0.3, 0.3]), 4)
    with pytest.raises(ModelError, match="0 linear layers for 2 thresholds"):
        plant_imprint(nn.Sequential(nn.ReLU()), torch.tensor([0.1, 0.2]))


# -- inconsistent recipes
# ------------------------------------------------------------------------------------------------------------


def four(**settings):
    return partition(blobs(), 4, alpha=10.0, min_examples=10, min_per_class=1, **settings).sites


def test_a_learning_rate_of_nothing_for_all_others_makes_the_sum_one_update_and_clients_refuse_it():
    sites = four()
    target = "hospital-2"
    recipes = isolating_recipes(STEP, sites, target)
    plan = Federation(sites, linear(), FederatedConfig(1, STEP)).plan()
    updates = {
        name: plan.encoding.decode(
            plan.encoding.to_signed(
                local_update(
                    linear(),
                    data,
                    recipes[name],
                    plan.objective,
                    plan.encoding,
                    1.0,
                    seed=0,
                    encode=SecureSum().encode,
                    strategy=plan.strategy,
                    home={},
                    own_trainable=frozenset(),
                ).encoded
            )
        )
        for name, data in sites.items()
    }
    total = secure_sum(updates).total
    assert cosine(total, updates[target]) > 0.999999
    # Each site has its recipe from its own plan: an offer under another is refused by its name.
    party = Federation(sites, linear(), FederatedConfig(1, STEP))
    for client in party.clients:
        lied_to = party.plan(FederatedConfig(1, recipes[client.name]))
        policy = lied_to.policy(0, bytes(16), model_digest(party.net))
        task = RoundTask(bytes(16), 0, "secagg", pack_offer(policy), pack_model(party.net)).pack()
        if client.name == target:
            client.handle(task)
            continue
        with pytest.raises(ProtocolError, match="recipe"):
            client.handle(task)
        assert client.update is None


def test_sites_that_were_talked_into_other_recipes_open_no_sum():
    """Where a site takes the server's recipe for its own, the keys are bound to it: no sum comes about."""
    sites = four()
    recipes = isolating_recipes(STEP, sites, "hospital-2")
    party = Federation(sites, linear(), FederatedConfig(1, STEP))
    party.clients = [party.client(name, FederatedConfig(1, recipe)) for name, recipe in recipes.items()]

    class TwoStories(SimulatedNetwork):
        """Each site gets the offer that fits its own plan."""

        def broadcast(self, message, sites):
            task = RoundTask.parse(message)
            answers = {}
            for site, client in self._clients.items():
                policy = client.config.plan.policy(0, task.round_id, model_digest(party.net))
                answers[site] = early_answer(client.handle(replace(task, terms=pack_offer(policy)).pack()))
                self._ready.add(site)
            return self._with_early(answers)

    report = Server(party.plan(), copy.deepcopy(party.net), SecureSum()).run_round(party.network(TwoStories))
    assert report.abort_reason
    assert report.survivors == ()


# -- neighboring sums
# ------------------------------------------------------------------------------------------------------------


def observed(config, dropouts, sites=None, num_sites=5):
    """The sums and cohorts of a training, as the server has them, and each site's true updates."""
    sites = sites or partition(blobs(), num_sites, alpha=10.0, min_examples=10, min_per_class=1).sites
    sums, cohorts, net = [], [], linear()

    def keep(_, summed):
        if summed is not None:
            sums.append(summed.total)
            cohorts.append(summed.survivors)

    run = simulate(sites, net, config, dropouts=dropouts, on_round=keep)
    return sums, cohorts, run, sites


def true_update(sites, name):
    net = linear()
    before = vector(net)
    from quintain.training import fit

    fit(net, sites[name], STEP)
    return vector(net) - before


DROP = {1: {"hospital-3": "masked"}}


def test_two_neighboring_sums_give_an_update_and_sites_that_refuse_neighbors_give_none():
    sums, cohorts, _, sites = observed(FederatedConfig(2, STEP), DROP)
    site, guess = subtract_sums(sums[0], cohorts[0], sums[1], cohorts[1])
    assert site == "hospital-3"
    assert cosine(guess, true_update(sites, site)) > 0.99
    for defended in (
        FederatedConfig(2, STEP, min_survivors=5),
        FederatedConfig(2, STEP, min_cohort_change=3),
    ):
        sums, cohorts, run, _ = observed(defended, DROP)
        assert len(sums) == 1
        assert run.rounds[1].abort_reason
    left = run.rounds[1].simulated.left
    assert "differs from an earlier one by hospital-3" in left["hospital-1"]


def test_noise_blurs_what_neighboring_sums_give():
    noisy = FederatedConfig(2, STEP, client_noise=ClientNoise(1.0, 1.0, max_dropped=1))
    sums, cohorts, _, sites = observed(noisy, DROP)
    site, guess = subtract_sums(sums[0], cohorts[0], sums[1], cohorts[1])
    assert abs(cosine(guess, true_update(sites, site))) < 0.6


def test_sums_of_the_same_sites_or_of_two_others_are_no_neighbors():
    one, other = np.ones(3), np.zeros(3)
    assert subtract_sums(one, ("a", "b"), other, ("b", "a")) is None
    assert subtract_sums(one, ("a", "b"), other, ("b", "c")) is None
    site, guess = subtract_sums(one, ("a",), other, ("a", "b"))
    assert (site, guess.tolist()) == ("b", [-1, -1, -1])


def test_cohorts_are_refused_only_where_a_client_sees_them():
    config = FederatedConfig(1, STEP, min_cohort_change=3)
    with pytest.raises(SettingError, match="min_cohort_change with the aggregation"):
        Federation(four(), linear(), config, aggregation=HomomorphicSum())


# -- the participation matrix
# ------------------------------------------------------------------------------------------------------------


def test_who_took_part_in_which_round_gives_single_sites_and_fixed_cohorts_give_none():
    absent = {k: {f"hospital-{k + 1}": "masked"} for k in range(5)}
    sums, cohorts, _, sites = observed(FederatedConfig(6, STEP), absent)
    found = solve_participation(sums, cohorts)
    assert set(found) == set(sites)
    assert min(cosine(guess, true_update(sites, name)) for name, guess in found.items()) > 0.95
    sums, cohorts, run, _ = observed(FederatedConfig(6, STEP, min_survivors=5), absent)
    assert solve_participation(sums, cohorts) == {}
    assert sum(not facts.abort_reason for facts in run.rounds) == 1


def test_participation_is_exact_for_updates_that_stay_and_tells_which_sites_it_determines():
    rng = np.random.default_rng(0)
    updates = {name: rng.normal(size=7) for name in "abcd"}
    cohorts = [("a", "b", "c"), ("b", "c"), ("b", "c", "d"), ("a", "d")]
    found = solve_participation([sum(updates[name] for name in cohort) for cohort in cohorts], cohorts)
    assert set(found) == {"a", "d"}  # b and c always come together
    assert all(np.allclose(found[name], updates[name]) for name in found)
    with pytest.raises(SettingError, match="1 sums and 0 cohorts"):
        solve_participation([np.zeros(2)], [])


# -- inconsistent models
# ------------------------------------------------------------------------------------------------------------


def relu_net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def change_by_training(net, data):
    from quintain.training import fit

    local = copy.deepcopy(net)
    fit(local, data, STEP)
    return (local[1].weight - net[1].weight).detach().double().flatten().numpy()


def test_dead_units_for_all_others_make_the_sum_one_update_and_keys_bound_to_the_model_open_none():
    sites, target = four(), "hospital-2"
    models = isolating_models(relu_net(), sites, target)
    updates = {name: change_by_training(models[name], data) for name, data in sites.items()}
    assert cosine(secure_sum(updates).total, change_by_training(relu_net(), sites[target])) > 0.999999
    party = Federation(sites, relu_net(), FederatedConfig(1, STEP), pin_first_model=False)

    class OtherModels(SimulatedNetwork):
        """Each site gets its own model and an offer that fits it."""

        def broadcast(self, message, sites):
            task = RoundTask.parse(message)
            answers = {}
            for site, client in self._clients.items():
                model = models[client.name]
                policy = party.plan().policy(0, task.round_id, model_digest(model))
                told = replace(task, terms=pack_offer(policy), model=pack_model(model))
                answers[site] = early_answer(client.handle(told.pack()))
                self._ready.add(site)
            return self._with_early(answers)

        def cancel(self, message, sites):
            """A malicious server does not tell the sites that its round came to nothing."""

    network = party.network(OtherModels)
    report = Server(party.plan(), relu_net(), SecureSum()).run_round(network)
    assert report.survivors == ()
    assert "sites sent keys" in report.abort_reason
    # a server that passes the keys on all the same is refused by the target, and by each other site
    listed = {
        one.site: SignedKeys(parse_keys(site_body(one.data), one.site, 4), one.data[-SIGNATURE_BYTES:])
        for one in network.view_under(party.plan().policy(0, bytes(16), bytes(32))).received
    }
    assert len(listed) == 4
    for client in party.clients:
        own = client._participant._state.context.policy
        body = pack_key_lists(own, listed)[1][0]
        with pytest.raises(ProtocolError, match="signature"):
            client.handle(from_server(MessageType.KEY_LIST, own.round_id, body))


def test_a_net_without_units_that_can_be_dead_is_refused():
    with pytest.raises(ModelError, match="no ReLU behind a layer with a bias"):
        isolating_models(linear(), ("a", "b"), "a")
