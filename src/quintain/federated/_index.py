"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.federated.aggregate import secure_sum as secure_sum

EXPORTS: dict[str, str] = {
    "DropoutStage": "quintain.federated.transport",
    "FederatedConfig": "quintain.federated.config",
    "FederatedRun": "quintain.federated.reports",
    "InProcessTransport": "quintain.federated.transport",
    "Partition": "quintain.federated.partitioning",
    "RoundAbandonedError": "quintain.federated.aggregate",
    "RoundReport": "quintain.federated.reports",
    "SecureSumResult": "quintain.federated.aggregate",
    "ServerView": "quintain.federated.view",
    "Simulated": "quintain.federated.reports",
    "Transport": "quintain.federated.transport",
    "UnmaskingAttempt": "quintain.federated.unmasking_attack",
    "attack_masks": "quintain.federated.unmasking_attack",
    "partition": "quintain.federated.partitioning",
    "require_hidden": "quintain.federated.hidden",
    "run_round": "quintain.federated.aggregate",
    "secagg": "quintain.federated.secagg",
    "secure_sum": "quintain.federated.aggregate",
    "simulate": "quintain.federated.simulation",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "aggregation",
        "secagg",
        "quintain.federated.aggregate:secure_sum",
        (
            "exact sums of masked vectors, over sites that may fall silent at any stage (Bonawitz et al. "
            "2017)"
        ),
        guarantee=(
            "the server learns the sum over at least `min_survivors` sites and nothing else of a site's "
            "vector, if 2t > n + max_corrupt and at most `max_corrupt` sites collude with it; a sum may "
            "still tell, and so may two that differ in their sites: add differential privacy"
        ),
    ),
)
