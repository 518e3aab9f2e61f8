"""Federated training: server, clients, aggregations, transports, and the server's attack on masks."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports
from quintain.federated._index import EXPORTS

if TYPE_CHECKING:
    from quintain.federated import secagg as secagg
    from quintain.federated._index import *
    from quintain.federated.aggregate import RoundAbandonedError as RoundAbandonedError
    from quintain.federated.aggregate import secure_sum as secure_sum
    from quintain.federated.aggregation import Aggregation as Aggregation
    from quintain.federated.aggregation import Participant as Participant
    from quintain.federated.aggregation import RoundSum as RoundSum
    from quintain.federated.client import Client as Client
    from quintain.federated.client_config import ClientConfig as ClientConfig
    from quintain.federated.client_noise import ClientNoise as ClientNoise
    from quintain.federated.config import FederatedConfig as FederatedConfig
    from quintain.federated.grouped_sum import GroupedSum as GroupedSum
    from quintain.federated.grouped_sum import robust_aggregation as robust_aggregation
    from quintain.federated.hidden import require_hidden as require_hidden
    from quintain.federated.homomorphic_key import SharedKey as SharedKey
    from quintain.federated.homomorphic_sum import HomomorphicSum as HomomorphicSum
    from quintain.federated.in_process import InProcessTransport as InProcessTransport
    from quintain.federated.partitioning import Partition as Partition
    from quintain.federated.partitioning import partition as partition
    from quintain.federated.plain_mean import PlainMean as PlainMean
    from quintain.federated.plan import TrainingPlan as TrainingPlan
    from quintain.federated.reports import FederatedRun as FederatedRun
    from quintain.federated.reports import RoundReport as RoundReport
    from quintain.federated.reports import ServerReport as ServerReport
    from quintain.federated.reports import SimulationFacts as SimulationFacts
    from quintain.federated.secagg_sum import SecureSum as SecureSum
    from quintain.federated.secagg_sum import run_round as run_round
    from quintain.federated.server import Server as Server
    from quintain.federated.simulation import simulate as simulate
    from quintain.federated.site_privacy import SitePrivacy as SitePrivacy
    from quintain.federated.strategies.strategy import LocalTraining as LocalTraining
    from quintain.federated.strategies.strategy import Strategy as Strategy
    from quintain.federated.sum_result import SecureSumResult as SecureSumResult
    from quintain.federated.transport import Deadlines as Deadlines
    from quintain.federated.transport import DropoutStage as DropoutStage
    from quintain.federated.transport import Transport as Transport
    from quintain.federated.unmasking_attack import UnmaskingAttempt as UnmaskingAttempt
    from quintain.federated.unmasking_attack import attack_masks as attack_masks
    from quintain.federated.view import ServerView as ServerView

__getattr__, __dir__ = lazy_exports(__name__, EXPORTS)
