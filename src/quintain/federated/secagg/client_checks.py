"""What a site requires of every list that a server sends: enough members, itself, and no unknown site."""

from quintain.core.errors import ProtocolError
from quintain.federated.secagg.client_states import RoundContext
from quintain.federated.secagg.mask_graph import MaskGraph
from quintain.federated.secagg.message_bodies import SiteSet


def require_members(
    what: str, members: SiteSet, *, within: SiteSet, minimum: int, site: RoundContext
) -> None:
    """Refuse a list that is too short, leaves this site out, or names one that was not listed before."""
    strange = set(members) - set(within)
    if strange or site.index not in members or len(members) < minimum:
        reason = (
            "it names sites that were not listed before"
            if strange
            else "this site is missing"
            if site.index not in members
            else ""
        )
        raise ProtocolError(
            f"{len(members)} {what}{f', and {reason}' * bool(reason)}; this site's policy asks for "
            f"{minimum}: leave this round"
        )


def require_neighbors(what: str, neighbors: SiteSet, graph: MaskGraph) -> None:
    """Refuse a list with too few neighbors of this site; where all are neighbors the list itself counts."""
    if not graph.is_complete and len(neighbors) < graph.threshold:
        raise ProtocolError(
            f"{len(neighbors)} of this site's neighbors {what}; expected {graph.threshold} or more, since "
            "fewer would not hide its vector: leave this round"
        )
