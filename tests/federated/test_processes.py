"""Server and clients as programs of their own: only bytes between them, and the same model bit for bit."""

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from quintain.federated import Deadlines, FederatedConfig, Server, TrainingPlan, simulate
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg_sum import SecureSum
from quintain.federated.streams import StreamTransport, serve
from quintain.federated.transport import DropoutStage
from tests.federated.settings import SHORT, Party, blobs, linear, partition, weights

CLIENT = Path(__file__).with_name("client_process.py")
ROUNDS, SEED = 3, 5
PATIENT = Deadlines(train=300.0, stage=300.0)


def call(listener, identity, roster, folder, **said):
    """What a client is started with; the socket that it opens is all that it shares with the server."""
    said = {
        "name": identity.name,
        "public": identity.public.hex(),
        "private": bytes(identity.private.peek()).hex(),
        "names": roster.names,
        "keys": [key.hex() for key in roster.keys],
        "rounds": ROUNDS,
        "seed": SEED,
        "unplugged": [],
        "killed": -1,
        **said,
    }
    return (CLIENT, listener.getsockname()[1], json.dumps(said), folder)


def test_processes_with_only_bytes_between_them_make_the_simulated_model_bit_for_bit(ready, tmp_path):
    """A round has five messages: the task, whose reply has the keys, and four of the sum. The second site is
    unplugged from its masked vector of the second round on, the third is killed before it unmasks the last.
    """
    sites = partition(blobs(), 4, min_examples=10, min_per_class=1).sites
    names = list(sites)
    identities = [Identity.create(name) for name in names]
    roster = Roster.from_identities(*identities)
    faults = {names[1]: {"unplugged": [7]}, names[2]: {"killed": 2 * 5 + 4}}
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in names]
    calls = [
        call(listener, one, roster, tmp_path / one.name, **faults.get(one.name, {}))
        for listener, one in zip(listeners, identities, strict=True)
    ]
    net = linear()
    plan = TrainingPlan.for_net(
        roster, FederatedConfig(ROUNDS, SHORT), net, data="samples of shape (6,) in [0, 1]"
    )
    with ThreadPoolExecutor(1) as pool, ExitStack() as opened:
        ended = pool.submit(ready.together, *calls, home=tmp_path)
        streams = []
        for listener in listeners:
            opened.enter_context(listener).settimeout(300)
            streams.append(opened.enter_context(listener.accept()[0]))
        reports = Server(plan, net, SecureSum()).run(StreamTransport(dict(enumerate(streams)), PATIENT))
    told = []
    simulated = linear()
    run = simulate(
        sites,
        simulated,
        FederatedConfig(ROUNDS, SHORT),
        seed=SEED,
        dropouts={1: {names[1]: "masked"}, 2: {names[2]: "unmask"}},
        on_round=lambda facts, _: told.append(facts),
    )
    assert [one.survivors for one in reports] == [one.survivors for one in run.rounds]
    assert [one.dropped for one in reports] == [(), (names[1],), ()]
    assert torch.equal(weights(net), weights(simulated))
    assert not torch.equal(weights(net), weights(linear()))
    assert [told.code for told in ended.result()] == [0, 0, 9, 0]


def test_who_does_not_answer_before_the_deadline_is_silent_and_its_late_answer_is_discarded():
    ours, theirs = zip(*(socket.socketpair() for _ in range(2)), strict=True)
    transport = StreamTransport(dict(enumerate(ours)), Deadlines(train=0.0, stage=0.0))
    assert transport.exchange({0: b"first", 1: b"first"}) == {}
    theirs[0].sendall((1).to_bytes(8, "big") + (4).to_bytes(8, "big") + b"late")
    assert transport.exchange({0: b"second"}) == {}
    theirs[0].sendall((3).to_bytes(8, "big") + (4).to_bytes(8, "big") + b"good")
    assert transport.exchange({0: b"third"}) == {0: b"good"}
    assert transport.broadcast(b"task", [0, 1, 7]) == {}
    for one in (*ours, *theirs):
        one.close()


def test_a_doubled_reply_counts_once_and_one_for_a_message_to_come_does_not_count():
    ours, theirs = socket.socketpair()
    transport = StreamTransport({0: ours}, PATIENT)
    for number, text in ((2, b"early"), (1, b"first"), (1, b"again")):
        theirs.sendall(number.to_bytes(8, "big") + (5).to_bytes(8, "big") + text)
    assert list(transport.arrivals({0: b"one"})) == [(0, b"first")]
    theirs.sendall((2).to_bytes(8, "big") + (6).to_bytes(8, "big") + b"second")
    assert transport.exchange({0: b"two"}) == {0: b"second"}
    for one in (ours, theirs):
        one.close()


def test_who_hangs_up_or_sends_a_frame_that_is_too_large_is_not_waited_for():
    ours, theirs = zip(*(socket.socketpair() for _ in range(3)), strict=True)
    transport = StreamTransport(dict(enumerate(ours)), PATIENT, max_frame=100)
    theirs[0].close()
    theirs[1].sendall((1).to_bytes(8, "big") + (101).to_bytes(8, "big"))
    theirs[2].sendall((1).to_bytes(8, "big") + (2).to_bytes(8, "big") + b"ok")
    assert transport.exchange(dict.fromkeys(range(3), b"first")) == {2: b"ok"}
    theirs[2].close()
    assert transport.exchange(dict.fromkeys(range(3), b"second")) == {}
    for one in ours:
        one.close()


@pytest.mark.parametrize("error", [OSError("disk"), ValueError("secret 17"), MemoryError()])
def test_a_client_that_fails_tells_the_server_nothing_but_that_it_is_silent(error):
    ours, theirs = socket.socketpair()

    def failing(message):
        raise error

    ours.sendall((4).to_bytes(8, "big") + (5).to_bytes(8, "big") + b"hello")
    ours.shutdown(socket.SHUT_WR)
    serve(failing, theirs)
    theirs.close()
    assert ours.recv(1000) == (4).to_bytes(8, "big") + bytes(8)
    ours.close()


def arrays(value, seen=None):
    """Every tensor, array and byte string that an object holds, however deep, as bytes."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, torch.Tensor):
        yield value.detach().numpy().tobytes()
    elif hasattr(value, "tobytes"):
        yield value.tobytes()
    elif isinstance(value, bytes | bytearray):
        yield bytes(value)
    elif isinstance(value, dict):
        for one in value.values():
            yield from arrays(one, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for one in value:
            yield from arrays(one, seen)
    else:
        slots = [name for one in type(value).__mro__ for name in getattr(one, "__slots__", ())]
        for name in (*slots, *getattr(value, "__dict__", ())):
            yield from arrays(getattr(value, name, None), seen)


def test_a_server_holds_no_update_and_no_private_key_after_any_stage():
    party = Party()
    server = party.server()
    network = party.network({1: DropoutStage.MASKED})
    server.run_round(network)
    secrets = [one.update.encoded.tobytes() for one in party.clients]
    secrets += [bytes(one.private.peek()) for one in party.identities.values()]
    held = list(arrays(server))
    assert len(held) >= 10
    assert not any(secret in one for secret in secrets for one in held)
    written = b"".join(
        message.data for message in network.view_under(server.plan.policy(0, bytes(16), bytes(32))).received
    )
    assert not any(secret in written for secret in secrets)
    assert any(party.clients[0].update.encoded.tobytes() in one for one in arrays(party.clients[0]))
