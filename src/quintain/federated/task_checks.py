"""What a client refuses of a server because of rounds that it was in: replays, other sums, near neighbors."""

from collections.abc import Iterable

from quintain.core.errors import ProtocolError
from quintain.federated.client_config import ClientConfig
from quintain.federated.model_chain import ModelChain
from quintain.federated.plan import TrainingPlan
from quintain.federated.round_messages import PublishedSum, RoundTask
from quintain.federated.secagg.client_unmask import cohort_hash
from quintain.federated.secagg.journal import Journal
from quintain.federated.secagg.message_bodies import SiteSet
from quintain.federated.secagg.policy import ROUND_BYTES


def check_task(
    task: RoundTask, counter: int, config: ClientConfig, journal: Journal, *, last: int, used_up_to: int
) -> None:
    """Refuse a task for another sum, one that was there before, or one beyond the plan.

    Args:
        task: The task.
        counter: The round's number in the federation, as the task's terms have it.
        config: The client's settings.
        journal: What the site remembers for life.
        last: The counter of the last round whose task it accepted.
        used_up_to: The counter of the last round in which a vector may have left.

    Raises:
        ProtocolError: If so.
    """
    if task.aggregation != config.aggregation.name:
        raise ProtocolError(
            f"the server offers aggregation = {task.aggregation[:40]!r}; this site's settings say "
            f"{config.aggregation.name!r}: leave this round"
        )
    # over one counter nothing is masked twice; a task of which no vector left has used up its own alone
    if counter == last or counter <= used_up_to or journal.has_answered(task.round_id):
        raise ProtocolError(
            f"the server offers round counter = {counter} (id {task.round_id.hex()}), and this site was "
            f"in round {last}: a replay is refused"
        )
    if task.index >= config.plan.config.rounds or task.index > counter:
        raise ProtocolError(
            f"the server offers round {task.index} (counted from 0, counter {counter}); this site's plan "
            f"has {config.plan.config.rounds} rounds: leave this round"
        )


def check_survivors(
    published: PublishedSum,
    last: ModelChain,
    config: ClientConfig,
    journal: Journal,
    *,
    name: str,
    signed: SiteSet,
) -> None:
    """Refuse a sum over a model that is said to be of other sites than this one has signed or opened.

    Args:
        published: The sum, as the server tells it.
        last: The chain of models up to that over which it is.
        config, journal: As ``check_task`` takes them.
        name: The site's name in the roster.
        signed: The sites that it has signed to be in the sum; none where it has signed nothing.

    Raises:
        ProtocolError: If so.
    """
    roster = config.plan.roster
    claim = f"the server publishes the sum of round {published.counter} over sites {published.survivors}"
    summed_with = config.aggregation.summed_with(roster.index(name), len(roster))
    of_own_sum = tuple(site for site in published.survivors if site in summed_with)
    if signed and of_own_sum and signed != of_own_sum:
        raise ProtocolError(
            f"{claim}, and this site has signed {', '.join(roster.names_of(signed))}: leave this round"
        )
    if max(published.survivors, default=0) >= len(roster) or not config.aggregation.sums_all:
        return  # the chain refuses the former; of groups' sums the journal knows no sum of all
    # after a restart the journal alone knows which sum this site has opened
    terms = config.plan.policy(published.counter, bytes(ROUND_BYTES), last.digest)
    try:
        journal.check_cohort(last.digest, cohort_hash(terms, published.survivors))
    except ProtocolError:
        raise ProtocolError(
            f"{claim}, and this site has helped to open that of others: leave this round"
        ) from None


def check_cohort_change(
    cohort: frozenset[int], earlier: Iterable[frozenset[int]], plan: TrainingPlan
) -> None:
    """Refuse a sum whose sites differ too little from those of an earlier one.

    Args:
        cohort: The sites of the sum, by the roster's indices.
        earlier: Those of the sums that this site has helped to open.
        plan: Says by how many sites two sums differ at least.

    Raises:
        ProtocolError: If so.
    """
    least = plan.config.min_cohort_change
    for other in earlier:
        if 0 < len(cohort ^ other) < least:
            names = ", ".join(plan.roster.names_of(tuple(sorted(cohort ^ other))))
            raise ProtocolError(
                f"the server would open a sum that differs from an earlier one by {names}; expected the "
                f"same sites, or at least {least} others, since two such sums subtract: leave this round"
            )
