"""What a client refuses, by name, before it trains, writes or reveals anything."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from quintain.core.errors import ProtocolError, SettingError
from quintain.federated import (
    Client,
    ClientConfig,
    ClientNoise,
    DropoutStage,
    FedAvg,
    FederatedConfig,
    PlainMean,
    SitePrivacy,
)
from quintain.federated import client as client_program
from quintain.federated.model_bytes import add_update, model_digest, pack_model
from quintain.federated.round_messages import PublishedSum, RoundTask, pack_cancel
from quintain.federated.secagg import Identity, MemoryJournal, Roster, server
from quintain.federated.secagg.message_bodies import offered_counter, pack_offer
from quintain.federated.secagg_sum import SecureSum
from quintain.training import CleanCrossEntropy, Recipe
from tests.federated.settings import SHORT, Killed, Party, blobs, is_ready, linear, weights


class Smoothed(CleanCrossEntropy):
    """Another loss."""

    def __repr__(self):
        return "Smoothed()"


def task_of(plan, net, *, index=0, counter=None, round_id=b"r" * 16, aggregation="secagg", published=None):
    """The task of a round as a server with this plan sends it."""
    policy = plan.policy(index if counter is None else counter, round_id, model_digest(net))
    return RoundTask(round_id, index, aggregation, pack_offer(policy), pack_model(net), published)


@pytest.fixture
def party():
    return Party()


@pytest.fixture
def untouched(party, monkeypatch):
    """Check that the first client refuses a message, having neither trained nor written nor answered."""

    def refuses(message, match, client=None):
        client = party.clients[0] if client is None else client
        before = dict(client._journal._notes), client.update
        with monkeypatch.context() as patch:
            patch.setattr(client_program, "local_update", lambda *args, **kwargs: pytest.fail("it trained"))
            with pytest.raises(ProtocolError, match=match):
                client.handle(message)
        assert (dict(client._journal._notes), client.update) == before

    return refuses


OTHERS = {
    "threshold": {"config": FederatedConfig(3, SHORT, threshold=4, min_survivors=4)},
    "min_survivors": {"config": FederatedConfig(3, SHORT, min_survivors=4)},
    "max_corrupt": {"config": FederatedConfig(3, SHORT, max_corrupt=0)},
    "clip_value": {"config": FederatedConfig(3, SHORT, clip_value=0.5, scale=2**28)},
    "scale": {"config": FederatedConfig(3, SHORT, scale=2**10)},
    "recipe": {"config": FederatedConfig(3, replace(SHORT, learning_rate=1e-9))},
    "weights": {"config": FederatedConfig(3, SHORT, max_corrupt=1, weights=None)},
    "objective": {"objective": Smoothed()},
    "data": {"data": "all patients"},
}
BY_DEFAULT = {"weights": {"hospital-1": 2, "hospital-2": 2, "hospital-3": 2, "hospital-4": 2}}


@pytest.mark.parametrize("term", OTHERS)
def test_an_offer_that_differs_from_the_clients_own_plan_is_refused_by_the_name_of_the_term(
    term, party, untouched
):
    client = party.clients[0]
    if term in BY_DEFAULT:
        own = party.plan(config=replace(party.config, **{term: BY_DEFAULT[term]}))
        client = party.client("hospital-1", plan=own)
    offered = party.plan(**OTHERS[term])
    untouched(
        task_of(offered, linear()).pack(),
        rf"the server offers {term} = .*; this site's policy says .*: leave this round",
        client,
    )
    assert is_ready(client.handle(task_of(client.config.plan, linear()).pack()))


def test_another_roster_and_a_number_of_sites_are_refused_by_name(party, untouched):
    stranger = Identity.create("hospital-4")
    other = Roster.from_identities(*[*list(party.identities.values())[:3], stranger])
    untouched(task_of(party.plan(roster=other), linear()).pack(), "the server offers roster = ")
    fewer = Roster.from_identities(*list(party.identities.values())[:3])
    untouched(task_of(party.plan(roster=fewer), linear()).pack(), "the server offers sites = 3")


def test_plain_updates_are_not_given_to_a_server_that_asks_for_them(party, untouched):
    untouched(
        task_of(party.plan(), linear(), aggregation="plain-sum").pack(),
        "the server offers aggregation = 'plain-sum'; this site's settings say 'secagg'",
    )
    party.clients[0].handle(task_of(party.plan(), linear()).pack())
    plain = PlainMean()
    asked = {}

    class Wire:
        def exchange(self, outgoing):
            asked.update(outgoing)
            return {}

    with pytest.raises(ProtocolError, match="0 of 4 sites sent a vector"):
        plain.sum(party.plan().policy(0, b"r" * 16, model_digest(linear())), Wire())
    with pytest.raises(ProtocolError, match="no message of this protocol"):
        party.clients[0].handle(asked[0])


def test_a_digest_that_is_not_that_of_the_model_is_refused(party, untouched):
    task = task_of(party.plan(), linear(1))
    untouched(replace(task, model=pack_model(linear())).pack(), "the server offers model hash = ")


class Imprint(nn.Module):
    """A net with one layer more, which keeps examples apart."""

    def __init__(self):
        super().__init__()
        self.imprint = nn.Linear(6, 6)
        self.net = linear()

    def forward(self, x):
        return self.net(self.imprint(x))


def changed(name, value):
    tensors = {key: one.clone() for key, one in linear().state_dict().items()}
    return save({**tensors, name: value})


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (
            pack_model(Imprint()),
            "another model than Sequential: missing: 1.bias, 1.weight, 3.bias and others",
        ),
        (changed("5.weight", torch.zeros(2, 2)), r"unexpected: 5\.weight"),
        (changed("1.weight", torch.zeros(9, 6)), r"of another shape: 1\.weight \(9, 6\) for \(8, 6\)"),
        (changed("1.bias", torch.zeros(8).double()), r"of another type: 1\.bias torch.float64 for"),
        (changed("1.bias", torch.full((8,), torch.nan)), r"not finite: 1\.bias"),
        (b"junk" * 100, "that are no safetensors"),
        (bytes(2**22), "a model of 4194304 bytes; expected about"),
    ],
    ids=["layers", "a tensor more", "shape", "type", "nan", "junk", "size"],
)
def test_a_model_of_other_layers_shapes_or_types_is_refused(model, match, party, untouched):
    untouched(replace(task_of(party.plan(), linear()), model=model).pack(), match)


def test_a_first_model_that_is_not_the_clients_own_is_refused_unless_it_says_so(party, untouched):
    other = linear(7)
    untouched(task_of(party.plan(), other).pack(), "another model than this site's own first one")
    trusting = party.client("hospital-1", pin_first_model=False)
    assert is_ready(trusting.handle(task_of(party.plan(), other).pack()))


# -- the next model
# ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def second(party):
    """The task of the second round, after an honest first one; no client has seen it."""
    server_ = party.server()
    assert server_.run_round(party.network()).abort_reason == ""
    net, published = party.net, server_.state.published
    return task_of(party.plan(), net, index=1, round_id=b"s" * 16, published=published), net


def with_model(task, plan, net, **changes):
    return replace(
        task_of(plan, net, index=1, round_id=b"s" * 16, published=task.published), **changes
    ).pack()


def test_the_last_model_plus_the_published_sum_is_accepted(second, party):
    task, _ = second
    assert all(is_ready(client.handle(task.pack())) for client in party.clients)


def test_a_sum_of_other_survivors_than_this_site_has_signed_is_refused(second, party, untouched):
    """The server's step with the weights of three, and the sum of all four said to be of those."""
    task, net = second
    forged = replace(task.published, survivors=(0, 1, 2))
    net.load_state_dict(linear().state_dict())
    change, _ = party.plan().step(forged.integers, tuple(party.sites)[:3], {})
    add_update(net, change)
    untouched(
        with_model(task, party.plan(), net, published=forged),
        r"the sum of round 0 over sites \(0, 1, 2\), and this site has signed hospital-1, .*, hospital-4",
    )


def test_a_client_that_was_restarted_remembers_models_counters_and_survivors(tmp_path):
    """The same client as a program that was started anew: of the old one only its files are left."""
    party = Party(folder=tmp_path)
    file = tmp_path / "update"
    party.clients = [
        party.client(name, update_file=file if name == "hospital-1" else None) for name in party.sites
    ]
    server_ = party.server()
    server_.run_round(party.network())
    published, plan = server_.state.published, party.plan()

    def offered(net, **changes):
        client = party.client("hospital-1", update_file=file)
        told = {"index": 1, "round_id": b"s" * 16, "published": published, **changes}
        return client, task_of(plan, net, **told).pack()

    moved, forged = linear(), linear()
    moved.load_state_dict(party.net.state_dict())
    with torch.no_grad():
        moved[3].bias[1] += 1e-6
    others = replace(published, survivors=(0, 1, 2))
    change, _ = plan.step(others.integers, tuple(party.sites)[:3], {})
    add_update(forged, change)
    refused = {
        r"the last one plus the published sum: '3\.bias' differs": offered(moved),
        "than in the last round and publishes no sum": offered(party.net, published=None),
        "was in round 0: a replay is refused": offered(linear(), index=0, published=None),
        r"over sites \(0, 1, 2\), and this site has helped to open that of others": offered(
            forged, published=others
        ),
    }
    for match, (client, message) in refused.items():
        with pytest.raises(ProtocolError, match=match):
            client.handle(message)
    client, message = offered(party.net)
    assert is_ready(client.handle(message))
    assert party.client("hospital-1", update_file=file).last_counter == 1
    another = party.plan(config=FederatedConfig(4, SHORT))
    assert party.client("hospital-1", update_file=file, plan=another).last_counter == -1


@pytest.mark.parametrize("hair", [1e-3, 1e-6])
def test_a_model_that_is_not_the_last_one_plus_the_published_sum_is_refused(hair, second, party, untouched):
    task, net = second
    with torch.no_grad():
        net[3].bias[1] += hair
    untouched(with_model(task, party.plan(), net), r"the last one plus the published sum: '3\.bias' differs")
    untouched(with_model(task, party.plan(), net, published=None), "in the last round and publishes no sum")


def test_rounding_in_the_last_place_is_no_other_model(second, party):
    task, net = second
    with torch.no_grad():
        net[3].bias.copy_(torch.nextafter(net[3].bias, torch.full((2,), torch.inf)))
    assert is_ready(party.clients[0].handle(with_model(task, party.plan(), net)))


def test_a_published_sum_beyond_clip_sites_or_rounds_is_refused(second, party, untouched):
    task, net = second
    true = task.published
    forged = {
        "entry 0 of the sum": replace(true, integers=np.full_like(true.integers, 2**30 + 1)),
        "expected at least 3 sites": replace(true, survivors=(0, 1)),
        "of site 9; the roster lists 4": replace(true, survivors=(0, 1, 9)),
        "a sum of": replace(true, integers=true.integers[1:]),
        "the sum of round 7; expected one of 0": replace(true, counter=7),
    }
    for match, published in forged.items():
        untouched(with_model(task, party.plan(), net, published=published), match)


def test_a_sum_forged_within_the_clip_passes_which_is_the_limit_of_this_check(second, party):
    """What a client sees of a sum is its own part at most."""
    task, _ = second
    plan, net = party.plan(), linear()
    forged = replace(task.published, integers=np.full_like(task.published.integers, 2**20))
    change, _ = FedAvg().step(plan.mean(forged.integers, tuple(party.sites)), {}, 1.0)
    add_update(net, change)
    assert is_ready(party.clients[0].handle(with_model(task, plan, net, published=forged)))


def test_a_client_that_missed_rounds_bounds_how_far_the_model_has_moved(party, untouched):
    """It cannot know the sums in between: each weight may have moved by the clip in each round."""
    client = party.clients[0]
    client.handle(task_of(party.plan(), linear()).pack())
    sum_ = PublishedSum(1, (0, 1, 2), np.zeros(len(weights(linear())), np.int64))
    for moved, accepted in ((2.1, False), (1.9, True)):
        net = linear()
        with torch.no_grad():
            net[1].weight[0, 0] += moved
        message = task_of(party.plan(), net, index=2, counter=2, round_id=b"t" * 16, published=sum_).pack()
        if accepted:
            assert is_ready(client.handle(message))
        else:
            untouched(message, r"'1\.weight' has moved by 2\.1; expected at most 2, as 2 rounds")


def far_away():
    net = linear()
    with torch.no_grad():
        for one in net.parameters():
            one.fill_(1e6)
    return net


@pytest.mark.parametrize(
    ("first", "index", "match"),
    [
        (False, 0, "another model than this site's own first one, and no round was before"),
        (False, 2, r"has moved by .*; expected at most 2, as 2 rounds"),
        (True, 1, r"is not the last one plus the published sum"),
        (True, 2, r"has moved by .*; expected at most 2, as 2 rounds"),
    ],
)
def test_a_counter_of_the_servers_own_choice_lets_no_model_move_farther(
    first, index, match, party, untouched
):
    """A model moves at most once in each round of the plan, however many counters a server says it used."""
    client, plan = party.client("hospital-1", joins_late=True), party.plan()
    if first:
        assert is_ready(client.handle(task_of(plan, linear()).pack()))
    sum_ = PublishedSum(5, (0, 1, 2, 3), np.zeros(plan.encoding.num_words, np.int64))
    told = {"index": index, "counter": 2**40, "round_id": b"s" * 16, "published": sum_}
    untouched(task_of(plan, far_away(), **told).pack(), match, client)
    near = linear()
    if index == 2:
        with torch.no_grad():
            near[1].weight[0, 0] += 0.9 * index
    assert is_ready(client.handle(task_of(plan, near, **told).pack()))


def test_a_renumbered_round_gets_around_neither_the_published_sum_nor_its_survivors(second, party, untouched):
    """Of the round after the last one no move was missed, whatever counters the server says it used."""
    plan, zeros, net = party.plan(), np.zeros(len(weights(linear())), np.int64), linear()
    with torch.no_grad():
        net[1].weight += 0.9
    told = {"index": 1, "counter": 2, "round_id": b"s" * 16}
    none = PublishedSum(1, (0, 1, 2, 3), zeros)
    untouched(task_of(plan, net, **told, published=none).pack(), r"the last one plus the published sum: '1")
    others, net = PublishedSum(1, (1, 2, 3), zeros + 2**20), linear()
    change, _ = plan.step(others.integers, tuple(party.sites)[1:], {})
    add_update(net, change)
    untouched(
        task_of(plan, net, **told, published=others).pack(),
        r"of round 1 over sites \(1, 2, 3\), and this site has signed hospital-1, ",
    )


def test_a_first_model_that_follows_from_a_sum_is_taken_by_who_says_that_it_joins_late_alone(
    party, untouched
):
    plan, net = party.plan(), linear()
    sum_ = PublishedSum(0, (0, 1, 2, 3), np.full(plan.encoding.num_words, 2**20, np.int64))
    change, _ = FedAvg().step(plan.mean(sum_.integers, tuple(party.sites)), {}, 1.0)
    add_update(net, change)
    late = party.client("hospital-1", joins_late=True)
    for client in (party.clients[0], late):
        message = task_of(plan, net, index=0, counter=1, published=sum_).pack()
        untouched(message, "own first one, and no round was", client)
    message = task_of(plan, net, index=1, counter=1, published=sum_).pack()
    untouched(
        message, r"own first one, in round 2, .* set joins_late = true in its settings \(client\.toml\)"
    )
    assert is_ready(late.handle(message))
    assert "this site had no model and took the server's" in late.remarks[0]
    assert late.handle(task_of(plan, net, index=1, counter=2, published=sum_, round_id=b"t" * 16).pack())
    assert late.remarks == ()


def test_a_client_that_ends_while_it_trains_the_first_round_is_none_that_joins_late(tmp_path, monkeypatch):
    party, file, name = Party(), tmp_path / "update", "hospital-1"
    server_ = party.server()

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(client_program, "local_update", killed)
        with pytest.raises(Killed):
            party.client(name, update_file=file).handle(task_of(party.plan(), linear()).pack())
    assert server_.run_round(party.network({0: DropoutStage.KEYS})).survivors == tuple(party.sites)[1:]
    again, down = party.client(name, update_file=file), party.client(name)
    assert again.update is None
    told = {"index": 1, "round_id": b"s" * 16, "published": server_.state.published}
    task = task_of(party.plan(), party.net, **told)
    assert is_ready(again.handle(task.pack()))
    assert again.remarks == ()
    with pytest.raises(ProtocolError, match="joins_late = true"):
        down.handle(task.pack())


@pytest.mark.parametrize("restarts", [False, True])
def test_a_task_of_which_nothing_comes_locks_no_site_out(restarts, tmp_path):
    """Before each round somebody sends one site a task of his own, of a last counter and a forged model."""
    party = Party(folder=tmp_path)

    def start():
        party.clients = [party.client(name, update_file=tmp_path / f"{name}.update") for name in party.sites]

    start()
    plan, server_, last = party.plan(), party.server(), linear()
    for index in range(3):
        forged = linear()
        forged.load_state_dict(last.state_dict())
        sum_ = PublishedSum(index - 1, (0, 1, 2, 3), np.full(plan.encoding.num_words, 2**20, np.int64))
        if index:
            add_update(forged, plan.step(sum_.integers, tuple(party.sites), {})[0])
        told = {"counter": 2**63 - 9 + index, "round_id": bytes([index]) * 16}
        told |= {"published": sum_, "index": index} if index else {"index": 2}
        assert is_ready(party.clients[0].handle(task_of(plan, forged, **told).pack()))
        if restarts:
            start()
        last.load_state_dict(party.net.state_dict())
        assert server_.run_round(party.network()).survivors == tuple(party.sites)
    assert [report.index for report in server_.state.reports] == [0, 1, 2]


OF_ANOTHER = {
    "noise": {"config": FederatedConfig(3, SHORT, client_noise=ClientNoise(0.5, 2.0))},
    "private training": {"config": FederatedConfig(3, SHORT, site_privacy=SitePrivacy(2.0, steps=2))},
    "recipe": {"config": FederatedConfig(3, replace(SHORT, learning_rate=0.01))},
    "weights": {"config": FederatedConfig(3, SHORT, weights=BY_DEFAULT["weights"])},
    "objective": {"objective": Smoothed()},
}


@pytest.mark.parametrize("term", [*OF_ANOTHER, "aggregation", "seed", "data"])
def test_an_update_that_was_made_under_other_terms_is_not_sent(term, tmp_path, monkeypatch):
    party, file, name = Party(), tmp_path / "update", "hospital-1"
    party.client(name, update_file=file).handle(task_of(party.plan(), linear()).pack())
    assert party.client(name, update_file=file).update is not None
    plan, settings, told = party.plan(), {}, {}
    if term in OF_ANOTHER:
        plan = party.plan(**OF_ANOTHER[term])
    elif term == "aggregation":
        settings, told = {"aggregation": PlainMean()}, {"aggregation": "plain-sum"}
    elif term == "seed":
        settings = {"seed": 1}
    else:
        party.sites[name] = party.sites[name].subset(np.arange(1, len(party.sites[name])))
    client, trained = party.client(name, plan=plan, update_file=file, **settings), []
    real = client_program.local_update
    monkeypatch.setattr(client_program, "local_update", lambda *a, **k: trained.append(1) or real(*a, **k))
    message = task_of(plan, linear(), counter=1, round_id=b"s" * 16, **told).pack()
    assert is_ready(client.handle(message))
    assert trained == [1]
    again = party.client(name, plan=plan, update_file=file, **settings)
    np.testing.assert_array_equal(again.update.encoded, client.update.encoded)
    message = task_of(plan, linear(), counter=2, round_id=b"t" * 16, **told).pack()
    assert is_ready(again.handle(message))
    assert trained == [1]


# -- rounds
# ------------------------------------------------------------------------------------------------------------


def test_a_round_is_answered_once(party, untouched):
    """A task comes once; and where a vector has left, no counter up to its own and no earlier round comes."""
    client, plan, server_ = party.clients[0], party.plan(), party.server()
    message = task_of(plan, linear()).pack()
    assert is_ready(client.handle(message))
    untouched(message, "counter = 0 .* was in round 0: a replay is refused")
    server_.state = replace(server_.state, next_counter=1)
    assert not any(server_.run_round(party.network()).abort_reason for _ in range(2))
    message = task_of(plan, party.net, index=1, counter=2, round_id=b"u" * 16).pack()
    untouched(message, "counter = 2 .* was in round 2: a replay is refused")
    untouched(task_of(plan, linear(), index=0, counter=0, round_id=b"u" * 16).pack(), "a replay is refused")
    untouched(
        task_of(plan, linear(), index=0, counter=3, round_id=b"u" * 16).pack(), "it was in round 1: leave"
    )


def test_a_round_id_that_the_journal_has_answered_is_refused_before_training(party, untouched):
    client = party.clients[0]
    client._journal.claim_answer(b"r" * 16, bytes(32), bytes(32))
    untouched(task_of(party.plan(), linear()).pack(), "a replay is refused")


@pytest.mark.parametrize(("index", "counter"), [(3, 3), (2**40, 2**40), (1, 0)])
def test_a_round_beyond_the_plan_is_refused(index, counter, party, untouched):
    untouched(
        task_of(party.plan(), linear(), index=index, counter=counter).pack(), "this site's plan has 3 r"
    )


def test_another_model_for_the_same_round_is_refused(party, untouched, second):
    task, net = second
    client = party.clients[0]
    assert is_ready(client.handle(task.pack()))
    moved, change = linear(), torch.zeros(len(weights(net)), dtype=torch.float64)
    moved.load_state_dict(net.state_dict())
    sum_ = PublishedSum(1, (0, 1, 2), np.zeros(len(change), np.int64))
    sum_.integers[0] = 5
    with torch.no_grad():
        moved[1].weight[0, 0] = (
            net[1].weight[0, 0].double() + party.plan().mean(sum_.integers, tuple(party.sites)[:3])[0]
        ).float()
    message = task_of(party.plan(), moved, index=1, counter=2, round_id=b"v" * 16, published=sum_).pack()
    if model_digest(moved) != model_digest(net):
        untouched(message, "another model for round 1")


def test_a_cancelled_round_leaves_nothing_to_answer_with(party):
    client, plan = party.clients[0], party.plan()
    assert is_ready(client.handle(task_of(plan, linear()).pack()))
    kept = client.update
    assert client.handle(pack_cancel(b"x" * 16)) == b""
    assert client._participant is not None
    assert client.handle(pack_cancel(b"r" * 16)) == b""
    _, outgoing = server.open_round(plan.policy(0, b"r" * 16, model_digest(linear())))
    with pytest.raises(ProtocolError, match="no round under way"):
        client.handle(outgoing[0])
    assert client.update is kept


@pytest.mark.parametrize("message", [b"", b"QFT1", b"QFT1\x00" + bytes(16), b"QFT1\x07" + bytes(16), b"QSA3"])
def test_bytes_that_are_no_message_are_refused(message, untouched):
    untouched(message, "leave this round|no round under way")


def is_another_counter(message):
    try:
        return offered_counter(RoundTask.parse(message).terms) != 0
    except ProtocolError:
        return False


def test_every_cut_and_every_flipped_byte_of_a_task_is_refused_or_changes_nothing(party):
    """The first site's answer to a task of which one byte is flipped: a named refusal, in every place."""
    net = nn.Linear(6, 2).eval()
    plan = party.plan(net=net)
    message = task_of(plan, net).pack()
    rng = np.random.default_rng(0)
    start = len(message) - len(pack_model(net))
    for place in [*range(0, start, 3), *rng.integers(start, len(message), 40)]:
        config = ClientConfig(plan)
        client = Client(
            config, party.identities["hospital-1"], party.sites["hospital-1"], net, MemoryJournal()
        )
        bad = message[:place] + bytes([message[place] ^ 0x10]) + message[place + 1 :]
        for altered in (bad, message[:place]):
            if 5 <= place < 21 and altered is bad:
                continue  # the id of the round is the server's to choose
            if altered is bad and is_another_counter(bad):
                continue  # and so is a counter that was not there before
            with pytest.raises(ProtocolError):
                client.handle(altered)


def test_settings_and_parts_of_a_wrong_type_are_refused(party):
    name = "hospital-1"
    good = (ClientConfig(party.plan()), party.identities[name], party.sites[name], linear(), MemoryJournal())
    for place in range(5):
        with pytest.raises(SettingError, match="expected"):
            Client(*good[:place], "odd", *good[place + 1 :])
    with pytest.raises(ProtocolError, match="lists another key for 'hospital-1'"):
        Client(good[0], Identity.create(name), *good[2:])
    with pytest.raises(SettingError, match="aggregation = 'secagg'"):
        ClientConfig(party.plan(), "secagg")
    assert isinstance(ClientConfig(party.plan()).aggregation, SecureSum)
    assert blobs().shape == (6,)
    assert Recipe(epochs=1) != SHORT
