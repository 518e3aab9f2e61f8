r"""Which pairs of sites share masks: all of them in small federations, a sparse random graph in large ones.

A site masks with its neighbors alone and deals its shares to them, so that its cost grows with their number k
and not with n. The graph is a union of k/2 random cycles through all sites, drawn from a hash of the keys of
the round, which nobody could foresee when sites were corrupted. Each site checks that at least t of its
neighbors survive. What has to hold then, but for a chance of 2^-SECURITY_BITS over the graph, where the
server chooses up to D sites to drop, after it has seen the graph, and K sites side with it:

1. no site has t or more neighbors that side with the server, who would rebuild all its secrets;
2. the honest survivors stay connected, or the masks of a part of them would cancel without the others'.

For the second, let each site have at most Y corrupt neighbors. Within a part S of the honest survivors that
is cut off, each site has t - Y honest neighbors or more, so that S holds more than t - Y sites; and no edge
leads from S to the other honest survivors T. In one random cycle, with r = n - |S| - |T| sites between,

.. math:: P(\text{no edge}) = \frac{\sum_j \binom{r}{j} \binom{|S| - 1}{j - 1}
    \binom{r - j + |T| - 1}{|T|}}{(n - 1)! \,/\, ((r - 1)!\, |S|!\, |T|!)},

where j of the r gaps between removed sites hold sites of S, and the others those of T. The bound is the sum,
over all S and all sets of D dropped sites, of that chance for k/2 independent cycles.

Source: Bell, Bonawitz, Gascon, Lepoint, Raykova, 2020, ePrint 2020/704, for masks along a sparse graph; the
bound for a server that chooses the dropouts is worked out here.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp

from quintain.core.errors import SettingError
from quintain.federated.secagg.primitives import keystream

SECURITY_BITS = 80
"""40 bits, and 40 more since the server may try subsets of the keys until it likes the graph."""
LIVENESS_BITS = 20
"""A round of random dropouts within the plan is abandoned for want of shares with a chance of 2^-20."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """The size of the neighborhoods, and how many neighbors rebuild a site's secret.

    Args:
        degree: k, an even number of neighbors at most.
        threshold: t: shares that rebuild a secret, and neighbors of each site that must survive.
    """

    degree: int
    threshold: int


@lru_cache(maxsize=64)
def choose_parameters(num_sites: int, max_corrupt: int, max_dropped: int) -> GraphParameters:
    """Choose the sparsest graph that stands so many corrupt sites and dropouts.

    Args:
        num_sites: n.
        max_corrupt: K, sites that side with the server.
        max_dropped: D, sites that fall silent, by chance or by the server's choice.

    Raises:
        SettingError: If no graph on so few sites does, or no two honest sites are left.
    """
    if num_sites - max_corrupt - max_dropped < 2:
        raise SettingError(
            f"{num_sites} sites, {max_corrupt} corrupt and {max_dropped} dropped; expected at least two more"
        )
    cuts = _log_chances_of_a_cut(num_sites, max_corrupt, max_dropped)
    for degree in range(2, num_sites - 1, 2):
        # Y: no site has more corrupt neighbors, but for half of the chance that is allowed
        most_corrupt = _quantile(
            _hypergeometric(num_sites - 1, max_corrupt, degree), num_sites, SECURITY_BITS + 1
        )
        # the more neighbors must survive, the larger is a part that can be cut off, and the less likely
        threshold = _fewest_alive(num_sites, degree, max_dropped)
        if threshold <= most_corrupt:
            continue
        if _log2_of_a_cut(cuts, degree, threshold - most_corrupt + 1) <= -(SECURITY_BITS + 1):
            return GraphParameters(degree, threshold)
    raise SettingError(
        f"no sparse graph on {num_sites} sites stands {max_corrupt} corrupt and {max_dropped} dropped ones; "
        "expected fewer of them, or the complete graph"
    )


def neighbors(seed: bytes, num_sites: int, degree: int) -> tuple[tuple[int, ...], ...]:
    """Return the neighbors of each site, in ascending order, without the site itself.

    Args:
        seed: 32 bytes: a hash of all public keys of the round.
        num_sites: n.
        degree: k, even; two cycles may share an edge, so that a site can have fewer.
    """
    orders = np.array([_permutation(seed, cycle, num_sites) for cycle in range(degree // 2)])
    after = np.roll(orders, -1, axis=1)
    # each edge from both its ends as one number, so that sorting them lists each site's neighbors in order
    ends = np.concatenate((orders * num_sites + after, after * num_sites + orders), axis=None)
    sites, beside = np.divmod(np.unique(ends), num_sites)
    starts = np.searchsorted(sites, np.arange(1, num_sites))
    return tuple(tuple(row.tolist()) for row in np.split(beside, starts))


def is_connected(graph: Sequence[Collection[int]], kept: Collection[int]) -> bool:
    """Whether the kept sites form one piece when all others are removed."""
    left = set(kept)
    if not left:
        return False
    front = [left.pop()]
    while front:
        reached = left.intersection(graph[front.pop()])
        left -= reached
        front.extend(reached)
    return not left


def _log_chances_of_a_cut(num_sites: int, max_corrupt: int, max_dropped: int) -> tuple[Floats, Floats]:
    """For each size of a part: log of the number of choices, and of one cycle's chance to have no edge."""
    honest = num_sites - max_corrupt
    survivors = honest - max_dropped
    parts = np.arange(1, survivors)
    if survivors == num_sites:
        # a cycle through all sites is in one piece
        return np.full(len(parts), -math.inf), np.full(len(parts), -math.inf)
    choices = _log_binomial(honest, parts) + _log_binomial(honest - parts, max_dropped)
    no_edge = [_log_chance_of_no_edge(num_sites, part, survivors - part) for part in map(int, parts)]
    return choices, np.array(no_edge)


def _log2_of_a_cut(cuts: tuple[Floats, Floats], degree: int, smallest_part: int) -> float:
    """Return the bound on the chance that some dropouts cut off a part of the honest survivors, as log2."""
    choices, no_edge = cuts
    # neither side of a cut is smaller; entry 0 is for parts of one site
    possible = slice(smallest_part - 1, len(choices) - smallest_part + 1)
    logs = (choices + degree // 2 * no_edge)[possible]
    return float(logsumexp(logs)) / math.log(2) if len(logs) else -math.inf


def _log_chance_of_no_edge(num_sites: int, part: int, rest: int) -> float:
    """Log of the chance that one random cycle has no edge between two sets of sites."""
    removed = num_sites - part - rest
    filled = np.arange(1, min(part, removed - 1) + 1)
    if not len(filled):
        return -math.inf
    # so many gaps hold sites of the part, at least one each; the others hold the rest in any numbers
    ways = (
        _log_binomial(removed, filled)
        + _log_binomial(part - 1, filled - 1)
        + _log_binomial(removed - filled + rest - 1, rest)
    )
    arrangements = gammaln(num_sites) - gammaln(removed) - gammaln(part + 1) - gammaln(rest + 1)
    return min(0.0, float(logsumexp(ways) - arrangements))


def _hypergeometric(population: int, kind: int, draws: int) -> Floats:
    """Return the chances that 0, 1, ... of so many different random sites are of one kind."""
    counts = np.arange(draws + 1)
    possible = (counts <= kind) & (draws - counts <= population - kind)
    logs = np.full(draws + 1, -math.inf)
    drawn = counts[possible]
    logs[possible] = (
        _log_binomial(kind, drawn)
        + _log_binomial(population - kind, draws - drawn)
        - _log_binomial(population, draws)
    )
    return np.exp(logs)


def _quantile(chances: Floats, num_sites: int, bits: int) -> int:
    """Return the smallest count that no site exceeds, but for a chance of 2^-bits over all sites."""
    tails = np.append(np.cumsum(chances[::-1])[::-1], 0.0)  # of this count or more
    return int(np.argmax(tails[1:] * num_sites <= 2.0**-bits))


def _fewest_alive(num_sites: int, degree: int, max_dropped: int) -> int:
    """Return how many different neighbors survive at every site when random sites drop out."""
    # a place in a cycle repeats an earlier neighbor with a chance of at most (neighbors so far) / (n - 2)
    repeated = np.ones(1)
    for earlier in range(0, degree, 2):
        chance = min(1.0, earlier / (num_sites - 2))
        for _ in range(2):
            repeated = np.convolve(repeated, [1 - chance, chance])
    # given how many they are, a site's neighbors are a random set of the others
    lost = np.convolve(repeated, _hypergeometric(num_sites - 1, max_dropped, degree))
    return degree - _quantile(lost, num_sites, LIVENESS_BITS)


def _permutation(seed: bytes, cycle: int, num_sites: int) -> list[int]:
    """Return a random order of the sites, from the key stream of AES under the seed."""
    # 64 random bits a site, sorted: two are equal, which favors the smaller index, with a chance of n^2 2^-65
    stream = keystream(seed, cycle.to_bytes(8, "big") + bytes(8))
    words = np.frombuffer(stream.update(bytes(8 * num_sites)), ">u8")
    return [int(site) for site in np.argsort(words, kind="stable")]


def _log_binomial(n: int | NDArray[np.int64], k: int | NDArray[np.int64]) -> Floats:
    return np.asarray(
        gammaln(np.asarray(n) + 1) - gammaln(np.asarray(k) + 1) - gammaln(np.asarray(n) - k + 1)
    )
