"""The privacy of a federated training as records and claims have it."""

import hashlib
from pathlib import Path

from quintain.data.dataset import Dataset
from quintain.evaluate.privacy_target import ProtectedRecords
from quintain.federated import FederatedConfig
from quintain.federated.privacy import FederationPrivacy
from quintain.results import privacy_records
from quintain.results.bounds import Bound, Bracket
from quintain.results.quantity import Basis, Metric, Quantity, Side
from quintain.results.records import Claim

ASSUMPTIONS = (
    "initial weights, numbers of records and settings do not depend on the data",
    "each record is at one site",
)
RELEASED = "all updates"
"""What an adversary sees: each site's update in every round, or each noisy sum."""

UPDATES = "updates"
"""What a claim is about in place of a model, where a part of each model never leaves its site."""


def privacy_record(privacy: FederationPrivacy) -> privacy_records.FederationPrivacyResult:
    """Return the privacy of a federation as a record has it."""
    found = privacy.guarantee
    return privacy_records.FederationPrivacyResult(
        mechanism=privacy.mechanism,
        epsilon=found.epsilon,
        delta=found.delta,
        privacy_unit=found.unit,
        adjacency=found.adjacency,
        accountant=found.accountant,
        relative_noise=privacy.relative_noise,
        notes=privacy.notes,
    )


def privacy_claim(
    model: str, config: FederatedConfig, privacy: FederationPrivacy, data: Dataset, kept: Path | None
) -> Claim:
    """Return the claim on the epsilon of a federation.

    Where noise is added to sums and a part of each model stays at its site, it is about the updates: the
    common model of a simulation has the average of those parts, without noise.

    Args:
        model: Name of the common model.
        config: All public settings, which are the mechanism.
        privacy: What it costs.
        data: The records of all sites.
        kept: The folder of the unfinished run, which keeps the key of the records' hash.
    """
    found = privacy.guarantee
    records = ProtectedRecords.of_run(data, kept)
    quantity = Quantity(
        Metric.EPSILON,
        hashlib.sha256(f"federated {config!r} {len(data)}".encode()).hexdigest(),
        records.keyed_hash,
        delta=found.delta,
        adjacency=found.adjacency,
        privacy_unit=records.unit if found.unit == "record" else found.unit,
        released=RELEASED,
    )
    upper = Bound(
        quantity=quantity,
        side=Side.UPPER,
        value=found.epsilon,
        basis=Basis.PROOF,
        evidence=None,
        method=found.accountant,
        assumptions=ASSUMPTIONS if found.unit != "client" else ASSUMPTIONS[:1] + privacy.notes[:1],
    )
    unit = "site" if found.unit == "client" else found.unit
    # noise on sums is in no layer that stays at home, whose average the common model here has
    updates_alone = found.unit == "client" and config.strategy.is_personal
    about = UPDATES if updates_alone else model
    return Claim(
        f"{about}:epsilon",
        f"Privacy of each {unit}, over the whole federation"
        + (", by what leaves the sites" if updates_alone else ""),
        about,
        Bracket(Bound.trivial(quantity, Side.LOWER), upper),
        primary=not updates_alone,
    )
