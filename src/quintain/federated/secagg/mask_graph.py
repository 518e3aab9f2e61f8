"""Who shares masks with whom in a round: all with all, or each with the neighbors that the keys decide."""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from quintain.core.errors import SettingError

if TYPE_CHECKING:
    from quintain.federated.secagg.graph import GraphParameters

COMPLETE_UP_TO = 128
"""Sites up to which all pairs share masks."""


@dataclass(frozen=True, slots=True)
class MaskGraph:
    """The graph of one round: sites mask with their neighbors alone, and deal their shares to them.

    Args:
        num_sites: n, the size of the roster.
        threshold: Shares that rebuild a site's secret; in a sparse graph also the neighbors of each survivor
            that must survive.
        rows: The neighbors of each site, in order; None where all are neighbors of all.
    """

    num_sites: int
    threshold: int
    rows: tuple[tuple[int, ...], ...] | None = field(default=None, repr=False)

    @property
    def is_complete(self) -> bool:
        """Whether all pairs share masks."""
        return self.rows is None

    def neighbors(self, site: int) -> tuple[int, ...]:
        """Return the sites with which one shares masks, in order."""
        if self.rows is None:
            return tuple(peer for peer in range(self.num_sites) if peer != site)
        return self.rows[site]

    def near(self, site: int, members: Collection[int]) -> tuple[int, ...]:
        """Return those of the members that are a site's neighbors or itself, in order."""
        if self.rows is None:
            return tuple(sorted(members))
        return tuple(sorted({site, *self.rows[site]}.intersection(members)))

    def slot(self, site: int, peer: int) -> int:
        """Return the place of a neighbor's key among a site's channel keys."""
        return peer if self.rows is None else bisect_left(self.rows[site], peer)

    def own_slot(self, site: int) -> int:
        """Return a site's own place, where it has one beside its neighbors."""
        return site if self.rows is None else len(self.rows[site])

    def weakness(self, survivors: Collection[int], names: Sequence[str]) -> str:
        """Say why the masks of these survivors would not hide each of them; nothing if they would.

        A site with few surviving neighbors could lose all its masks to those that side with the server, and
        the masks of a part without an edge to the others cancel by themselves. Every site is looked at, also
        by the others, so that no site can be made up of which nobody has heard.
        """
        if self.rows is None:
            return ""
        from quintain.federated.secagg.graph import is_connected

        kept = frozenset(survivors)
        counts = {site: len(kept.intersection(self.rows[site])) for site in sorted(kept)}
        weakest = min(counts, key=counts.__getitem__)
        if counts[weakest] < self.threshold:
            return (
                f"only {counts[weakest]} neighbors of {names[weakest]!r} survived; expected {self.threshold} "
                "or more of each survivor"
            )
        if not is_connected(self.rows, kept):
            return "the survivors fall apart into groups without a common mask; expected one"
        return ""


@lru_cache(maxsize=64)
def sparse_parameters(num_sites: int, max_corrupt: int, max_dropped: int) -> "GraphParameters | None":
    """Return the parameters of the sparse graph; None where all pairs share masks.

    They do in small federations, and where no sparse graph stands so many corrupt and dropped sites.

    Args:
        num_sites: n.
        max_corrupt: K, sites that side with the server.
        max_dropped: D, sites that fall silent, by chance or by the server's choice.
    """
    if num_sites <= COMPLETE_UP_TO:
        return None
    from quintain.federated.secagg.graph import choose_parameters

    try:
        return choose_parameters(num_sites, max_corrupt, max_dropped)
    except SettingError:
        return None


def draw_graph(parameters: "GraphParameters", seed: bytes, num_sites: int) -> MaskGraph:
    """Draw the sparse graph of a round.

    Args:
        parameters: Its size.
        seed: 32 bytes: the transcript hash after the list of all keys.
        num_sites: n.
    """
    from quintain.federated.secagg.graph import neighbors

    return MaskGraph(num_sites, parameters.threshold, neighbors(seed, num_sites, parameters.degree))
