"""What each sum of updates costs: bytes a parameter and processor seconds (a table in docs/federated.md)."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.harness import Comparison
from quintain.core.registry import entries
from quintain.federated import Aggregation, Participant
from quintain.federated.in_process import ParticipantTransport
from quintain.federated.secagg import Identity, MemoryJournal, Policy, Roster
from quintain.federated.secagg.encoding import finest_encoding
from quintain.federated.secagg.policy import default_threshold

NUM_SITES, LENGTH = 5, 1_000_000


@dataclass(slots=True)
class Timed:
    """A site's half of a sum, whose processor seconds are counted."""

    inner: Participant
    seconds: float = 0.0

    def step(self, message: bytes) -> bytes:
        """Take a step, and count it."""
        started = time.process_time()
        try:
            return self.inner.step(message)
        finally:
            self.seconds += time.process_time() - started


def run() -> Iterator[Comparison]:
    """One row for each registered aggregation: all of them on the same vectors."""
    rng = np.random.default_rng(0)
    encoding = finest_encoding(LENGTH, 1.0, NUM_SITES)
    words = [encoding.quantize(rng.uniform(-1, 1, LENGTH)) for _ in range(NUM_SITES)]
    exact = np.sum([encoding.to_signed(one) for one in words], axis=0)
    for name, entry in entries("aggregation").items():
        yield Comparison(name, _row(entry.load()(), words, exact))


def _row(aggregation: Aggregation, words: list[np.ndarray], exact: np.ndarray) -> str:
    identities = [Identity.create(f"site-{index}") for index in range(NUM_SITES)]
    threshold = default_threshold(NUM_SITES)
    policy = Policy(
        Roster.from_identities(*identities),
        bytes(16),
        threshold,
        threshold,
        finest_encoding(LENGTH, 1.0, NUM_SITES),
        bytes(32),
    )
    sites: Mapping[int, Timed] = {
        index: Timed(aggregation.join(policy, identity, words[index], MemoryJournal()))
        for index, identity in enumerate(identities)
    }
    transport = ParticipantTransport(policy.roster.names, sites, {}, aggregation.replies)
    started = time.process_time()
    found = aggregation.sum(policy, transport)
    clients = sorted(site.seconds for site in sites.values())
    server = time.process_time() - started - sum(clients)
    view = transport.view_under(policy)
    sent = sum(view.bytes_uploaded.values()) / NUM_SITES / LENGTH
    received = sum(len(letter.data) for letter in view.sent) / NUM_SITES / LENGTH
    equal = bool(np.array_equal(found.integers, exact))
    return (
        f"{sent:.2f} bytes a parameter up and {received:.2f} down, by site; processor seconds "
        f"{clients[0]:.3f} to {clients[-1]:.3f} at a site, {server:.3f} at the server; exact: {equal}"
    )
