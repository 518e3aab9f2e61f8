"""A small federation for the tests: deterministic keys, and a hand on every message."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quintain.federated.secagg import client, server
from quintain.federated.secagg.encoding import WORD_DTYPE, Encoding
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import Policy, default_threshold

MODEL = bytes(range(32))


@dataclass
class Federation:
    policy: Policy
    identities: list[Identity]
    words: list[np.ndarray]
    sites: dict[int, client.State]

    def deliver(self, outgoing):
        """Let every addressed site take its step."""
        replies = {}
        for i, message in outgoing.items():
            self.sites[i], replies[i] = client.step(self.sites[i], message)
        return replies

    def run(self, until: type = client.Done, tamper: Callable = lambda outgoing: outgoing):
        """Play the round until the sites are in a state of this type; the server's state and what it would
        send next.
        """
        state, outgoing = server.open_round(self.policy)
        while not isinstance(self.sites[0], until):
            state, outgoing = server.step(state, self.deliver(tamper(outgoing)))
        return state, outgoing


def federation(
    n=4, *, threshold=None, minimum=None, corrupt=1, length=3, seed=0, round_id=bytes(16)
) -> Federation:
    entropy = random.Random(seed).randbytes
    identities = [Identity.create(f"site-{i}", entropy) for i in range(n)]
    encoding = Encoding(length, 1.0, 1000, n)
    t = default_threshold(n) if threshold is None else threshold
    policy = Policy(
        Roster.from_identities(*identities), round_id, t, minimum or max(2, t), encoding, MODEL, corrupt
    )
    rng = np.random.default_rng(seed)
    words = [encoding.quantize(rng.uniform(-1, 1, length)) for _ in range(n)]
    sites = {
        i: client.start_round(policy, identities[i], words[i], MemoryJournal(), entropy=entropy)
        for i in range(n)
    }
    return Federation(policy, identities, words, dict(sites))


def total(words) -> np.ndarray:
    return np.sum([w.astype(np.uint64) for w in words], axis=0).astype(WORD_DTYPE)
