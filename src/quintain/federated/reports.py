"""Reports of a federated training: what the server knows, and what only a simulation can know."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from quintain.federated.privacy import FederationPrivacy
from quintain.federated.secagg.encoding import Encoding


@dataclass(frozen=True, slots=True)
class SimulationFacts:
    """The facts of a round that only a simulation knows, since it holds all sites.

    The server learns none of them.

    Args:
        exact: Whether the secure sum equals the plain integer sum of the survivors' updates; False if there
            is none.
        losses: The last local loss of each site that trained, by its name.
        num_clipped: How many entries of each site's update were clipped; if there are many, raise
            ``clip_value``.
        left: Why each site that left the round did so: its training or its journal failed, or it refused to
            go on. Those that were made to drop out are not listed.
        exposed: How near the server comes to one site's update when it subtracts two sums: the cosine
            between their difference and the true update, by the site's name. Listed are sites in which a sum
            of this round and the last one before it differ, if they differ in no other. Of groups
            (``GroupedSum``) each group's sums are subtracted.
    """

    exact: bool
    losses: Mapping[str, float]
    num_clipped: Mapping[str, int]
    left: Mapping[str, str] = field(default_factory=dict)
    exposed: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerReport:
    """The server's report of one round, with all that the server knows of it.

    Args:
        index: The number of the round, from 0.
        survivors: The sites whose updates are in the average; empty if the round was abandoned.
        dropped: The sites whose updates are not.
        weight: The summed public weight of the survivors.
        seconds: How long the aggregation took.
        refused: Why a site's messages were refused, by its name: they were not valid, or the site cheated in
            an earlier round.
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
    """The report of one simulated round: the server's report, and apart from it the simulation's facts.

    Args:
        masked_vectors: How many masked or encrypted vectors the server saw. It saw no others, unless the
            aggregation hides nothing.
        bytes_uploaded: How many bytes each site sent for the sum.
        simulated: What only the simulation knows.
    """

    masked_vectors: int
    bytes_uploaded: Mapping[str, int]
    simulated: SimulationFacts


@dataclass(frozen=True, slots=True)
class FederatedRun:
    """The reports of a federated training.

    Args:
        rounds: The report of each round.
        num_sites: The number of sites in the roster.
        threshold: t, how many sites must agree on who survived.
        encoding: The integer grid on which updates are summed.
        largest_fraction: The largest fraction that one site can have of a sum's weight: in the smallest sum,
            after the sites that may side with the server have subtracted their own updates.
        privacy: Epsilon for the whole federation; None if it was not trained privately.
        personal_models: Each site's own model by its name, where the strategy keeps a part of the net at the
            sites.
    """

    rounds: tuple[RoundReport, ...]
    num_sites: int
    threshold: int
    encoding: Encoding
    largest_fraction: float
    privacy: FederationPrivacy | None = None
    personal_models: Mapping[str, nn.Module] = field(default_factory=dict, repr=False)
