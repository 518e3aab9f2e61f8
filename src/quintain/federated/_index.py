"""What is registered and what is public here, as strings. Written by ``make format``."""

# fmt: off
# ruff: noqa

from typing import TYPE_CHECKING

from quintain.core.registry import Entry

if TYPE_CHECKING:
    from quintain.federated.homomorphic_sum import HomomorphicSum as HomomorphicSum
    from quintain.federated.plain_mean import PlainMean as PlainMean
    from quintain.federated.secagg_sum import SecureSum as SecureSum
    from quintain.federated.strategies.fedadam import FedAdam as FedAdam
    from quintain.federated.strategies.fedavg import FedAvg as FedAvg
    from quintain.federated.strategies.fedavgm import FedAvgM as FedAvgM
    from quintain.federated.strategies.fedbn import FedBN as FedBN
    from quintain.federated.strategies.fedprox import FedProx as FedProx
    from quintain.federated.strategies.fedyogi import FedYogi as FedYogi
    from quintain.federated.strategies.personal_head import PersonalHead as PersonalHead
    from quintain.federated.strategies.scaffold import Scaffold as Scaffold

EXPORTS: dict[str, str] = {
    "Aggregation": "quintain.federated.aggregation",
    "Client": "quintain.federated.client",
    "ClientConfig": "quintain.federated.client_config",
    "ClientNoise": "quintain.federated.client_noise",
    "Deadlines": "quintain.federated.transport",
    "DropoutStage": "quintain.federated.transport",
    "FedAdam": "quintain.federated.strategies.fedadam",
    "FedAvg": "quintain.federated.strategies.fedavg",
    "FedAvgM": "quintain.federated.strategies.fedavgm",
    "FedBN": "quintain.federated.strategies.fedbn",
    "FedProx": "quintain.federated.strategies.fedprox",
    "FedYogi": "quintain.federated.strategies.fedyogi",
    "FederatedConfig": "quintain.federated.config",
    "FederatedRun": "quintain.federated.reports",
    "GroupedSum": "quintain.federated.grouped_sum",
    "HomomorphicSum": "quintain.federated.homomorphic_sum",
    "InProcessTransport": "quintain.federated.in_process",
    "LocalTraining": "quintain.federated.strategies.strategy",
    "Participant": "quintain.federated.aggregation",
    "Partition": "quintain.federated.partitioning",
    "PersonalHead": "quintain.federated.strategies.personal_head",
    "PlainMean": "quintain.federated.plain_mean",
    "RoundAbandonedError": "quintain.federated.aggregate",
    "RoundReport": "quintain.federated.reports",
    "RoundSum": "quintain.federated.aggregation",
    "Scaffold": "quintain.federated.strategies.scaffold",
    "SecureSum": "quintain.federated.secagg_sum",
    "SecureSumResult": "quintain.federated.sum_result",
    "Server": "quintain.federated.server",
    "ServerReport": "quintain.federated.reports",
    "ServerView": "quintain.federated.view",
    "SharedKey": "quintain.federated.homomorphic_key",
    "SimulationFacts": "quintain.federated.reports",
    "SitePrivacy": "quintain.federated.site_privacy",
    "Strategy": "quintain.federated.strategies.strategy",
    "TrainingPlan": "quintain.federated.plan",
    "Transport": "quintain.federated.transport",
    "UnmaskingAttempt": "quintain.federated.unmasking_attack",
    "attack_masks": "quintain.federated.unmasking_attack",
    "partition": "quintain.federated.partitioning",
    "require_hidden": "quintain.federated.hidden",
    "robust_aggregation": "quintain.federated.grouped_sum",
    "run_round": "quintain.federated.secagg_sum",
    "secagg": "quintain.federated.secagg",
    "secure_sum": "quintain.federated.aggregate",
    "simulate": "quintain.federated.simulation",
}

ENTRIES: tuple[Entry, ...] = (
    Entry(
        "aggregation",
        "he",
        "quintain.federated.homomorphic_sum:HomomorphicSum",
        (
            "exact sums of ciphertexts under one key that all sites share (BFV, by TenSEAL): one vector "
            "up, then a signature, and dropouts before it are free"
        ),
        guarantee=(
            "a server that keeps to the protocol learns the sum over at least `min_survivors` sites and "
            "nothing else of a site's vector. A single site that colludes with the server, or whose key "
            "file is stolen, gives it the updates of all sites, those of past rounds too; and an active "
            "server can have a forged sum opened, such as one site's vector alone. Secure aggregation "
            "(secagg) stands both"
        ),
        facts=(
            ("hides_updates", "yes"),
        ),
    ),
    Entry(
        "aggregation",
        "plain-sum",
        "quintain.federated.plain_mean:PlainMean",
        "exact sums of vectors that the server sees, each signed by its site",
        guarantee=(
            "nothing is hidden: the server sees each site's update, from which images can be "
            "reconstructed; the sum is exact, over the vectors that their own sites signed for this round"
        ),
        old_names=("none",),
    ),
    Entry(
        "aggregation",
        "secagg",
        "quintain.federated.secagg_sum:SecureSum",
        (
            "exact sums of masked vectors, over sites that may fall silent at any stage (Bonawitz et al. "
            "2017)"
        ),
        guarantee=(
            "the server learns the sum over at least `min_survivors` sites and nothing else of a site's "
            "vector, if 2t > n + max_corrupt and at most `max_corrupt` sites collude with it; a sum may "
            "still tell, and so may two that differ in their sites: add differential privacy"
        ),
        facts=(
            ("hides_updates", "yes"),
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "strategy",
        "fedadam",
        "quintain.federated.strategies.fedadam:FedAdam",
        "the server takes a step of Adam with the average",
    ),
    Entry(
        "strategy",
        "fedavg",
        "quintain.federated.strategies.fedavg:FedAvg",
        "the model moves by the average of the updates",
        facts=(
            ("default_rank", "1"),
        ),
    ),
    Entry(
        "strategy",
        "fedavgm",
        "quintain.federated.strategies.fedavgm:FedAvgM",
        "as federated averaging, with momentum at the server",
    ),
    Entry(
        "strategy",
        "fedbn",
        "quintain.federated.strategies.fedbn:FedBN",
        "BatchNorm stays at each site, statistics and parameters; the rest is averaged",
        facts=(
            ("is_personal", "yes"),
        ),
    ),
    Entry(
        "strategy",
        "fedprox",
        "quintain.federated.strategies.fedprox:FedProx",
        "the local loss pulls toward the common model, for sites whose data differ",
    ),
    Entry(
        "strategy",
        "fedyogi",
        "quintain.federated.strategies.fedyogi:FedYogi",
        "as FedAdam; step sizes grow more slowly after large averages",
    ),
    Entry(
        "strategy",
        "personal-head",
        "quintain.federated.strategies.personal_head:PersonalHead",
        "the last layer, or what a prefix names, stays at each site",
        facts=(
            ("is_personal", "yes"),
        ),
    ),
    Entry(
        "strategy",
        "scaffold",
        "quintain.federated.strategies.scaffold:Scaffold",
        "control variates against the drift of sites whose data differ; twice the upload",
    ),
)
