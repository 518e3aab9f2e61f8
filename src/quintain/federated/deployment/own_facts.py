"""What a plan means at one site: how many examples of whom, and what its private trainings spend together.

A plan's epsilon is of one training. Another plan or another first model is another training, whose epsilon
adds to what was spent on the same patients before. So each note of the site's journal counts.
"""

from collections.abc import Iterable
from dataclasses import replace

from quintain.core.rounding import epsilon
from quintain.dp import Ledger
from quintain.dp.accounting.release import Release
from quintain.federated.deployment.plan_file import Deployment
from quintain.federated.deployment.site_settings import ClientSettings
from quintain.federated.noted_ledger import add_ledgers, noted_trainings
from quintain.federated.secagg.journal import FolderJournal


def own_facts(settings: ClientSettings, deployment: Deployment) -> dict[str, str]:
    """Return what a site is to know of a plan beside its terms, in words.

    Raises:
        QuintainError: If its data are missing or are not those of the plan, or its journal cannot be read.
    """
    data, units = settings.examples(deployment.file)
    of_whom = "" if units is None else f" of {units.num_units:,} {units.name}s"
    found = {"data here": f"{len(data):,} examples{of_whom}"}
    config = deployment.plan.config
    if config.site_privacy is not None:
        release = config.site_privacy.release(data, config.rounds, units)
        noted, delta = _noted(settings, release), config.site_privacy.delta
        whole = {deployment.training: Ledger([replace(release, steps=config.rounds * release.steps)])}
        found["spent here"] = (
            f"{_in_words(noted.values(), delta)}, by all private trainings that the journal knows "
            f"({len(noted)}); {_in_words({**noted, **whole}.values(), delta)} after all rounds of this plan"
        )
    return found


def spent_in_all(settings: ClientSettings, deployment: Deployment, release: Release) -> str:
    """Return what this training and others of the site have spent together; nothing if it is the only one.

    Args:
        settings: The site's own.
        deployment: What it trains by.
        release: Of a round, for notes that cannot be read.

    Raises:
        StorageError: If the journal cannot be read.
    """
    noted, budget = _noted(settings, release), deployment.plan.config.site_privacy
    if budget is None or not set(noted) - {deployment.training}:
        return ""
    return f"{_in_words(noted.values(), budget.delta)} by all {len(noted)} private trainings of this site"


def _noted(settings: ClientSettings, release: Release) -> dict[str, Ledger]:
    return noted_trainings(FolderJournal(settings.journal), lambda: release)


def _in_words(ledgers: Iterable[Ledger], delta: float) -> str:
    totals = sorted(add_ledgers(ledgers).items())
    said = " and ".join(f"epsilon {epsilon(one.epsilon(delta))} for one {unit}" for unit, one in totals)
    return f"{said} at delta {delta:g}" if said else "nothing"
