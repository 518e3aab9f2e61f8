"""The settings of a federated training, on which all sites agree beforehand."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral

from quintain.core.errors import SettingError
from quintain.federated.client_noise import ClientNoise
from quintain.federated.secagg.policy import default_threshold
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.site_privacy import SitePrivacy
from quintain.federated.strategies.fedavg import FedAvg
from quintain.federated.strategies.strategy import Strategy
from quintain.training import Recipe

FEDAVG = FedAvg()


@dataclass(frozen=True, slots=True)
class FederatedConfig:
    """The public settings of a federated training.

    Args:
        rounds: How often the sites train and average.
        local_recipe: How each site trains in a round.
        clip_value: C: each entry of a site's update is cut to [-C, C].
        scale: s: the grid's steps a unit; None for the finest that cannot wrap.
        threshold: t of the secure aggregation; None for floor(2n/3) + 1.
        min_survivors: Fewest sites that make a sum; None for the threshold. With the number of all sites, no
            two sums ever differ in their sites: a round without one of them is abandoned.
        max_corrupt: Largest number of sites that may collude with the server.
        weights: Site to positive integer weight in the average, known to everybody and the same in all
            rounds; None for equal ones. Give numbers of examples only where they are no secret. A weight that
            travels inside the sums is none for long: the sums of weights of two rounds subtract to that of a
            site which is in one of them alone. And no weight may be so large that a sum is its site's own
            update in all but name: ``train`` refuses more than ``secagg.weights.largest_weight``.
        site_privacy: DP-SGD inside each site in place of ``local_recipe``: what the updates tell of one of
            its patients or records is bounded. The way for few sites.
        client_noise: Noise on each sum, which bounds what it tells of a whole site. It decides clip and grid
            in place of ``clip_value`` and ``scale``. The way for hundreds of sites.
        min_cohort_change: A client opens no sum whose sites differ from those of an earlier one by fewer, and
            not by none: with 3, no two sums differ by one site or two. It needs a secure sum, whose sites
            tell each other who is in it; rounds with a dropout are then abandoned unless three drop out.
        clip_norm: The Euclidean norm to which each site cuts its own update, before the clip of entries; None
            for no cut. It binds sites that keep to the plan, not those that do not.
        strategy: How sites train, what of the net is averaged, and what the average becomes.

    Raises:
        SettingError: If there are no rounds, something is of another type, both kinds of privacy are set, of
            which one epsilon could not speak, or the strategy cannot be run with the recipe or with DP-SGD.
    """

    rounds: int
    local_recipe: Recipe
    clip_value: float = 1.0
    scale: int | None = None
    threshold: int | None = None
    min_survivors: int | None = None
    max_corrupt: int = 1
    weights: Mapping[str, int] | None = None
    site_privacy: SitePrivacy | None = None
    client_noise: ClientNoise | None = None
    strategy: Strategy = FEDAVG
    clip_norm: float | None = None
    min_cohort_change: int = 0

    def __post_init__(self) -> None:
        numbers = {name: getattr(self, name) for name in ("scale", "threshold", "min_survivors")}
        check_types(
            Integral,
            rounds=self.rounds,
            max_corrupt=self.max_corrupt,
            min_cohort_change=self.min_cohort_change,
            **{k: v for k, v in numbers.items() if v is not None},
        )
        check_types(Recipe, local_recipe=self.local_recipe)
        check_types(Strategy, strategy=self.strategy)
        self.strategy.check_recipe(self.local_recipe)
        if self.site_privacy is not None and self.strategy.changes_loss:
            raise SettingError(
                f"site_privacy with the strategy {self.strategy.name}, which changes the local loss; DP-SGD "
                "trains on cross-entropy alone: expected another strategy, such as fedavg"
            )
        if self.rounds < 1:
            raise SettingError(f"rounds = {self.rounds}; expected at least 1")
        for kind, name in ((SitePrivacy, "site_privacy"), (ClientNoise, "client_noise")):
            if getattr(self, name) is not None:
                check_types(kind, **{name: getattr(self, name)})
        if self.site_privacy is not None and self.client_noise is not None:
            raise SettingError(
                "site_privacy and client_noise are both set; expected one of them: they protect other units, "
                "and one epsilon is stated for the whole federation"
            )
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise SettingError(f"clip_norm = {self.clip_norm}; expected a positive finite number or None")
        if self.weights is not None:
            check_types(Mapping, weights=self.weights)
        check_types(
            Integral, **{f"weight of {name!r}": weight for name, weight in (self.weights or {}).items()}
        )
        if min((self.weights or {"": 1}).values()) < 1:
            raise SettingError(f"weights = {self.weights}; expected 1 or more for each site")

    def terms(self, num_sites: int) -> tuple[int, int]:
        """Return the threshold and the fewest survivors of a sum among so many sites."""
        threshold = default_threshold(num_sites) if self.threshold is None else self.threshold
        min_survivors = max(2, threshold) if self.min_survivors is None else self.min_survivors
        if self.client_noise is not None:
            min_survivors = max(min_survivors, self.client_noise.min_survivors(num_sites))
        return threshold, min_survivors
