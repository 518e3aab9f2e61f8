"""A client's processor time in a secure sum of 1M parameters, beside that of its masks alone.

The floor is what no client can do without: the AES stream of each mask, added to the vector, by the same
loop. Processor time, since other processes share the machine; medians over the clients and over rounds in
turn with the floor.
"""

import statistics
import sys
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.harness import Comparison
from quintain.federated.secagg import client, masks, server
from quintain.federated.secagg.collecting import RoundInProgress
from quintain.federated.secagg.encoding import WORD_DTYPE, finest_encoding
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.messages import MessageType
from quintain.federated.secagg.policy import Policy, default_threshold

LENGTH = 10**6
STAGES = ("start", "keys", "shares", "masked", "consistency", "unmask")


def run() -> Iterator[Comparison]:
    """Eight clients, and a hundred on the complete graph."""
    for num_sites, rounds in ((8, 7), (100, 2)):
        yield client_cost(num_sites, rounds)


def client_cost(num_sites: int, rounds: int) -> Comparison:
    """Time clients and floor in turn."""
    played = [(client_seconds(num_sites), _floor(num_sites)) for _ in range(rounds)]
    spent = np.median([np.median(seconds, axis=0) for seconds, _ in played], axis=0) * 1e3
    floor = statistics.median(seconds for _, seconds in played) * 1e3
    total = float(spent.sum())
    stages = ", ".join(f"{name} {ms:.1f}" for name, ms in zip(STAGES, spent, strict=True))
    return Comparison(
        f"client, {num_sites} sites, {LENGTH:,} parameters",
        f"{total:.1f} ms a client ({stages}); masks alone {floor:.1f} ms; ratio {total / floor:.2f}",
    )


def client_seconds(num_sites: int) -> np.ndarray:
    """Play a round; seconds (num_sites, stages) of each client."""
    identities = [Identity.create(f"site-{i}") for i in range(num_sites)]
    encoding = finest_encoding(LENGTH, 1.0, num_sites)
    threshold = default_threshold(num_sites)
    policy = Policy(
        Roster.from_identities(*identities),
        np.random.bytes(16),
        threshold,
        max(2, threshold),
        encoding,
        bytes(32),
    )
    words = encoding.quantize(np.random.default_rng(0).uniform(-1, 1, LENGTH))
    spent = np.zeros((num_sites, len(STAGES)))
    sites: dict[int, client.State] = {}
    for i, identity in enumerate(identities):
        clock = time.process_time()
        sites[i] = client.start_round(policy, identity, words, MemoryJournal())
        spent[i, 0] = time.process_time() - clock

    def replies(outgoing: dict[int, bytes], stage: int) -> Iterator[tuple[int, bytes]]:
        for i, message in outgoing.items():
            clock = time.process_time()
            sites[i], reply = client.step(sites[i], message)
            spent[i, stage] = time.process_time() - clock
            yield i, reply

    state: server.State
    state, outgoing = server.open_round(policy)
    stage = 0
    while isinstance(state, RoundInProgress):
        stage += 1
        arriving = replies(outgoing, stage)
        all_at_once = state.expected_type is not MessageType.MASKED
        state, outgoing = server.step(state, dict(arriving) if all_at_once else arriving)
    expected = (words.astype(np.uint64) * num_sites).astype(WORD_DTYPE)
    if not np.array_equal(state.total, expected):
        sys.exit("the sum is not exact")
    return spent


def _floor(num_sites: int) -> float:
    """Seconds for the masks of one client: its own, and one for each other."""
    vector = np.zeros(LENGTH, WORD_DTYPE)
    streams = [(i.to_bytes(32, "big"), False) for i in range(num_sites)]
    times = []
    for _ in range(3):
        clock = time.process_time()
        masks.add_streams(vector, streams)
        times.append(time.process_time() - clock)
    return statistics.median(times)
