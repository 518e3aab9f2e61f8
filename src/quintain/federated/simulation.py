"""Simulated federated averaging: train at each site, add the updates up securely, apply their average."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral

import torch
from torch import Tensor, nn

from quintain.core.errors import ProtocolError, SabotageError, SettingError, SoundnessError, UsageError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.federated.aggregate import RoundAbandonedError, SecureSumResult, simulate_round
from quintain.federated.config import FederatedConfig
from quintain.federated.differencing import Opened, exposure
from quintain.federated.hidden import require_hidden
from quintain.federated.local import Update, check_trainable, largest_entry, local_update, trainable
from quintain.federated.reports import FederatedRun, RoundReport, Simulated
from quintain.federated.secagg.encoding import Encoding, check_types, finest_encoding
from quintain.federated.secagg.journal import Journal, MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import ROUND_BYTES, Policy, Task
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.secagg.weights import largest_fraction
from quintain.federated.transport import DropoutStage
from quintain.federated.view import ServerView
from quintain.training import CleanCrossEntropy, Objective

CLEAN_CROSS_ENTROPY = CleanCrossEntropy()


def simulate(
    sites: Mapping[str, Dataset],
    net: nn.Module,
    config: FederatedConfig,
    *,
    seed: int = 0,
    objective: Objective = CLEAN_CROSS_ENTROPY,
    dropouts: Mapping[int, tuple[str, DropoutStage | str]] | None = None,
    progress: Progress = no_progress,
    on_round: Callable[[RoundReport, SecureSumResult | None], None] | None = None,
) -> FederatedRun:
    r"""Simulate a federated training, server and all sites in this process, and train ``net`` in place.

    .. math:: \theta \leftarrow \theta +
        \frac{\sum_{i \in U} w_i\, \mathrm{clip}(\theta_i - \theta, -C, C)}{\sum_{i \in U} w_i}

    with public weights w_i, all equal unless the plan says otherwise; the numerator is a secure sum. A weight
    by which a site would stand out in it more than one of two equals is refused. Only trainable parameters
    are averaged. A site whose training or journal fails is silent in that round. A site that is proven to
    have cheated (``RoundReport.accused``) is left out of all rounds after it, which ``RoundReport.refused``
    tells. A round that is abandoned leaves the model as it was, and the next one tries again with new keys
    and the updates that were trained for it: over one model a site masks one vector.
    Should some sites have helped to open the abandoned sum, they open none of other survivors over that
    model: the server may have the sum and deny it. So where a cheat is found when they have answered, no
    round goes on without it: train anew without that site. After each round the server's own view is attacked
    (``require_hidden``).

    Args:
        sites: Name to data, in the order of the roster.
        net: Starts from its weights; left in evaluation mode.
        config: The settings.
        seed: Of local training; keys and masks always take the operating system's entropy, which changes no
            sum.
        objective: The local loss.
        dropouts: Round to the site that falls silent in it, and the stage from which it does.
        progress: Shows a bar of sites trained.
        on_round: Called after each round with its facts and its secure sum, None if it was abandoned.

    Raises:
        ProtocolError: If no round at all came to an average; a ``SabotageError`` that names them if sites are
            proven to have cheated.
        ModelError: If the net has no trainable parameter, or one in half precision; if local training fails
            at every site, since it changes a buffer, such as BatchNorm's statistics, which must not be
            averaged, or ends in NaN; likewise whatever else the first site's failure is.
        SettingError: If settings cannot hold.
        MechanismError: If the server's view of a round gives a site's update away.

    Guarantee: that of ``secagg.client.step`` on each round's sum, and over one model sums of one set of
    survivors only. What is left: a sum may tell of a site's data by itself, and sums over different models
    may tell together. If one site is in only one of two neighbouring sums, these subtract to its update plus
    what the others' updates have changed by, which is little where the model moves little (full-batch descent
    at small steps: cosine above 0.99 to the true update; ``RoundReport.simulated.exposed`` measures it). With
    a ``minimum`` of all sites no two sums differ in their sites; differential privacy bounds what any sums
    tell. Sites remember for one call of ``train``: two calls that start from one model with different sites
    subtract as well. A server that chooses the models itself may move one by a hair and ask again: here the
    next model is the last one plus the average, by construction.
    Source: McMahan et al., 2017, arXiv:1602.05629; Bonawitz et al., 2017, ePrint 2017/281.
    """
    check_types(Integral, seed=seed)
    if not callable(objective):
        raise SettingError(
            f"objective = {objective!r}; expected a loss as Objective says, such as CleanCrossEntropy()"
        )
    federation = _Federation.start(sites, net, config, objective)
    dropouts_by_round = _check_dropouts(
        {} if dropouts is None else dropouts, federation.roster.names, config.rounds
    )
    largest = {name: largest_entry(federation.encoding, federation.relative_weight(name)) for name in sites}
    rounds: list[RoundReport] = []
    earlier_views: list[ServerView] = []
    last: Opened | None = None
    cheaters: dict[str, str] = {}
    updates: dict[str, Update] = {}
    trained_over: bytes | None = None
    with progress.bar("federate", config.rounds * len(sites)) as advance:
        for index in range(config.rounds):
            policy = federation.policy(index, net)
            seeds = {name: derive_seed(seed, "federated", index, name) for name in sites}
            honest = {name: data for name, data in sites.items() if name not in cheaters}
            if policy.model_hash != trained_over:
                updates, trained_over = {}, policy.model_hash
            # over one model a site masks one vector: what it trained for an abandoned round is sent again
            updates, left = _train_sites(federation, honest, net, objective, seeds, advance, updates)
            advance(len(cheaters))
            encoded = {name: update.encoded for name, update in updates.items()}
            aggregate: SecureSumResult | None = None
            try:
                aggregate = simulate_round(
                    policy,
                    federation.identities,
                    encoded,
                    dropouts_by_round.get(index, {}),
                    journals=federation.journals,
                    largest=largest,
                )
            except RoundAbandonedError as error:
                seen, report = (
                    error.server_view,
                    _abort_report(index, federation, error, updates, left, cheaters),
                )
            else:
                exposed = exposure(last, (aggregate, encoded)) if last else {}
                seen, report = (
                    aggregate.server_view,
                    _report(index, federation, aggregate, updates, left, cheaters, exposed),
                )
                _apply(net, federation.mean(aggregate))
                last = (aggregate, encoded)
            require_hidden(seen, encoded, earlier_views=earlier_views)
            if set(seen.sharers) != set(
                seen.survivors
            ):  # the keys of those in between were revealed; a later round may not use them
                earlier_views.append(seen.without_vectors())
            rounds.append(report)
            cheaters |= dict.fromkeys(
                report.accused, f"it is proven to have cheated in round {index} (counted from 0): left out"
            )
            if on_round is not None:
                on_round(report, aggregate)
    net.eval()
    if all(one.abort_reason for one in rounds):
        reasons = "".join(f"; {name} left: {why}" for name, why in rounds[-1].simulated.left.items())
        reasons += "".join(f"; {name}: {why}" for name, why in cheaters.items())
        reason = (
            f"all {config.rounds} rounds were abandoned, the model is as it was; the last one: "
            f"{rounds[-1].abort_reason}{reasons}"
        )
        raise SabotageError(reason, tuple(cheaters)) if cheaters else ProtocolError(reason)
    return FederatedRun(
        tuple(rounds), len(sites), federation.threshold, federation.encoding, federation.largest_fraction
    )


def model_digest(net: nn.Module) -> bytes:
    """Hash names, shapes, dtypes and values of all parameters and buffers.

    Those outside of ``state_dict`` are included.
    """
    parts = []
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        plain = value.detach().cpu().contiguous()
        content = plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        parts += [name.encode(), str(tuple(plain.shape)).encode(), str(plain.dtype).encode(), content]
    return tagged_hash("model", *parts)


@dataclass(frozen=True, slots=True)
class _Federation:
    """The federation: what stays the same over all rounds."""

    config: FederatedConfig
    identities: Mapping[str, Identity]
    journals: Mapping[str, Journal]
    roster: Roster
    weights: Mapping[str, int]
    encoding: Encoding
    threshold: int
    min_survivors: int
    task: Task

    @classmethod
    def start(
        cls, sites: Mapping[str, Dataset], net: nn.Module, config: FederatedConfig, objective: Objective
    ) -> "_Federation":
        check_types(FederatedConfig, config=config)
        check_types(nn.Module, net=net)
        check_types(Mapping, sites=sites)
        shape = _check_sites(sites, config)
        check_trainable(net)
        identities = {name: Identity.create(name) for name in sites}
        roster = Roster.from_identities(*identities.values())
        weights = (
            dict.fromkeys(sites, 1)
            if config.weights is None
            else {name: int(config.weights[name]) for name in sites}
        )
        length = sum(parameter.numel() for _, parameter in trainable(net))
        encoding = (
            finest_encoding(length, config.clip_value, len(sites))
            if config.scale is None
            else Encoding(length, config.clip_value, config.scale, len(sites))
        )
        task = Task(
            federation=roster.digest.hex(),
            recipe=repr(config.local_recipe),
            objective=repr(objective),
            data=f"samples of shape {shape} in [0, 1]",
            weights=tuple(weights.values()),
        )
        threshold, min_survivors = config.terms(len(sites))
        return cls(
            config=config,
            identities=identities,
            journals={name: MemoryJournal() for name in sites},
            roster=roster,
            weights=weights,
            encoding=encoding,
            threshold=threshold,
            min_survivors=min_survivors,
            task=task,
        )

    def policy(self, index: int, net: nn.Module) -> Policy:
        """The terms of a round over this model, under an id of its own."""
        task = replace(self.task, counter=index)
        return Policy(
            roster=self.roster,
            round_id=secrets.token_bytes(ROUND_BYTES),
            threshold=self.threshold,
            min_survivors=self.min_survivors,
            encoding=self.encoding,
            model_hash=model_digest(net),
            max_corrupt=self.config.max_corrupt,
            task=task,
        )

    def relative_weight(self, name: str) -> float:
        """A site's weight over the largest one."""
        return self.weights[name] / max(self.weights.values())

    @property
    def largest_fraction(self) -> float:
        """The largest part of a sum's weight that one site can have."""
        return largest_fraction(self.weights.values(), self.min_survivors, self.config.max_corrupt)

    def mean(self, aggregate: SecureSumResult) -> Tensor:
        """The weighted average (length,) of the survivors' updates."""
        return torch.from_numpy(
            aggregate.total / sum(self.relative_weight(name) for name in aggregate.survivors)
        )


def _train_sites(
    federation: _Federation,
    sites: Mapping[str, Dataset],
    net: nn.Module,
    objective: Objective,
    seeds: Mapping[str, int],
    advance: Callable[[int], None],
    kept: Mapping[str, Update],
) -> tuple[dict[str, Update], dict[str, str]]:
    """Each site's update, kept or trained now, and why a site has none: a failure is the site's own, unless
    all fail.

    Whatever ends the training of one site alone is a matter of its data or its machine; alarms and wrong
    settings concern all sites.
    """
    updates: dict[str, Update] = {}
    failures: dict[str, Exception] = {}
    recipe, encoding = federation.config.local_recipe, federation.encoding
    for name, data in sites.items():
        try:
            updates[name] = kept.get(name) or local_update(
                net, data, recipe, objective, encoding, federation.relative_weight(name), seed=seeds[name]
            )
        except (SoundnessError, UsageError):
            raise
        except Exception as error:
            failures[name] = error
        advance(1)
    if failures and not updates:
        raise next(iter(failures.values()))
    return updates, {name: str(error) or type(error).__name__ for name, error in failures.items()}


def _report(
    index: int,
    federation: _Federation,
    aggregate: SecureSumResult,
    updates: Mapping[str, Update],
    left: Mapping[str, str],
    cheaters: Mapping[str, str],
    exposed: Mapping[str, float],
) -> RoundReport:
    return RoundReport(
        index=index,
        survivors=aggregate.survivors,
        dropped=aggregate.dropped,
        weight=sum(federation.weights[name] for name in aggregate.survivors),
        masked_vectors=len(aggregate.server_view.masked_vectors),
        bytes_uploaded=aggregate.bytes_uploaded,
        seconds=aggregate.seconds,
        simulated=_simulated(aggregate.exact, updates, {**left, **aggregate.left}, exposed),
        refused={**cheaters, **aggregate.refused},
        accused=aggregate.accused,
    )


def _abort_report(
    index: int,
    federation: _Federation,
    error: RoundAbandonedError,
    updates: Mapping[str, Update],
    left: Mapping[str, str],
    cheaters: Mapping[str, str],
) -> RoundReport:
    seen = error.server_view
    simulated = _simulated(False, updates, {**left, **error.left}, {})
    return RoundReport(
        index=index,
        survivors=(),
        dropped=federation.roster.names,
        weight=0,
        masked_vectors=len(seen.masked_vectors),
        bytes_uploaded=seen.bytes_uploaded,
        seconds=error.seconds,
        simulated=simulated,
        refused=dict(cheaters),
        accused=error.accused,
        abort_reason=error.reason,
    )


def _simulated(
    exact: bool, updates: Mapping[str, Update], left: Mapping[str, str], exposed: Mapping[str, float]
) -> Simulated:
    losses = {name: update.loss for name, update in updates.items()}
    clipped = {name: update.num_clipped for name, update in updates.items()}
    return Simulated(exact, losses, clipped, left, exposed)


@torch.no_grad()
def _apply(net: nn.Module, mean: Tensor) -> None:
    """Add the averaged update (length,) to the weights."""
    # w <- w + mean, computed in float64, rounded once to the parameter's dtype.
    start = 0
    for _, parameter in trainable(net):
        change = mean[start : start + parameter.numel()].view_as(parameter)
        parameter.copy_((parameter.double() + change.to(parameter.device)).to(parameter.dtype))
        start += parameter.numel()


def _check_sites(sites: Mapping[str, Dataset], config: FederatedConfig) -> tuple[int, ...]:
    """The shape of the samples, which must be one at all sites."""
    for name, data in sites.items():
        check_types(str, **{"the name of a site": name})
        check_types(Dataset, **{f"the data of {name!r}": data})
    if len(sites) < 2:
        raise SettingError(
            f"{len(sites)} site; expected at least two, since an average over one hides nothing"
        )
    if config.weights is not None and set(config.weights) != set(sites):
        odd = ", ".join(sorted(str(name) for name in set(config.weights) ^ set(sites)))
        raise SettingError(f"weights does not fit the sites {', '.join(sites)}: {odd} unknown or missing")
    shapes = {name: data.shape for name, data in sites.items()}
    if len(set(shapes.values())) > 1:
        raise SettingError(
            f"the sites' samples have shapes {shapes}; expected one shape, since they train one model"
        )
    return next(iter(shapes.values()))


def _check_dropouts(
    dropouts: Mapping[int, tuple[str, DropoutStage | str]], names: tuple[str, ...], rounds: int
) -> dict[int, dict[int, DropoutStage]]:
    check_types(Mapping, dropouts=dropouts)
    dropouts_by_round = {}
    for index, entry in dropouts.items():
        if not (isinstance(entry, tuple) and len(entry) == 2):
            raise SettingError(
                f"dropouts gives {entry!r} for round {index!r}; expected a site and a stage, such as "
                "('site-1', 'masked')"
            )
        name, stage = entry
        if name not in names or index not in range(rounds):
            raise SettingError(
                f"dropouts names {name!r} in round {index}; expected one of {', '.join(names)} in rounds 0 "
                f"to {rounds - 1}"
            )
        dropouts_by_round[index] = {names.index(name): DropoutStage.parse(stage)}
    return dropouts_by_round
