"""The settings of client-level differential privacy: clip, noise, and who adds it."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

from quintain.core.errors import SettingError
from quintain.federated.aggregation import Aggregation
from quintain.federated.noise import CentralNoise, DistributedNoise
from quintain.federated.secagg.setting_types import check_types

Adder = Literal["sites", "server"]


@dataclass(frozen=True, slots=True)
class ClientNoise:
    """The public settings of noise that hides a site's whole update in the sums.

    Args:
        clip_norm: Each site's update is cut to this Euclidean norm.
        noise_multiplier: z: standard deviation of the noise in a sum over the clip norm.
        max_dropped: Sites that may drop out of a round where sites add the noise: a sum over fewer, which
            would have less noise than is promised, is not opened.
        added_by: ``sites``, each a share of it before its vector is masked, so that no server is trusted, and
            enough that the sum stays private for who knows a share, as each site knows its own; or
            ``server``, to the sum, which takes less, and is private only against those who get the models
            and not against the server.
        delta: At which epsilon is stated.

    Raises:
        SettingError: If a number is out of its range.
    """

    clip_norm: float
    noise_multiplier: float
    max_dropped: int = 0
    added_by: Adder = "sites"
    delta: float = 1e-5

    def __post_init__(self) -> None:
        check_types(Real, clip_norm=self.clip_norm, noise_multiplier=self.noise_multiplier, delta=self.delta)
        check_types(Integral, max_dropped=self.max_dropped)
        for name in ("clip_norm", "noise_multiplier"):
            if not 0 < getattr(self, name) < math.inf:
                raise SettingError(f"{name} = {getattr(self, name)}; expected a positive finite number")
        if not 0 < self.delta < 1:
            raise SettingError(f"delta = {self.delta}; expected a number between 0 and 1, such as 1e-5")
        if self.max_dropped < 0:
            raise SettingError(f"max_dropped = {self.max_dropped}; expected 0 or more")
        if self.added_by not in get_args(Adder):
            raise SettingError(f"added_by = {self.added_by!r}; expected one of {', '.join(get_args(Adder))}")

    def check_aggregation(self, aggregation: Aggregation) -> None:
        """Refuse an aggregation that undoes this noise.

        Raises:
            SettingError: If sites would add shares of noise to vectors that the server sees one by one, or
                the server noise to a sum that sites have seen without it, or there are sums of groups, and
                noise is made for a sum of all sites.
        """
        if not aggregation.sums_all:
            raise SettingError(
                f"client_noise with the aggregation {aggregation.name}: its noise is made for the sum of "
                "all sites, and groups have less; expected a sum of all, such as secagg"
            )
        if self.added_by == "server" and aggregation.sites_open_sums:
            raise SettingError(
                f"the server adds the noise, and under the aggregation {aggregation.name!r} sites open the "
                "sum before that and see it without noise; expected noise that sites share "
                "(added_by='sites', --noise-by sites), or an aggregation whose sum the server alone sees, "
                "such as secagg"
            )
        if self.added_by == "sites" and not aggregation.hides_updates:
            raise SettingError(
                f"sites share the noise, and the aggregation {aggregation.name!r} shows the server each "
                "site's own vector, which one share does not hide; expected one that hides updates, such as "
                "secagg, or noise that a trusted server adds"
            )

    def min_survivors(self, num_sites: int) -> int:
        """Return the fewest of so many sites whose sum has the noise that is promised."""
        return num_sites - self.max_dropped if self.added_by == "sites" else 1

    def on_sums(self, length: int, num_sites: int, max_corrupt: int) -> DistributedNoise:
        """Return the noise on sums of vectors (length,) of so many sites."""
        kind = DistributedNoise if self.added_by == "sites" else CentralNoise
        return kind(
            length,
            self.clip_norm,
            self.noise_multiplier,
            num_sites,
            max_dropped=self.max_dropped,
            max_corrupt=max_corrupt,
        )
