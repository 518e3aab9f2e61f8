"""Federated averaging: broadcast, train at each site, add the updates up securely, step."""

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
from quintain.federated.aggregate import RoundAbandonedError, SecureSum, sum_words
from quintain.federated.differencing import Opened, exposure
from quintain.federated.facts import Federated, Round, Simulated
from quintain.federated.hidden import verify_hidden
from quintain.federated.local import Update, check_trainable, largest_entry, local_update, trainable
from quintain.federated.plan import FederatedPlan
from quintain.federated.secagg.encoding import Encoding, check_types, finest
from quintain.federated.secagg.journal import Journal, MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import ROUND_BYTES, Policy, Task
from quintain.federated.secagg.primitives import bind
from quintain.federated.secagg.weights import largest_share
from quintain.federated.transport import Stage
from quintain.federated.view import ServerView
from quintain.training import CleanCrossEntropy, Objective

PLAIN = CleanCrossEntropy()


def train(
    sites: Mapping[str, Dataset],
    net: nn.Module,
    plan: FederatedPlan,
    *,
    seed: int = 0,
    objective: Objective = PLAIN,
    drop: Mapping[int, tuple[str, Stage | str]] | None = None,
    progress: Progress = no_progress,
    on_round: Callable[[Round, SecureSum | None], None] | None = None,
) -> Federated:
    r"""Train ``net`` in place on the data of sites that keep it.

    .. math:: \theta \leftarrow \theta + \frac{\sum_{i \in U} w_i\, \mathrm{clip}(\theta_i - \theta, -C, C)}{\sum_{i \in U} w_i}

    with public weights w_i, all equal unless the plan says otherwise; the numerator is a secure sum. A weight by which a site would stand
    out in it more than one of two equals is refused. Only trainable parameters are averaged. A site whose training or journal fails is
    silent in that round. A site that is proven to have cheated (``Round.accused``) is left out of all rounds after it, which
    ``Round.refused`` tells. A round that is abandoned leaves the model as it was, and the next one tries again with new keys. Should some
    sites have helped to open the abandoned sum, they open none of other survivors over that model: the server may have the sum and deny
    it. So where a cheat is found when they have answered, no round goes on without it: train anew without that site. After each round the
    server's own view is attacked (``verify_hidden``).

    Args:
        sites: Name to data, in the order of the roster.
        net: Starts from its weights; left in evaluation mode.
        plan: The settings.
        seed: Of local training; keys and masks always take the operating system's entropy, which changes no sum.
        objective: The local loss.
        drop: Round to the site that falls silent in it, and the stage from which it does.
        progress: Shows a bar of sites trained.
        on_round: Called after each round with its facts and its secure sum, None if it was abandoned.

    Raises:
        ProtocolError: If no round at all came to an average; a ``SabotageError`` that names them if sites are proven to have cheated.
        ModelError: If the net has no trainable parameter, or one in half precision; if local training fails at every site, since it
            changes a buffer, such as BatchNorm's statistics, which must not be averaged, or ends in NaN; likewise whatever else the first
            site's failure is.
        SettingError: If settings cannot hold.
        MechanismError: If the server's view of a round gives a site's update away.

    Guarantee: that of ``secagg.client.step`` on each round's sum, and over one model sums of one set of survivors only. What is left:
    a sum may tell of a site's data by itself, and sums over different models may tell together. If one site is in only one of two
    neighbouring sums, these subtract to its update plus what the others' updates have changed by, which is little where the model moves
    little (full-batch descent at small steps: cosine above 0.99 to the true update; ``Round.simulated.exposed`` measures it). With a
    ``minimum`` of all sites no two sums differ in their sites; differential privacy bounds what any sums tell. Sites remember for one
    call of ``train``: two calls that start from one model with different sites subtract as well. A server that chooses
    the models itself may move one by a hair and ask again: here the next model is the last one plus the average, by construction.
    Source: McMahan et al., 2017, arXiv:1602.05629; Bonawitz et al., 2017, ePrint 2017/281.
    """
    check_types(Integral, seed=seed)
    if not callable(objective):
        raise SettingError(f"objective = {objective!r}; expected a loss as Objective says, such as CleanCrossEntropy()")
    federation = _Federation.of(sites, net, plan, objective)
    silences = _check_drop({} if drop is None else drop, federation.roster.names, plan.rounds)
    largest = {name: largest_entry(federation.encoding, federation.part(name)) for name in sites}
    rounds: list[Round] = []
    earlier: list[ServerView] = []
    last: Opened | None = None
    cheats: dict[str, str] = {}
    with progress.bar("federate", plan.rounds * len(sites)) as advance:
        for index in range(plan.rounds):
            policy = federation.policy(index, net)
            seeds = {name: derive_seed(seed, "federated", index, name) for name in sites}
            honest = {name: data for name, data in sites.items() if name not in cheats}
            updates, left = _train_sites(federation, honest, net, objective, seeds, advance)
            advance(len(cheats))
            words = {name: update.words for name, update in updates.items()}
            summed: SecureSum | None = None
            try:
                summed = sum_words(
                    policy,
                    federation.identities,
                    words,
                    silences.get(index, {}),
                    journals=federation.journals,
                    largest=largest,
                )
            except RoundAbandonedError as error:
                seen, facts = error.seen, _abandoned(index, federation, error, updates, left, cheats)
            else:
                exposed = exposure(last, (summed, words)) if last else {}
                seen, facts = summed.seen, _facts(index, federation, summed, updates, left, cheats, exposed)
                _apply(net, federation.mean(summed))
                last = (summed, words)
            verify_hidden(seen, words, earlier=earlier)
            if set(seen.sharing) != set(seen.survivors):  # the keys of those in between were revealed; a later round may not use them
                earlier.append(seen.without_vectors())
            rounds.append(facts)
            cheats |= dict.fromkeys(facts.accused, f"it is proven to have cheated in round {index} (counted from 0): left out")
            if on_round is not None:
                on_round(facts, summed)
    net.eval()
    if all(one.abandoned for one in rounds):
        reasons = "".join(f"; {name} left: {why}" for name, why in rounds[-1].simulated.left.items())
        reasons += "".join(f"; {name}: {why}" for name, why in cheats.items())
        told = f"all {plan.rounds} rounds were abandoned, the model is as it was; the last one: {rounds[-1].abandoned}{reasons}"
        raise SabotageError(told, tuple(cheats)) if cheats else ProtocolError(told)
    return Federated(tuple(rounds), len(sites), federation.threshold, federation.encoding, federation.share)


def model_hash(net: nn.Module) -> bytes:
    """A hash of the names, shapes, dtypes and values of all parameters and buffers, of those too that ``state_dict`` leaves out."""
    parts = []
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        plain = value.detach().cpu().contiguous()
        content = plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        parts += [name.encode(), str(tuple(plain.shape)).encode(), str(plain.dtype).encode(), content]
    return bind("model", *parts)


@dataclass(frozen=True, slots=True)
class _Federation:
    """What stays the same over all rounds."""

    plan: FederatedPlan
    identities: Mapping[str, Identity]
    journals: Mapping[str, Journal]
    roster: Roster
    weights: Mapping[str, int]
    encoding: Encoding
    threshold: int
    minimum: int
    task: Task

    @classmethod
    def of(cls, sites: Mapping[str, Dataset], net: nn.Module, plan: FederatedPlan, objective: Objective) -> "_Federation":
        check_types(FederatedPlan, plan=plan)
        check_types(nn.Module, net=net)
        check_types(Mapping, sites=sites)
        shape = _check_sites(sites, plan)
        check_trainable(net)
        identities = {name: Identity.create(name) for name in sites}
        roster = Roster.of(*identities.values())
        weights = dict.fromkeys(sites, 1) if plan.weights is None else {name: int(plan.weights[name]) for name in sites}
        length = sum(parameter.numel() for _, parameter in trainable(net))
        encoding = finest(length, plan.clip, len(sites)) if plan.scale is None else Encoding(length, plan.clip, plan.scale, len(sites))
        task = Task(
            federation=roster.digest.hex(),
            recipe=repr(plan.local),
            objective=repr(objective),
            data=f"samples of shape {shape} in [0, 1]",
            weights=tuple(weights.values()),
        )
        threshold, minimum = plan.terms(len(sites))
        return cls(plan, identities, {name: MemoryJournal() for name in sites}, roster, weights, encoding, threshold, minimum, task)

    def policy(self, index: int, net: nn.Module) -> Policy:
        """The terms of a round over this model, under an id of its own."""
        task = replace(self.task, counter=index)
        return Policy(
            self.roster,
            secrets.token_bytes(ROUND_BYTES),
            self.threshold,
            self.minimum,
            self.encoding,
            model_hash(net),
            self.plan.corrupt,
            task,
        )

    def part(self, name: str) -> float:
        """A site's weight over the largest one."""
        return self.weights[name] / max(self.weights.values())

    @property
    def share(self) -> float:
        """The largest part of a sum's weight that one site can have."""
        return largest_share(self.weights.values(), self.minimum, self.plan.corrupt)

    def mean(self, summed: SecureSum) -> Tensor:
        """The weighted average (length,) of the survivors' updates."""
        return torch.from_numpy(summed.total / sum(self.part(name) for name in summed.survivors))


def _train_sites(
    federation: _Federation,
    sites: Mapping[str, Dataset],
    net: nn.Module,
    objective: Objective,
    seeds: Mapping[str, int],
    advance: Callable[[int], None],
) -> tuple[dict[str, Update], dict[str, str]]:
    """Each site's update, and why a site has none: a failure is the site's own, unless all fail.

    Whatever ends the training of one site alone is a matter of its data or its machine; alarms and wrong settings concern all sites.
    """
    updates: dict[str, Update] = {}
    failures: dict[str, Exception] = {}
    recipe, encoding = federation.plan.local, federation.encoding
    for name, data in sites.items():
        try:
            updates[name] = local_update(net, data, recipe, objective, encoding, federation.part(name), seed=seeds[name])
        except (SoundnessError, UsageError):
            raise
        except Exception as error:
            failures[name] = error
        advance(1)
    if failures and not updates:
        raise next(iter(failures.values()))
    return updates, {name: str(error) or type(error).__name__ for name, error in failures.items()}


def _facts(
    index: int,
    federation: _Federation,
    summed: SecureSum,
    updates: Mapping[str, Update],
    left: Mapping[str, str],
    cheats: Mapping[str, str],
    exposed: Mapping[str, float],
) -> Round:
    return Round(
        index,
        summed.survivors,
        summed.dropped,
        sum(federation.weights[name] for name in summed.survivors),
        len(summed.seen.masked),
        summed.bytes_up,
        summed.seconds,
        _simulated(summed.exact, updates, {**left, **summed.left}, exposed),
        {**cheats, **summed.refused},
        summed.accused,
    )


def _abandoned(
    index: int,
    federation: _Federation,
    error: RoundAbandonedError,
    updates: Mapping[str, Update],
    left: Mapping[str, str],
    cheats: Mapping[str, str],
) -> Round:
    seen = error.seen
    simulated = _simulated(False, updates, {**left, **error.left}, {})
    return Round(
        index,
        (),
        federation.roster.names,
        0,
        len(seen.masked),
        seen.bytes_up,
        error.seconds,
        simulated,
        refused=dict(cheats),
        accused=error.accused,
        abandoned=error.reason,
    )


def _simulated(exact: bool, updates: Mapping[str, Update], left: Mapping[str, str], exposed: Mapping[str, float]) -> Simulated:
    losses = {name: update.loss for name, update in updates.items()}
    clipped = {name: update.clipped for name, update in updates.items()}
    return Simulated(exact, losses, clipped, left, exposed)


@torch.no_grad()
def _apply(net: nn.Module, mean: Tensor) -> None:
    """Add the averaged update (length,) to the weights."""
    start = 0
    for _, parameter in trainable(net):
        change = mean[start : start + parameter.numel()].view_as(parameter)
        parameter.copy_((parameter.double() + change.to(parameter.device)).to(parameter.dtype))
        start += parameter.numel()


def _check_sites(sites: Mapping[str, Dataset], plan: FederatedPlan) -> tuple[int, ...]:
    """The shape of the samples, which must be one at all sites."""
    for name, data in sites.items():
        check_types(str, **{"the name of a site": name})
        check_types(Dataset, **{f"the data of {name!r}": data})
    if len(sites) < 2:
        raise SettingError(f"{len(sites)} site; expected at least two, since an average over one hides nothing")
    if plan.weights is not None and set(plan.weights) != set(sites):
        odd = ", ".join(sorted(str(name) for name in set(plan.weights) ^ set(sites)))
        raise SettingError(f"weights does not fit the sites {', '.join(sites)}: {odd} unknown or missing")
    shapes = {name: data.shape for name, data in sites.items()}
    if len(set(shapes.values())) > 1:
        raise SettingError(f"the sites' samples have shapes {shapes}; expected one shape, since they train one model")
    return next(iter(shapes.values()))


def _check_drop(drop: Mapping[int, tuple[str, Stage | str]], names: tuple[str, ...], rounds: int) -> dict[int, dict[int, Stage]]:
    check_types(Mapping, drop=drop)
    silences = {}
    for index, entry in drop.items():
        if not (isinstance(entry, tuple) and len(entry) == 2):
            raise SettingError(f"drop gives {entry!r} for round {index!r}; expected a site and a stage, such as ('site-1', 'masked')")
        name, stage = entry
        if name not in names or index not in range(rounds):
            raise SettingError(f"drop names {name!r} in round {index}; expected one of {', '.join(names)} in rounds 0 to {rounds - 1}")
        silences[index] = {names.index(name): Stage.of(stage)}
    return silences
