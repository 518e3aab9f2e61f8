"""What is said of a federated training in words: a line a round, and notes for the reader of its record."""

from collections.abc import Mapping

from quintain.federated import Aggregation, FederatedConfig, FederatedRun, SecureSum, Strategy
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import RoundResult


def personal_notes(strategy: Strategy, personal: Mapping[str, ClassCounts]) -> tuple[str, ...]:
    """Say what the common model is where a part of it stays at the sites, and how good their own are."""
    if not personal:
        return ()
    accuracies = ", ".join(f"{name} {one.accuracy:.1%}" for name, one in personal.items())
    return (
        f"{strategy.name}: {strategy.summary}; the common model here has the average of what stayed at the "
        f"sites, which no server can make; the sites' own models: {accuracies}",
    )


def run_notes(done: FederatedRun, aggregation: Aggregation) -> tuple[str, ...]:
    """Return what the reader must know of the sums and of single rounds."""
    notes: tuple[str, ...] = ()
    if aggregation.name != SecureSum.name:
        notes += (f"{aggregation.name}: {aggregation.guarantee}",)
    if done.privacy is not None:
        notes += (*done.privacy.notes, *done.privacy.guarantee.warnings)
        notes += (
            "the models of each site alone and of all data in one place were trained without privacy: their "
            "accuracies are for the data's owners",
        )
    notes += tuple(
        f"round {facts.index + 1} was abandoned: {facts.abort_reason}"
        for facts in done.rounds
        if facts.abort_reason
    )
    notes += tuple(
        f"{name} is proven to have cheated in round {facts.index + 1} and is left out of all rounds after it"
        for facts in done.rounds
        for name in facts.accused
    )
    notes += tuple(
        f"{name} left round {facts.index + 1}: {why}"
        for facts in done.rounds
        for name, why in facts.simulated.left.items()
    )
    notes += tuple(
        f"{name} is in the sum of round {facts.index + 1} or in the last one before it, and not in both: "
        f"their difference comes to a cosine of {near:.2f} to its update; secure sums do not hide that, "
        "differential privacy does"
        for facts in done.rounds
        for name, near in facts.simulated.exposed.items()
    )
    return notes


def weight_notes(
    done: FederatedRun, plan: FederatedConfig, weights: Mapping[str, int], sizes: Mapping[str, int]
) -> tuple[str, ...]:
    """Return what the weights make of a site's part in a sum, and where they were cut."""
    notes: tuple[str, ...] = (
        f"a site has at most {done.largest_fraction:.0%} of a sum's weight, "
        f"in the smallest sum less what {plan.max_corrupt} of its sites may take off it",
    )
    cut = ", ".join(
        f"{name} weighs {weight} and not {sizes[name]}"
        for name, weight in weights.items()
        if weight < sizes[name]
    )
    if cut:
        notes += (
            "weights are numbers of examples, cut where a sum would come near to one site's own update: "
            f"{cut}",
        )
    return notes


def round_line(one: RoundResult, rounds: int, abort_reason: str, seconds: float) -> str:
    """Say in a line what came of a round."""
    if abort_reason:
        return f"round {one.round} of {rounds} ({seconds:.1f} s): abandoned, {abort_reason}"
    without = f" without {', '.join(one.dropped)}" if one.dropped else ""
    accuracy = sum(one.global_counts.correct) / sum(one.global_counts.total)
    return (
        f"round {one.round} of {rounds} ({seconds:.1f} s): sum of {len(one.survivors)} sites{without}, "
        f"accuracy {accuracy:.1%}"
    )
