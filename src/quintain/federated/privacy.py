"""One epsilon for a whole federation: what it protects, by which mechanism, and what it assumes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from quintain.core.errors import PrivacyError
from quintain.core.rounding import bound
from quintain.dp import Ledger
from quintain.dp.accounting.guarantee import Guarantee
from quintain.federated.aggregation import Aggregation
from quintain.federated.client_noise import ClientNoise
from quintain.federated.noise import DistributedNoise
from quintain.federated.plan import TrainingPlan

MAX_SITE_WARNINGS = 3
"""How many warnings on single sites are shown, beside those of the site of the largest epsilon."""

MIN_USEFUL_SITES = 50
"""With fewer sites, noise that hides a site's whole update leaves little of a net's average."""


@dataclass(frozen=True, slots=True)
class FederationPrivacy:
    """The privacy of a federated training, in one epsilon.

    Args:
        mechanism: What keeps it, in words.
        guarantee: Epsilon and delta for one unit, whatever site it is at.
        epsilon_by_site: Each site's own epsilon, by its ledger; empty where the unit is a site.
        relative_noise: Where the unit is a site: the expected length of the noise on an average of all sites,
            over the longest that an update can be.
        notes: What epsilon assumes and what it does not cover, in plain sentences.
    """

    mechanism: str
    guarantee: Guarantee
    epsilon_by_site: Mapping[str, float] = field(default_factory=dict)
    relative_noise: float | None = None
    notes: tuple[str, ...] = ()


def site_level(ledgers: Mapping[str, Ledger], delta: float) -> FederationPrivacy:
    """Return the privacy of one record or patient, where each site trained privately.

    Args:
        ledgers: Site to its ledger, with what it has released.
        delta: At which epsilon is stated.

    Raises:
        PrivacyError: If the ledgers are of different units: no one epsilon holds for all sites then.
    """
    _require_one_unit(ledgers)
    guarantees = {name: ledger.guarantee(delta) for name, ledger in ledgers.items()}
    worst = max(guarantees.values(), key=lambda one: one.epsilon)
    unit = worst.unit
    # another site may have more records, of which the same delta gives one away
    others = [
        f"{name}: {text}"
        for name, one in guarantees.items()
        for text in one.warnings
        if text not in worst.warnings
    ]
    if len(others) > MAX_SITE_WARNINGS:
        others[MAX_SITE_WARNINGS:] = [f"warnings on single sites: {len(others)} in all"]
    return FederationPrivacy(
        mechanism="DP-SGD at each site",
        guarantee=worst,
        epsilon_by_site={name: one.epsilon for name, one in guarantees.items()},
        notes=(
            f"epsilon is the largest of all sites', and holds for the whole federation if each {unit} is at "
            f"one site alone; a {unit} at two sites pays for both, at most twice epsilon and delta",
            "it holds against server and other sites too, also where they see the updates: each site adds "
            "its own noise",
            *others,
        ),
    )


def client_level(
    settings: ClientNoise,
    noise: DistributedNoise,
    survivors: Sequence[int],
    aggregation: Aggregation,
    total_weight: float,
) -> FederationPrivacy:
    """Return the privacy of one whole site, where noise was added to the sums.

    Args:
        settings: Clip, noise and who adds it.
        noise: The same for this federation.
        survivors: How many sites were in each sum that may have been opened.
        aggregation: What made the sums.
        total_weight: Sum of the relative weights of all sites.
    """
    relative_noise = noise.relative_noise(total_weight)
    by_sites = settings.added_by == "sites"
    notes = [
        f"it assumes that {_trust(noise, aggregation)}; sites open no sum of fewer than "
        f"{noise.min_survivors}, and all shares of the noise but {noise.num_known} count, since a site knows "
        "its own"
        if by_sites
        else "it holds against those who get the models; the server sees the sums without noise, and is "
        "trusted to add it",
    ]
    if noise.num_sites < MIN_USEFUL_SITES:
        notes.append(
            f"with {noise.num_sites} sites, privacy of whole sites is useless: the noise on an average of "
            f"all is {relative_noise:.3g} times as long as the longest update that the clip allows. Below "
            f"about {MIN_USEFUL_SITES} sites, protect patients or records by DP-SGD at each site (--epsilon)"
        )
    return FederationPrivacy(
        mechanism="discrete Gaussian noise, "
        + ("a share added by each site before its vector is masked" if by_sites else "added by the server"),
        guarantee=noise.guarantee(survivors, settings.delta),
        relative_noise=relative_noise,
        notes=tuple(notes),
    )


def noise_privacy(
    plan: TrainingPlan, aggregation: Aggregation, survivors: Iterable[int]
) -> FederationPrivacy | None:
    """Return the privacy of one whole site under a plan; None where sums have no noise.

    Args:
        plan: The training.
        aggregation: What makes the sums.
        survivors: How many sites were in each round's sum; 0 for one that was abandoned, which counts as the
            smallest: a server may have opened it, and deny it.
    """
    settings, noise = plan.config.client_noise, plan.noise
    if settings is None or noise is None:
        return None
    return client_level(
        settings,
        noise,
        [one or plan.min_survivors for one in survivors],
        aggregation,
        sum(map(plan.relative_weight, plan.roster.names)),
    )


def _require_one_unit(ledgers: Mapping[str, Ledger]) -> None:
    """Refuse ledgers that protect different units."""
    sites_of: dict[str, list[str]] = {}
    for name, ledger in ledgers.items():
        for unit in {release.unit for release in ledger.releases}:
            sites_of.setdefault(unit, []).append(name)
    if len(sites_of) > 1:
        listed = "; ".join(f"a {unit} at {', '.join(names)}" for unit, names in sites_of.items())
        raise PrivacyError(
            f"the sites protect different units: {listed}; expected one unit, which one epsilon is for: give "
            "each site the units of its data, or none"
        )


def _trust(noise: DistributedNoise, aggregation: Aggregation) -> str:
    """Say what must hold of server and sites for noise that sites share."""
    if not aggregation.stands_colluders:
        return (
            "no site sides with the server, and the server keeps to the protocol, without which it sees a "
            "vector with one share of the noise"
        )
    if noise.max_corrupt:
        return f"no more than {noise.max_corrupt} of the sites side with the server"
    return "no site sides with the server or with another site"


def text_of(privacy: FederationPrivacy) -> str:
    """Return one sentence: epsilon, delta, unit and mechanism."""
    found = privacy.guarantee
    return (
        f"epsilon {bound(found.epsilon, up=True)} at delta {found.delta:g} for one {found.unit} over all "
        f"rounds, by {privacy.mechanism}"
    )
