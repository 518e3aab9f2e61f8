"""Training across sites that keep their data: secure aggregation, transports, the federated loop, and the server's attack on it."""

from typing import TYPE_CHECKING

from quintain.core.lazy import lazy_exports

if TYPE_CHECKING:
    from quintain.federated import secagg as secagg
    from quintain.federated.aggregate import RoundAbandonedError as RoundAbandonedError
    from quintain.federated.aggregate import SecureSum as SecureSum
    from quintain.federated.aggregate import run_round as run_round
    from quintain.federated.aggregate import secure_sum as secure_sum
    from quintain.federated.facts import Federated as Federated
    from quintain.federated.facts import Round as Round
    from quintain.federated.facts import Simulated as Simulated
    from quintain.federated.hidden import verify_hidden as verify_hidden
    from quintain.federated.loop import train as train
    from quintain.federated.plan import FederatedPlan as FederatedPlan
    from quintain.federated.recovery import Recovered as Recovered
    from quintain.federated.recovery import recover as recover
    from quintain.federated.sites import Split as Split
    from quintain.federated.sites import split as split
    from quintain.federated.transport import InProcess as InProcess
    from quintain.federated.transport import Stage as Stage
    from quintain.federated.transport import Transport as Transport
    from quintain.federated.view import ServerView as ServerView

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Federated": "quintain.federated.facts",
        "FederatedPlan": "quintain.federated.plan",
        "InProcess": "quintain.federated.transport",
        "Recovered": "quintain.federated.recovery",
        "Round": "quintain.federated.facts",
        "RoundAbandonedError": "quintain.federated.aggregate",
        "SecureSum": "quintain.federated.aggregate",
        "ServerView": "quintain.federated.view",
        "Simulated": "quintain.federated.facts",
        "Split": "quintain.federated.sites",
        "Stage": "quintain.federated.transport",
        "Transport": "quintain.federated.transport",
        "recover": "quintain.federated.recovery",
        "run_round": "quintain.federated.aggregate",
        "secagg": "quintain.federated.secagg",
        "secure_sum": "quintain.federated.aggregate",
        "split": "quintain.federated.sites",
        "train": "quintain.federated.loop",
        "verify_hidden": "quintain.federated.hidden",
    },
)
