"""Simulated federated training: a server and all clients in one process, and what only that can know."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from numbers import Integral
from pathlib import Path

from torch import nn

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.dp import PrivacyUnits
from quintain.federated.aggregation import Aggregation
from quintain.federated.byzantine import ByzantineAggregation, UpdateChange
from quintain.federated.client import Client
from quintain.federated.client_config import ClientConfig
from quintain.federated.config import FederatedConfig
from quintain.federated.differencing import exposure, latest
from quintain.federated.engine import Carry, Engine, local_engine
from quintain.federated.kept_update import units_digest
from quintain.federated.local import check_trainable
from quintain.federated.model_bytes import model_digest
from quintain.federated.plan import CLEAN_CROSS_ENTROPY, TrainingPlan
from quintain.federated.reports import FederatedRun, RoundReport
from quintain.federated.secagg.journal import MemoryJournal
from quintain.federated.secagg.keys import Identity, Roster
from quintain.federated.secagg.primitives import tagged_hash
from quintain.federated.secagg.setting_types import check_types
from quintain.federated.secagg_sum import SecureSum
from quintain.federated.server import Server
from quintain.federated.simulated_network import SimulatedNetwork, WatchedAggregation
from quintain.federated.simulation_report import (
    largest_fraction,
    personal_models,
    require_an_average,
    round_report,
    total_privacy,
)
from quintain.federated.simulation_state import save_simulation, start_simulation
from quintain.federated.site_privacy import check_units
from quintain.federated.strategies.personal import put_average
from quintain.federated.sum_result import SecureSumResult
from quintain.federated.transport import DropoutStage
from quintain.models.fingerprint import function_fingerprint
from quintain.training import Objective

SECURE_SUM = SecureSum()
STATE_FILE = "federated.safetensors"


def simulate(
    sites: Mapping[str, Dataset],
    net: nn.Module,
    config: FederatedConfig,
    *,
    seed: int = 0,
    objective: Objective = CLEAN_CROSS_ENTROPY,
    aggregation: Aggregation = SECURE_SUM,
    folder: Path | None = None,
    dropouts: Mapping[int, Mapping[str, DropoutStage | str]] | None = None,
    engine: Engine = local_engine,
    progress: Progress = no_progress,
    on_round: Callable[[RoundReport, SecureSumResult | None], None] | None = None,
    units: Mapping[str, PrivacyUnits] | None = None,
    byzantine: Mapping[str, UpdateChange] | None = None,
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
    (``require_hidden``), where the aggregation hides anything.

    Where the strategy leaves a part of the net at the sites, ``net`` has the average of their parts, which no
    server could make, and the sites' own models are in ``FederatedRun.personal_models``.

    ``Server`` and ``Client`` are those of a deployment; between them there are only bytes, which the engine
    carries.

    Args:
        sites: Name to data, in the order of the roster.
        net: Starts from its weights; left in evaluation mode.
        config: The settings.
        seed: Of local training; keys and masks always take the operating system's entropy, which changes no
            sum.
        objective: The local loss.
        aggregation: What sums the updates.
        folder: Where the state is kept before the first round and after each, and each site's update; a
            training that was killed goes on there, and ends with the same model. ``on_round`` is not called
            again for rounds that were finished, whose revealed secrets the attack on later ones still tries;
            those of a round in which it was killed are lost.
        dropouts: Round to the sites that fall silent in it, and the stage from which each does.
        engine: What carries the messages between server and sites.
        progress: Shows a bar of sites trained, with the round, its stage and who is late.
        on_round: Called after each round with its facts and its secure sum, None if it was abandoned.
        units: Each site to whom its examples belong, such as patients, where ``config.site_privacy`` protects
            them; None where it protects single records.
        byzantine: Malicious site to what it makes of its updates, as in ``federated.byzantine``.

    Raises:
        ProtocolError: If no round at all came to an average; a ``SabotageError`` that names them if sites are
            proven to have cheated.
        ModelError: If the net has no trainable parameter, or one in half precision; if local training fails
            at every site, since it changes a buffer, such as BatchNorm's statistics, which must not be
            averaged, or ends in NaN; likewise whatever else the first site's failure is.
        SettingError: If settings cannot hold.
        MechanismError: If the server's view of a round gives a site's update away.
        PrivacyError: If a site's ledger in the folder holds less than its updates took.
        RunFolderError: If the folder holds another training, or a damaged state, or updates without one.

    Guarantee: that of ``secagg.client.step`` on each round's sum, and over one model sums of one set of
    survivors only; with another aggregation, that of it. What is left: a sum may tell of a site's data by
    itself, and sums over different models may tell together. If one site is in only one of two neighboring
    sums, these subtract to its update plus what the others' updates have changed by, which is little where
    the model moves little (full-batch descent at small steps: cosine above 0.99 to the true update;
    ``RoundReport.simulated.exposed`` measures it). With a ``minimum`` of all sites no two sums differ in
    their sites; differential privacy bounds what any sums tell. Sites remember for one call of ``simulate``:
    two calls that start from one model with different sites subtract as well. A server that chooses the
    models itself may move one by a hair and ask again: clients refuse a model that is not the last one plus
    the published sum, which narrows that and does not stop it.
    Source: McMahan et al., 2017, arXiv:1602.05629; Bonawitz et al., 2017, ePrint 2017/281.
    """
    check_types(Integral, seed=seed)
    check_types(FederatedConfig, config=config)
    check_types(nn.Module, net=net)
    check_types(Mapping, sites=sites)
    shape = _check_sites(sites)
    check_trainable(net)
    identities = {name: Identity.create(name) for name in sites}
    plan = TrainingPlan.for_net(
        Roster.from_identities(*identities.values()),
        config,
        net,
        objective,
        data=f"samples of shape {shape} in [0, 1]",
    )
    known_units = check_units(units, plan.roster.names)
    malicious = _check_byzantine({} if byzantine is None else byzantine, plan.roster.names)
    by_round = _check_dropouts({} if dropouts is None else dropouts, plan.roster.names, config.rounds)
    first = copy.deepcopy(net)
    clients = [
        Client(
            ClientConfig(
                plan,
                ByzantineAggregation(aggregation, malicious[name]) if name in malicious else aggregation,
                seed=seed,
                update_file=folder and folder / f"site-{place}",
            ),
            identities[name],
            data,
            first,
            MemoryJournal(),
            units=known_units.get(name),
        )
        for place, (name, data) in enumerate(sites.items())
    ]
    watched = WatchedAggregation(aggregation)
    server = Server(plan, net, watched)
    file = folder and folder / STATE_FILE
    others = (by_round, known_units, malicious)
    fingerprint = _fingerprint(plan, aggregation, sites, first, seed, *others) if folder else ""
    rounds, last, watched.known_secrets = start_simulation(file, server, clients, fingerprint)
    # a round in which the process ended had a counter that the clients remember
    counter = max(server.state.next_counter, *(one.last_counter + 1 for one in clients))
    server.state = replace(server.state, next_counter=counter)

    def run_rounds(carry: Carry) -> None:
        nonlocal last
        with progress.bar("federate", config.rounds * len(sites)) as advance:
            advance(len(rounds) * len(sites))
            while not server.is_finished:
                here = f"round {len(rounds) + 1} of {config.rounds}: "
                network = SimulatedNetwork(
                    clients,
                    carry,
                    by_round.get(len(rounds), {}),
                    aggregation.replies,
                    advance=advance,
                    show=lambda text, here=here: progress.set_status(here + text),  # type: ignore[misc]
                )
                watched.network = network
                report = replace(server.run_round(network), seconds=watched.seconds)
                advance(len(sites) - len(network.admitted))
                if plan.strategy.is_personal:
                    put_average(net, [one.home for one in clients if one.home])
                summed, updates = watched.result, network.updates
                opened = None if summed is None or report.abort_reason else summed
                now = watched.opened_sums
                exposed, last = exposure(last, now), latest(last, now)
                rounds.append(round_report(report, aggregation, network, updates, opened, exposed))
                if on_round is not None:
                    on_round(rounds[-1], opened)
                if file is not None:
                    known = watched.known_secrets
                    save_simulation(file, server.net, server.state, rounds, last, known, fingerprint)

    engine([one.handle for one in clients], run_rounds)
    net.eval()
    require_an_average(rounds, server.state.cheaters)
    return FederatedRun(
        rounds=tuple(rounds),
        num_sites=len(sites),
        threshold=plan.threshold,
        encoding=plan.encoding,
        largest_fraction=largest_fraction(plan, aggregation),
        privacy=total_privacy(plan, aggregation, clients, rounds),
        personal_models=personal_models(plan, clients, net, first),
    )


def _fingerprint(
    plan: TrainingPlan,
    aggregation: Aggregation,
    sites: Mapping[str, Dataset],
    first: nn.Module,
    seed: int,
    dropouts: Mapping[int, Mapping[int, DropoutStage]],
    units: Mapping[str, PrivacyUnits],
    byzantine: Mapping[str, UpdateChange],
) -> str:
    """A hash of all that decides a simulation: another one is refused in its folder."""
    settings = (
        plan.fingerprint,
        aggregation.name,
        seed,
        sorted((k, *v.items()) for k, v in dropouts.items()),
    )
    data = (one.hash.encode() for one in sites.values())
    whom = (units_digest(units.get(name)) for name in sites)
    changed = (f"{name} {function_fingerprint(byzantine[name])}".encode() for name in sorted(byzantine))
    return tagged_hash(
        "simulation", repr(settings).encode(), model_digest(first), *data, *whom, *changed
    ).hex()


def _check_sites(sites: Mapping[str, Dataset]) -> tuple[int, ...]:
    """The shape of the samples, which must be one at all sites."""
    for name, data in sites.items():
        check_types(str, **{"the name of a site": name})
        check_types(Dataset, **{f"the data of {name!r}": data})
    if len(sites) < 2:
        raise SettingError(
            f"{len(sites)} site; expected at least two, since an average over one hides nothing"
        )
    shapes = {name: data.shape for name, data in sites.items()}
    if len(set(shapes.values())) > 1:
        raise SettingError(
            f"the sites' samples have shapes {shapes}; expected one shape, since they train one model"
        )
    return next(iter(shapes.values()))


def _check_byzantine(
    byzantine: Mapping[str, UpdateChange], names: tuple[str, ...]
) -> Mapping[str, UpdateChange]:
    check_types(Mapping, byzantine=byzantine)
    unknown = sorted(str(name) for name in byzantine if name not in names)
    if unknown:
        raise SettingError(f"byzantine names {', '.join(unknown)}; expected some of {', '.join(names)}")
    return byzantine


def _check_dropouts(
    dropouts: Mapping[int, Mapping[str, DropoutStage | str]], names: tuple[str, ...], rounds: int
) -> dict[int, dict[int, DropoutStage]]:
    check_types(Mapping, dropouts=dropouts)
    dropouts_by_round = {}
    for index, entry in dropouts.items():
        if not isinstance(entry, Mapping):
            raise SettingError(
                f"dropouts gives {entry!r} for round {index!r}; expected a stage for each site, such as "
                "{'site-1': 'masked'}"
            )
        for name in entry:
            if name not in names or index not in range(rounds):
                raise SettingError(
                    f"dropouts names {name!r} in round {index}; expected one of {', '.join(names)} in rounds "
                    f"0 to {rounds - 1}"
                )
        dropouts_by_round[index] = {
            names.index(name): DropoutStage.parse(stage) for name, stage in entry.items()
        }
    return dropouts_by_round
