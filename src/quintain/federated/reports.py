"""Reports of a federated training: what the server knows, and what only a simulation can know."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from quintain.federated.privacy import FederationPrivacy
from quintain.federated.secagg.encoding import Encoding


@dataclass(frozen=True, slots=True)
class Simulated:
    """The facts of a round that only a simulation knows, since it holds all sites.

    The server learns none of them.

    Args:
        exact: Whether the secure sum equals the plain integer sum of the survivors' updates; False if there
            is none.
        losses: Each site's last local loss.
        num_clipped: Entries of each site's update that the clip cut: if many, raise ``clip_value``.
        left: Sites that went silent by themselves, since their training or their journal failed or they
            refused to go on: the reason.
        exposed: A site that is in a sum of this round or in the last one before it, but not in both, while
            all others are: the cosine between its true update and the difference of the two sums, which is
            the server's guess at it. Of groups (``GroupedSum``) each group's sums are subtracted.
    """

    exact: bool
    losses: Mapping[str, float]
    num_clipped: Mapping[str, int]
    left: Mapping[str, str] = field(default_factory=dict)
    exposed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The report of one round by the server, and of all that it knows.

    Args:
        index: From 0.
        survivors: Whose updates are in the average; empty if the round was abandoned.
        dropped: Whose are not.
        weight: The summed public weight of the survivors.
        seconds: What the aggregation took.
        refused: Sites whose messages did not hold up, or that are left out since they cheated in a round
            before, and why.
        accused: Sites that are proven to have cheated in this round.
        abort_reason: Why there is no average; empty if there is one.
    """

    index: int
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    weight: int
    seconds: float
    refused: Mapping[str, str] = field(default_factory=dict)
    accused: tuple[str, ...] = ()
    abort_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundReport(ServerReport):
    """The report of one simulated round: the server's, and apart from it what only a simulation can know.

    Args:
        masked_vectors: How many masked or encrypted vectors the server saw; others: none, unless the
            aggregation hides nothing.
        bytes_uploaded: Bytes that each site sent for the sum.
        simulated: What the server does not know.
    """

    masked_vectors: int
    bytes_uploaded: Mapping[str, int]
    simulated: Simulated


@dataclass(frozen=True, slots=True)
class FederatedRun:
    """The reports of a federated training.

    Args:
        rounds: The report of each round.
        num_sites: Size of the roster.
        threshold: t that was in force.
        encoding: The grid of the updates.
        largest_fraction: The largest part of a sum's weight that is one site's: of the smallest sum, less the
            sites that may side with the server.
        privacy: Epsilon for the whole federation, where it was trained privately.
        personal_models: Site to its own model, where the strategy leaves a part of the net at the sites.
    """

    rounds: tuple[RoundReport, ...]
    num_sites: int
    threshold: int
    encoding: Encoding
    largest_fraction: float
    privacy: FederationPrivacy | None = None
    personal_models: Mapping[str, nn.Module] = field(default_factory=dict, repr=False)
