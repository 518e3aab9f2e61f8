"""What a plan means at one site: how many examples of whom, and what its private trainings spend together.

A plan's epsilon is of one training. Another plan or another first model is another training, whose epsilon
adds to what was spent on the same patients before. So each note of the site's journal counts.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from quintain.core.rounding import epsilon
from quintain.data.dataset import Dataset
from quintain.dp import Ledger
from quintain.dp.accounting.release import Release
from quintain.federated.deployment.plan_file import Deployment
from quintain.federated.deployment.site_settings import UPDATE_FILE, ClientSettings, read_lines
from quintain.federated.kept_update import kept_model
from quintain.federated.noted_ledger import add_ledgers, noted_trainings
from quintain.federated.secagg.folder_journal import FolderJournal

FIRST_WEIGHTS = "first weights here"
NOISY_SUMS = "noisy sums"


def own_facts(settings: ClientSettings, deployment: Deployment) -> dict[str, str]:
    """Return what a site is to know of a plan beside its terms, in words.

    Raises:
        QuintainError: If its data are missing or are not those of the plan, or its journal cannot be read.
    """
    data, units = settings.examples(deployment.file)
    of_whom = "" if units is None else f" of {units.num_units:,} {units.name}s"
    found = {"data here": f"{len(data):,} examples{of_whom}"}
    if units is not None:
        found[f"{units.name}s here"] = _whose(settings, data)
    found |= _first_weights(settings, deployment)
    found |= _noisy_sums(settings, deployment)
    config = deployment.plan.config
    if config.site_privacy is not None:
        release = config.site_privacy.release(data, config.rounds, units)
        noted, delta = _read_ledgers(settings, release), config.site_privacy.delta
        whole = {deployment.training: Ledger([replace(release, steps=config.rounds * release.steps)])}
        found["spent here"] = (
            f"{_in_words(noted.values(), delta)}, by all private trainings that the journal knows "
            f"({len(noted)}); {_in_words({**noted, **whole}.values(), delta)} after all rounds of this plan"
        )
    elif config.client_noise is None and (earlier := FolderJournal(settings.journal).private_trainings):
        found["spent here"] = (
            f"an epsilon, by {len(earlier)} private trainings that the journal knows, and this plan has no "
            "[privacy]: what it tells of the same people is without a bound, whatever was promised to them"
        )
    return found


def _noisy_sums(settings: ClientSettings, deployment: Deployment) -> dict[str, str]:
    """Say where sums of earlier trainings have told of this site, under an epsilon for the whole of it."""
    earlier = set(FolderJournal(settings.journal).noisy_trainings) - {deployment.training}
    if not earlier:
        return {}
    what = "their epsilons for it add to this plan's"
    if deployment.plan.config.client_noise is None:
        what = "this plan has no [noise]: what it tells of the whole site is without a bound"
    text = f"of {len(earlier)} other trainings that the journal knows have told of this site under noise"
    return {NOISY_SUMS: f"{text}, and {what}"}


def _whose(settings: ClientSettings, data: Dataset) -> str:
    """Say whom some examples are of: lines in another order than the examples have the right number, too."""
    lines, owners = read_lines(settings.units or Path()), []
    for position in sorted({0, len(data) // 3, 2 * len(data) // 3, len(data) - 1}):
        file = data.file_of(position)
        name = f"number {position + 1}" if file is None else "/".join(file.parts[-2:])
        owners.append(f"{name if name.isprintable() else ascii(name)} is of {lines[position]!r}")
    return ", ".join(owners)


def _first_weights(settings: ClientSettings, deployment: Deployment) -> dict[str, str]:
    """Say how far given first weights are from the last model that this site has taken part in.

    All sites may have them from the server, which would plant a model of its own making by them.
    """
    kept = kept_model(settings.state / UPDATE_FILE)
    if deployment.file.initial_weights is None or (kept and kept.training == deployment.training):
        return {}
    if kept is None:
        return {
            FIRST_WEIGHTS: "this site has no earlier model to hold them against: whoever made them can have "
            "made them to read examples off a sum, which weights that are drawn by a seed cannot"
        }
    first, plan, last = deployment.net.state_dict(), deployment.plan, f"round {kept.index + 1}"
    both = [(first[name], value) for name, value in kept.weights.items() if name in first and value.numel()]
    if not both or any(one.shape != other.shape for one, other in both):
        return {FIRST_WEIGHTS: f"of another net than this site's last model, of {last} of its last training"}
    moved = max(float((one.double() - other.double()).abs().max()) for one, other in both)
    most = plan.strategy.largest_step(plan.largest_mean)
    text = (
        f"no weight is farther than {moved:.2g} from this site's last model, of {last} of its last training; "
        f"a round moves a weight by at most {most:g}, by the clip of this plan"
    )
    if not moved <= most * (1 + 1e-6):
        text += (
            ". That is more than one round: unless this site has missed some, the server may have made these "
            "weights up, to read examples off a sum. Ask the other sites how far they are from their last "
            "models, and leave this plan if they say the same"
        )
    return {FIRST_WEIGHTS: text}


def spent_in_all(settings: ClientSettings, deployment: Deployment, release: Release) -> str:
    """Return what this training and others of the site have spent together; nothing if it is the only one.

    Args:
        settings: The site's own.
        deployment: What it trains by.
        release: Of a round, for notes that cannot be read.

    Raises:
        StorageError: If the journal cannot be read.
    """
    noted, budget = _read_ledgers(settings, release), deployment.plan.config.site_privacy
    if budget is None or not set(noted) - {deployment.training}:
        return ""
    return f"{_in_words(noted.values(), budget.delta)} by all {len(noted)} private trainings of this site"


def _read_ledgers(settings: ClientSettings, release: Release) -> dict[str, Ledger]:
    return noted_trainings(FolderJournal(settings.journal), lambda: release)


def _in_words(ledgers: Iterable[Ledger], delta: float) -> str:
    totals = sorted(add_ledgers(ledgers).items())
    text = " and ".join(f"epsilon {epsilon(one.epsilon(delta))} for one {unit}" for unit, one in totals)
    return f"{text} at delta {delta:g}" if text else "nothing"
