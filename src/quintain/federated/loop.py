"""Federated averaging: broadcast, train at each site, add the updates up securely, step."""

import copy
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from quintain.core.errors import ModelError, ProtocolError, SettingError
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive
from quintain.data.dataset import Dataset
from quintain.federated.aggregate import SecureSum, public_cap, sum_words
from quintain.federated.secagg.encoding import Encoding, finest
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.policy import ROUND_BYTES, Policy, default_threshold
from quintain.federated.secagg.primitives import bind
from quintain.federated.transport import Stage
from quintain.training import Objective, Plain, Recipe, fit

PLAIN = Plain()


@dataclass(frozen=True, slots=True)
class FederatedPlan:
    """The public settings of a federated training.

    Args:
        rounds: How often the sites train and average.
        local: What each site does in a round.
        clip: C: each entry of a site's update is cut to [-C, C].
        scale: s: the grid's steps a unit; None for the finest that cannot wrap.
        threshold: t of the secure aggregation; None for floor(2n/3) + 1.
        minimum: Fewest sites that make a sum; None for the threshold.
        corrupt: Sites that may side with the server.

    Raises:
        SettingError: If there are no rounds.
    """

    rounds: int
    local: Recipe
    clip: float = 1.0
    scale: int | None = None
    threshold: int | None = None
    minimum: int | None = None
    corrupt: int = 1

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise SettingError(f"rounds = {self.rounds}; expected at least 1")


@dataclass(frozen=True, slots=True)
class Round:
    """The facts of one round.

    Args:
        index: From 0.
        survivors: Whose updates are in the average; empty if the round was abandoned.
        dropped: Whose are not.
        exact: Whether the secure sum equals the plain integer sum of the survivors' updates, worked out beside the server.
        masked_vectors: How many masked vectors the server saw, unmasked ones: none; 0 if the round was abandoned.
        bytes_up: Bytes that each site sent.
        seconds: What the aggregation took.
        examples: Training examples behind the average; the only count that the server learns.
        clipped: Entries of all updates that the clip cut: where many, raise it.
        losses: Each site's last local loss; it does not leave the site.
        refused: Who was refused or refused to go on, and why.
        abandoned: Why there is no average; empty if there is one.
    """

    index: int
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]
    exact: bool
    masked_vectors: int
    bytes_up: Mapping[str, int]
    seconds: float
    examples: int
    clipped: int
    losses: Mapping[str, float]
    refused: Mapping[str, str] = field(default_factory=dict)
    abandoned: str = ""


@dataclass(frozen=True, slots=True)
class Federated:
    """What a federated training tells of itself.

    Args:
        rounds: The facts of each.
        parties: Size of the roster.
        threshold: t that was in force.
        encoding: The grid of the updates.
    """

    rounds: tuple[Round, ...]
    parties: int
    threshold: int
    encoding: Encoding


def train(
    sites: Mapping[str, Dataset],
    net: nn.Module,
    plan: FederatedPlan,
    *,
    seed: int = 0,
    objective: Objective = PLAIN,
    drop: Mapping[int, tuple[str, Stage | str]] | None = None,
    progress: Progress = silent,
    on_round: Callable[[Round, SecureSum | None], None] | None = None,
) -> Federated:
    r"""Train ``net`` in place on the data of sites that keep it.

    .. math:: \theta \leftarrow \theta + \frac{\sum_{i \in U} w_i\, \mathrm{clip}(\theta_i - \theta, -C, C)}{\sum_{i \in U} w_i}

    with w_i the site's number of examples; numerator and denominator come out of one secure sum. A round that is abandoned leaves the
    model as it was, and the next one starts with new keys. Only trainable parameters are averaged.

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
        ProtocolError: If no round at all came to an average.
        ModelError: If local training changes a buffer, such as BatchNorm's statistics, which must not be averaged, or ends in NaN.
        SettingError: If settings cannot hold.

    Guarantee: that of ``secagg.client.step`` on each round's sum. The averages themselves may tell of a site's data: that takes
    differential privacy. Source: McMahan et al., 2017, arXiv:1602.05629; Bonawitz et al., 2017, ePrint 2017/281.
    """
    names = tuple(sites)
    silences = _check_drop(drop or {}, names, plan.rounds)
    if len(names) < 2:
        raise SettingError(f"{len(names)} site; expected at least two, since an average over one hides nothing")
    identities = {name: Identity.create(name) for name in names}
    roster = Roster.of(*identities.values())
    length = sum(parameter.numel() for _, parameter in _trained(net))
    cap = public_cap(len(data) for data in sites.values())
    encoding = (
        finest(length, plan.clip, len(names), cap) if plan.scale is None else Encoding(length, plan.clip, plan.scale, len(names), cap)
    )
    threshold = default_threshold(len(names)) if plan.threshold is None else plan.threshold
    minimum = max(2, threshold) if plan.minimum is None else plan.minimum

    rounds: list[Round] = []
    with progress.loop("federate", plan.rounds * len(names)) as advance:
        for index in range(plan.rounds):
            policy = Policy(roster, secrets.token_bytes(ROUND_BYTES), threshold, minimum, encoding, model_hash(net), plan.corrupt)
            words, losses, clipped = {}, {}, 0
            for name, data in sites.items():
                update, losses[name] = _local_update(net, data, plan.local, objective, derive(seed, "federated", index, name), name)
                values = update.numpy()
                clipped += encoding.clipped(values)
                words[name] = encoding.quantise(values, len(data))
                advance(1)
            summed: SecureSum | None = None
            try:
                summed = sum_words(policy, identities, words, silences.get(index, {}))
            except ProtocolError as error:
                facts = Round(index, (), names, False, 0, {}, 0.0, 0, clipped, losses, abandoned=str(error))
            else:
                _apply(net, torch.from_numpy(summed.mean))
                facts = Round(
                    index,
                    summed.survivors,
                    summed.dropped,
                    summed.exact,
                    len(summed.seen.masked),
                    summed.bytes_up,
                    summed.seconds,
                    summed.weight,
                    clipped,
                    losses,
                    summed.refused,
                )
            rounds.append(facts)
            if on_round is not None:
                on_round(facts, summed)
    net.eval()
    if all(one.abandoned for one in rounds):
        raise ProtocolError(f"all {plan.rounds} rounds were abandoned, the model is as it was; the last one: {rounds[-1].abandoned}")
    return Federated(tuple(rounds), len(names), threshold, encoding)


def model_hash(net: nn.Module) -> bytes:
    """A hash of the names, shapes, dtypes and values of all parameters and buffers, of those too that ``state_dict`` leaves out."""
    parts = []
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        plain = value.detach().cpu().contiguous()
        content = plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        parts += [name.encode(), str(tuple(plain.shape)).encode(), str(plain.dtype).encode(), content]
    return bind("model", *parts)


def _trained(net: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in net.named_parameters() if parameter.requires_grad]


def _local_update(net: nn.Module, data: Dataset, recipe: Recipe, objective: Objective, seed: int, site: str) -> tuple[Tensor, float]:
    """What a site's training changes, flat (length,) in float64, and its last loss."""
    local = copy.deepcopy(net)
    fitted = fit(local, data, recipe, objective=objective, seed=seed)
    for (name, before), after in zip(net.named_buffers(), local.buffers(), strict=True):
        if not torch.equal(before, after):
            raise ModelError(
                f"training at {site} changes the buffer {name!r}; expected trainable parameters alone, since running statistics do not "
                "average: replace BatchNorm by GroupNorm"
            )
    parts = []
    for (name, before), (_, after) in zip(_trained(net), _trained(local), strict=True):
        change = (after.detach().double() - before.detach().double()).cpu().flatten()
        if not change.isfinite().all():
            raise ModelError(f"after training at {site}, {name!r} is not finite; lower the rate of the local recipe ({recipe.rate:g})")
        parts.append(change)
    return torch.cat(parts), fitted.losses[-1]


@torch.no_grad()
def _apply(net: nn.Module, mean: Tensor) -> None:
    """Add the averaged update (length,) to the weights."""
    start = 0
    for _, parameter in _trained(net):
        change = mean[start : start + parameter.numel()].view_as(parameter)
        parameter.copy_((parameter.double() + change.to(parameter.device)).to(parameter.dtype))
        start += parameter.numel()


def _check_drop(drop: Mapping[int, tuple[str, Stage | str]], names: tuple[str, ...], rounds: int) -> dict[int, dict[int, Stage]]:
    silences = {}
    for index, (name, stage) in drop.items():
        if name not in names or not 0 <= index < rounds:
            raise SettingError(f"drop names {name!r} in round {index}; expected one of {', '.join(names)} in rounds 0 to {rounds - 1}")
        silences[index] = {names.index(name): Stage.of(stage)}
    return silences
