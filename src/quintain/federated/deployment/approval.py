"""The approval of a plan by a site: what was shown, kept beside its state, and asked for before each start.

Two programs of one plan are told apart before any of it runs: the hash of the model's file is compared first,
the net that it makes after that.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from quintain.core.errors import SettingError
from quintain.core.files import sha256_file, write_atomically
from quintain.federated.config import FederatedConfig
from quintain.federated.deployment.folders import MAY_WRITE, private_folder
from quintain.federated.deployment.own_facts import own_facts
from quintain.federated.deployment.own_journal import bind_journal, require_own_journal
from quintain.federated.deployment.plan_file import Deployment, PlanFile
from quintain.federated.deployment.site_settings import ClientSettings
from quintain.federated.deployment.toml_table import read_table
from quintain.federated.fixed_groups import groups_of, min_members
from quintain.federated.grouped_sum import GroupedSum
from quintain.federated.homomorphic_sum import HomomorphicSum
from quintain.federated.key_words import fingerprint
from quintain.federated.model_bytes import model_digest
from quintain.federated.privacy import noise_privacy, text_of
from quintain.federated.roster_versions import accept_roster, last_accepted
from quintain.federated.secagg.keys import Roster
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.toml_files import quoted, read_toml
from quintain.models.classifier import Classifier

APPROVED_FILE = "approved.toml"
SITE_EPSILON = "privacy of a site"
NET_TERMS = ("parameters", "digest", SITE_EPSILON)
"""What is known once the model's program has run."""
MIN_REMAINING_UPDATES = 3
"""Updates that are to be left of a sum for whoever is in it; of fewer, the approval says so."""
Terms = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Approval:
    """What a site has approved.

    Args:
        terms: What plan, roster and net say, each in words; they are the same at all sites.
        own: What stands beside it at this site alone: its data, and what its trainings spend of them.
    """

    terms: Terms
    own: Terms


def approve(settings: ClientSettings) -> Approval:
    """Approve the plan as it is now, for this site, accept its roster, and return what was approved.

    Nothing is written before all of it has been read, and found to fit.

    Raises:
        QuintainError: If a file is missing or wrong, the roster does not list the site, or the journal is not
            the one of its state.
        StorageError: If the approval cannot be written.
    """
    require_own_journal(settings)
    private_folder(settings.journal, forbidden=MAY_WRITE)
    identity, roster = settings.members()
    file = PlanFile.load(settings.plan)
    deployment = settings.deployment(file, roster)
    terms = {**file_terms(file, roster), **net_terms(deployment)}
    own = own_facts(settings, deployment)
    bind_journal(settings)
    lines = "".join(f"{quoted(name)} = {quoted(text)}\n" for name, text in terms.items())
    text = f'# Written by "quintain client approve".\ndigest = "{_digest(terms)}"\n\n[terms]\n{lines}'
    place = private_folder(settings.state) / APPROVED_FILE
    write_atomically(place, text.encode(), mode=0o600)
    accept_roster(settings.roster, settings.accepted, identity)
    return Approval(terms, own)


def require_approved(settings: ClientSettings, terms: Terms) -> None:
    """Refuse terms that this site has not approved.

    Args:
        settings: The site's own.
        terms: Of the plan as it is now; those of the net may be missing, which is not made yet.

    Raises:
        SettingError: If there is no approval, others may have written it, or a term differs, with all that
            do.
    """
    then = _read_approved_terms(settings)
    changed = [
        f"{name} was {then[name]!r}, is {text!r}" if name in then else f"{name} is new: {text!r}"
        for name, text in terms.items()
        if then.get(name) != text
    ]
    gone = set(then) - set(terms) - set(NET_TERMS)
    changed += [f"{name} is gone: {then[name]!r}" for name in sorted(gone)]
    if changed:
        raise SettingError(
            f"{settings.plan} or its roster has changed since this site approved it: {'; '.join(changed)}. "
            f"To approve it as it is: quintain client approve --config {settings.path}"
        )


def require_still_approved(settings: ClientSettings, terms: Terms, roster: Roster) -> None:
    """Refuse to go on where a site has taken its approval back, or approved or accepted something else.

    Args:
        settings: The site's own.
        terms: What its daemon was started with.
        roster: The same.

    Raises:
        SettingError: If it has.
        StorageError: If the journal's folder cannot be used.
    """
    now, newest = _read_approved_terms(settings), last_accepted(settings.accepted)
    other = [name for name in sorted({*now, *terms}) if now.get(name) != terms.get(name)]
    if newest != roster:
        version = "none" if newest is None else f"version {newest.version}, {newest.digest.hex()[:16]}"
        other.append(f"accepted roster ({version})")
    if other:
        raise SettingError(
            f"since this daemon was started, the site has approved another {', '.join(other)}; expected what "
            f"it trains by: roster version {roster.version}, {roster.digest.hex()[:16]}: restart it"
        )


def file_terms(file: PlanFile, roster: Roster) -> dict[str, str]:
    """Return what plan and roster say, in words; no program of the model runs."""
    config = file.config
    privacy, sums, first = config.site_privacy, file.aggregation, file.initial_weights
    opened, min_survivors = _describe_opening(file, roster)
    key = f" under the key {sums.key_id.hex()}" if isinstance(sums, HomomorphicSum) else ""
    terms = {
        "model": _model(file),
        "first weights": f"drawn with seed {file.seed}" if first is None else _hash_text(first, first.name),
        "data": file.data_text,
        "rounds": str(config.rounds),
        "recipe": _sentence(config.local_recipe if privacy is None else privacy),
        "objective": "cross-entropy" if privacy is None else "cross-entropy, by DP-SGD",
        "strategy": repr(config.strategy),
        "sum": f"{sums.name}{key}: {sums.guarantee}",
        "clip": _clip(config),
        "threshold": f"{opened}, while at most {config.max_corrupt} side with the server",
        "cohorts": f"no sum whose sites differ from an earlier one's by fewer than {config.min_cohort_change}"
        if config.min_cohort_change
        else "any of so many sites",
        "weights": "equal"
        if config.weights is None
        else ", ".join(f"{readable_name(name)} {weight}" for name, weight in config.weights.items()),
        "privacy": _privacy(file),
    }
    if sums.hides_updates:
        terms |= _smallest_sum(min_survivors, config.max_corrupt, is_of_all=sums.sums_all)
    terms["roster"] = f"version {roster.version}, {roster.digest.hex()[:16]}"
    sites = zip(roster.names, roster.keys, strict=True)
    terms |= {f"site {readable_name(name)}": fingerprint(key) for name, key in sites}
    return {name: text if text.isprintable() else ascii(text) for name, text in terms.items()}


def net_terms(deployment: Deployment) -> dict[str, str]:
    """Return what the model's program has made of it, and a hash of all that decides a round."""
    plan, net = deployment.plan, deployment.net
    parts = (one.encode() for one in (plan.fingerprint, deployment.aggregation.name, Classifier(net).hash))
    terms = {
        "parameters": f"an update has {plan.length:,} numbers; the model has {_num_parameters(net):,}",
        "digest": tagged_hash("approval", *parts, plan.roster.digest, model_digest(net)).hex(),
    }
    # at worst every sum is of as few sites as the plan allows
    spent = noise_privacy(plan, deployment.aggregation, [0] * plan.config.rounds)
    if spent is not None:
        terms[SITE_EPSILON] = "; ".join((text_of(spent), *spent.notes))
    return terms


def _describe_opening(file: PlanFile, roster: Roster) -> tuple[str, int]:
    """Return, in words, which sites open a sum, and the number of sites that the smallest sum has."""
    sums, (threshold, min_survivors) = file.aggregation, file.config.terms(len(roster))
    if not isinstance(sums, GroupedSum):
        return f"{threshold} of {len(roster)} sites open a sum, of {min_survivors} or more", min_survivors
    groups = groups_of(len(roster), sums.group_size)
    needed = [min_members(len(members), len(roster), min_survivors) for members in groups]
    members_text = "; ".join(
        f"{count} of {', '.join(map(readable_name, roster.names_of(members)))}"
        for count, members in zip(needed, groups, strict=True)
    )
    return f"each group opens a sum of its own: {members_text}", min(needed)


def _clip(config: FederatedConfig) -> str:
    """How far an update can reach; of noise on sums, its norm alone, and the noise makes the grid."""
    noise, norm = config.client_noise, config.clip_norm
    if noise is not None:
        norm = noise.clip_norm if norm is None else min(norm, noise.clip_norm)
        return f"the norm of an update within {norm:g}; entries have the room that the noise needs"
    return (
        f"each entry of an update within {config.clip_value:g}"
        + ("" if norm is None else f", its norm within {norm:g}")
        + ("" if config.scale is None else f", in steps of 1/{config.scale}")
    )


def _privacy(file: PlanFile) -> str:
    """What of a site or of its records is private, and by what."""
    privacy, noise = file.config.site_privacy, file.config.client_noise
    if privacy is not None:
        return f"epsilon {privacy.epsilon:g} at delta {privacy.delta:g} for one {file.unit} over all rounds"
    if noise is None:
        return "none: sums may tell of records"
    who = (
        f"by the sites, each a share of it, of which {noise.max_dropped} may drop out of a round"
        if noise.added_by == "sites"
        else "by the server, which sees the sums without it"
    )
    return (
        f"of whole sites: an update is cut to the norm {noise.clip_norm:g}, and noise of "
        f"{noise.noise_multiplier:g} times that is added to each sum {who}"
    )


def _smallest_sum(min_survivors: int, max_corrupt: int, *, is_of_all: bool) -> dict[str, str]:
    """Say how little is left of the smallest sum to sites that are in it; nothing where that is enough.

    A sum is published: each site can take its own update off it, and those that side with the server theirs.
    """
    known = max(max_corrupt, 1)
    left = min_survivors - known
    if left >= MIN_REMAINING_UPDATES:
        return {}
    who = "one of them, which can take its" if known == 1 else f"{known} of them, which can take their"
    what = "another site's update" if left <= 1 else "two others' updates, each hidden by the other alone"
    mend = (
        f"min_survivors = {known + MIN_REMAINING_UPDATES} leaves {MIN_REMAINING_UPDATES}"
        if is_of_all
        else "the sum of a group, which robust makes small; without robust it is of all sites"
    )
    return {"smallest sum": f"of {min_survivors} sites; for {who} own off it, it is {what}: {mend}"}


def readable_name(name: str) -> str:
    """Return a name with escapes for control characters and for letters that only look like ASCII's."""
    if not name.isprintable():
        return ascii(name)
    return name if name.isascii() else f"{name} = {name!a}"


def _read_approved_terms(settings: ClientSettings) -> dict[str, str]:
    """Return the approved terms by name, as ``quintain client approve`` has written them."""
    place = private_folder(settings.state) / APPROVED_FILE
    if not place.exists():
        raise SettingError(
            f"this site has not approved {settings.plan}; look at it and approve it first: quintain client "
            f"approve --config {settings.path}"
        )
    mode = place.stat().st_mode & 0o777
    values = read_table(place, read_toml(place), {"digest": str, "terms": dict}, required=("digest", "terms"))
    given = values["terms"]
    assert isinstance(given, dict)
    terms = {str(name): str(text) for name, text in given.items()}
    if mode & MAY_WRITE or values["digest"] != _digest(terms):
        raise SettingError(
            f"{place} has mode {mode:04o} or another digest than its terms; expected it as quintain client "
            f"approve has written it: approve again, quintain client approve --config {settings.path}"
        )
    return terms


def _digest(terms: Terms) -> str:
    parts = (part.encode() for one in sorted(terms.items()) for part in one)
    return tagged_hash("approved", *parts).hex()


def _model(file: PlanFile) -> str:
    """The model by its name, its program by its hash."""
    program = file.model_file
    if program is None:
        return file.model
    name = (
        f"{os.path.relpath(program, file.path.absolute().parent.resolve())}:{file.model.rpartition(':')[2]}"
    )
    return _hash_text(program, name)


def _hash_text(path: Path, name: str) -> str:
    return f"{name}, SHA-256 {sha256_file(path)}"


def _num_parameters(net: nn.Module) -> int:
    return sum(one.numel() for one in net.parameters())


def _sentence(settings: object) -> str:
    """The fields of some settings, each by its name."""
    fields = getattr(type(settings), "__dataclass_fields__", {})
    return ", ".join(f"{name} {getattr(settings, name)}" for name in fields)
