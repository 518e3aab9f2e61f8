"""What a simulated federated training comes to, with what only a process that sees all sites can tell."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from quintain.core.errors import ProtocolError, SabotageError
from quintain.federated.aggregation import Aggregation
from quintain.federated.client import Client
from quintain.federated.fixed_groups import min_members
from quintain.federated.local import Update
from quintain.federated.plan import TrainingPlan
from quintain.federated.privacy import FederationPrivacy, noise_privacy, site_level
from quintain.federated.reports import RoundReport, ServerReport, SimulationFacts
from quintain.federated.simulated_network import SimulatedNetwork
from quintain.federated.sum_result import SecureSumResult


def total_privacy(
    plan: TrainingPlan,
    aggregation: Aggregation,
    clients: Sequence[Client],
    rounds: Sequence[RoundReport],
) -> FederationPrivacy | None:
    """Return the epsilon of all that left the sites; None where nothing was trained privately."""
    if plan.config.site_privacy is not None:
        ledgers = {one.name: one.ledger for one in clients if one.ledger.releases}
        return site_level(ledgers, plan.config.site_privacy.delta) if ledgers else None
    found = noise_privacy(plan, aggregation, [len(one.survivors) for one in rounds])
    if found is None or not plan.strategy.is_personal:
        return found
    return replace(
        found,
        notes=(
            *found.notes,
            f"it covers what leaves the sites; what {plan.strategy.name} leaves there, and the average of "
            "that in a simulation's model, have no noise",
        ),
    )


def largest_fraction(plan: TrainingPlan, aggregation: Aggregation) -> float:
    """Return the largest part of a sum that is one site's: of the sum of all, or of its group."""
    if aggregation.sums_all:
        return plan.largest_fraction
    num_sites = len(plan.roster)
    sizes = {len(aggregation.summed_with(site, num_sites)) for site in range(num_sites)}
    fewest = min(min_members(size, num_sites, plan.min_survivors) for size in sizes)
    return 1 / (fewest - plan.config.max_corrupt)


def personal_models(
    plan: TrainingPlan, clients: Sequence[Client], net: nn.Module, first: nn.Module
) -> dict[str, nn.Module]:
    """Return each site's own model, where the strategy leaves a part of the net at the sites.

    Args:
        plan, clients: Of the training.
        net: The common model, with the average of what stayed at the sites.
        first: The first model: a site that has never trained still has its own part.
    """
    strategy = plan.strategy
    if not strategy.is_personal:
        return {}
    names = next((one.home.keys() for one in clients if one.home), ())
    tensors = dict((*first.named_parameters(), *first.named_buffers()))
    untrained = {name: tensors[name].detach() for name in names}
    return {one.name: strategy.personal_model(net, one.home or untrained).eval() for one in clients}


def round_report(
    report: ServerReport,
    aggregation: Aggregation,
    network: SimulatedNetwork,
    updates: Mapping[str, Update],
    opened: SecureSumResult | None,
    exposed: Mapping[str, float],
) -> RoundReport:
    """Return what the server reports, with what only a simulation knows."""
    # where too few sites were left for any sum none was asked, and the server saw nothing
    view = network.view if network.policy is not None else None
    return RoundReport(
        index=report.index,
        survivors=report.survivors,
        dropped=report.dropped,
        weight=report.weight,
        seconds=report.seconds,
        refused=report.refused,
        accused=report.accused,
        abort_reason=report.abort_reason,
        masked_vectors=0 if view is None else aggregation.count_hidden(view),
        bytes_uploaded=dict.fromkeys(network.names, 0) if view is None else view.bytes_uploaded,
        simulated=SimulationFacts(
            exact=opened is not None and opened.exact,
            losses={name: update.loss for name, update in updates.items()},
            num_clipped={name: update.num_clipped for name, update in updates.items()},
            left=network.left,
            exposed=exposed,
        ),
    )


def require_an_average(rounds: list[RoundReport], cheaters: Mapping[str, str]) -> None:
    """Raise if all rounds were abandoned."""
    if not all(one.abort_reason for one in rounds):
        return
    reasons = "".join(f"; {name} left: {why}" for name, why in rounds[-1].simulated.left.items())
    reasons += "".join(f"; {name}: {why}" for name, why in cheaters.items())
    reason = (
        f"all {len(rounds)} rounds were abandoned, the model is as it was; the last one: "
        f"{rounds[-1].abort_reason}{reasons}"
    )
    raise SabotageError(reason, tuple(cheaters)) if cheaters else ProtocolError(reason)
