"""The settings of one client."""

from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path

from quintain.core.errors import SettingError
from quintain.federated.aggregation import Aggregation
from quintain.federated.plan import TrainingPlan
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg_sum import SecureSum


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The settings of one client: nothing in them comes from the server.

    Args:
        plan: The training that this site has agreed to.
        aggregation: What sums; another one is refused, so that a server cannot ask for plain updates.
        pin_first_model: Whether the first model must be the client's own net, weights and all. Without that a
            server may start from any weights, such as ones made to keep single examples apart.
        joins_late: Whether a client that pins its first model and has none yet takes one to which rounds can
            have led: for a site that was down in them. Whether they were there it cannot tell, so that a
            server may send it any weights within the clip, times rounds.
        seed: Of local training.
        update_file: Where the client keeps its update and the last model, so that after a restart it sends
            the same update again and still refuses a model that does not follow; None for in memory alone. An
            update of another plan, of other data or of another seed is not sent.
    """

    plan: TrainingPlan
    aggregation: Aggregation = field(default_factory=SecureSum)
    pin_first_model: bool = True
    joins_late: bool = False
    seed: int = 0
    update_file: Path | None = None

    def __post_init__(self) -> None:
        check_types(TrainingPlan, plan=self.plan)
        check_types(Aggregation, aggregation=self.aggregation)
        check_types(Integral, seed=self.seed)
        self.plan.check_aggregation(self.aggregation)
        # a client reads who would be in a sum from the messages of secure aggregation
        compares = self.aggregation.sums_all and self.aggregation.replies == SecureSum.replies
        if self.plan.config.min_cohort_change and not compares:
            raise SettingError(
                f"min_cohort_change with the aggregation {self.aggregation.name}, whose clients do not "
                "compare who is in a sum with earlier sums; expected secagg, or min_survivors = all sites"
            )
