"""A thousand clients along the sparse graph, 30 % of them lost over all stages: exact, and at what cost?

The server runs in this process and all clients in another, so that the server's peak of memory is its own.
"""

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.harness import Comparison
from quintain.federated.secagg import client, server
from quintain.federated.secagg.collecting import RoundInProgress
from quintain.federated.secagg.encoding import EncodedVector, Encoding, finest_encoding
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import Policy, default_threshold
from quintain.federated.transport import DropoutStage

NUM_SITES, LENGTH, NUM_LOST, MAX_CORRUPT = 1000, 10**6, 300, 10


def run() -> Iterator[Comparison]:
    """One round."""
    yield one_round(NUM_SITES, LENGTH, NUM_LOST, MAX_CORRUPT)


def one_round(num_sites: int, length: int, num_lost: int, max_corrupt: int) -> Comparison:
    """Play a round with dropouts spread over the stages."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    clients = multiprocessing.get_context("spawn").Process(
        target=_play_clients, args=(theirs, num_sites, length, num_lost, max_corrupt), daemon=True
    )
    clients.start()
    theirs.close()
    policy: Policy = ours.recv()
    started, spent = time.perf_counter(), time.process_time()
    state: server.State
    state, outgoing = server.open_round(policy)
    uploaded = np.zeros(num_sites, np.int64)
    graph = None
    while isinstance(state, RoundInProgress):
        graph = state.graph
        arriving = _arrivals(ours, outgoing, uploaded)
        all_at_once = state.expected_type is not MessageType.MASKED
        state, outgoing = server.step(state, dict(arriving) if all_at_once else arriving)
    seconds, cpu = time.perf_counter() - started, time.process_time() - spent
    ours.send(state.survivors)
    words, client_ms = ours.recv()
    clients.join()
    if not np.array_equal(state.total, words):
        sys.exit("the sum is not exact")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sizes = policy.sparse_graph
    assert sizes is not None
    assert graph is not None
    whole = int(uploaded.argmax())
    beside = len(graph.neighbors(whole))
    rest = (uploaded[whole] - 4 * length) / beside
    return Comparison(
        f"{num_sites} sites, {length:,} parameters, {num_lost} lost",
        f"exact over {len(state.survivors)} survivors; k = {sizes.degree}, t = {sizes.threshold}; "
        f"{seconds:.0f} s in all, server {cpu:.0f} s of processor time and {peak:.2f} GiB at its peak; "
        f"median client {client_ms:.0f} ms; upload 4 bytes a parameter and {rest:.0f} a neighbor",
    )


def _arrivals(
    connection: Connection, outgoing: Mapping[int, bytes], uploaded: np.ndarray
) -> Iterator[tuple[int, bytes]]:
    """Send each client its message and yield what comes back, one client at a time."""
    for site, message in outgoing.items():
        connection.send_bytes(site.to_bytes(4, "big") + message)
        reply = connection.recv_bytes()
        if reply:
            uploaded[site] += len(reply)
            yield site, reply
    connection.send_bytes(b"")


def _play_clients(
    connection: Connection, num_sites: int, length: int, num_lost: int, max_corrupt: int
) -> None:
    """Be all clients: take the server's messages, and fall silent as planned."""
    identities = [Identity.create(f"site-{i}") for i in range(num_sites)]
    encoding = finest_encoding(length, 1.0, num_sites)
    policy = Policy(
        Roster.from_identities(*identities),
        np.random.bytes(16),
        default_threshold(num_sites),
        num_sites - num_lost,
        encoding,
        bytes(32),
        max_corrupt,
    )
    sites: dict[int, client.State] = {
        i: client.start_round(policy, identity, _words(encoding, i), MemoryJournal())
        for i, identity in enumerate(identities)
    }
    stages = tuple(DropoutStage)
    lost = {i * num_sites // num_lost: stages[i % len(stages)] for i in range(num_lost)}
    connection.send(policy)
    spent = np.zeros(num_sites)
    for reply_type in (MessageType.KEYS, 3, 5, 7, 9):
        while message := connection.recv_bytes():
            site = int.from_bytes(message[:4], "big")
            clock = time.process_time()
            sites[site], reply = client.step(sites[site], message[4:])
            spent[site] += time.process_time() - clock
            stage = lost.get(site)
            connection.send_bytes(b"" if stage and reply_type >= stage.first_missing else reply)
    survivors = connection.recv()
    total = np.zeros(length, np.uint32)
    for name in survivors:
        total += _words(encoding, policy.roster.index(name))
    present = [i for i in range(num_sites) if i not in lost]
    connection.send((total, float(np.median(spent[present])) * 1e3))


def _words(encoding: Encoding, site: int) -> EncodedVector:
    """The encoded vector of a client."""
    signed = np.random.default_rng(site).integers(-encoding.max_abs, encoding.max_abs, encoding.length)
    return signed.astype(np.int32).view(np.dtype("<u4"))
