"""Train over several sites, beside each site alone and beside all data in one place."""

import copy
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter
from torch import nn

from quintain.core.files import read_bytes, write_atomically
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import choose
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim
from quintain.evaluate.model import clean_counts, save_model
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import require_copyable, unseen_class_notes
from quintain.federated import FederatedConfig, SecureSumResult, partition, simulate
from quintain.federated import RoundReport as Facts
from quintain.federated.secagg.policy import default_threshold
from quintain.federated.secagg.weights import capped_weights
from quintain.models.classifier import Classifier
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import FederateResult, RoundResult, SiteResult
from quintain.training import Recipe, fit

ALPHA = 1.0

LOCAL_RECIPE = Recipe(epochs=2, batch_size=32, learning_rate=3e-3, schedule="constant")
"""Of training at a site in one round."""

ROUNDS_FILE = "rounds.json"
"""The results of the finished rounds of an unfinished run."""


def run_federate(
    net: nn.Module,
    data: Dataset,
    test: Dataset,
    *,
    sites: int = 5,
    site_name: str = "hospital",
    min_per_class: int = 5,
    rounds: int = 6,
    epochs: int = LOCAL_RECIPE.epochs,
    secure: str = "",
    seed: int = 0,
    folder: Path,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Split the data over sites, train by secure aggregation, and compare.

    One site drops out in the middle round, where the threshold leaves room for that.

    The sites' numbers of examples are their weights in the average, up to the largest weight by which no site
    stands out in a sum more than one of two equals; a note says where it cuts. They are public, as the record
    shows them. The server's view of each round is attacked, and what the difference of two neighbouring sums
    tells of a site is measured and noted.

    Each site alone, and the model on all data in one place, gets as many local epochs as a site has in all
    rounds together.

    Args:
        net: Fresh; trained in place.
        data: All training examples.
        test: Examples for the accuracies.
        sites, rounds, epochs: How many sites, rounds, and local epochs a round.
        site_name: Sites are called ``hospital-1`` and so on.
        min_per_class: Fewest examples of each class at a site.
        secure: Name of the aggregation; the first default if not given.
        seed: Of split and local training.
        folder: Run folder for the weights.
        unfinished: Where the finished trainings and rounds are kept; a run that was killed goes on there.
        progress: Shows bars.

    Raises:
        UnknownNameError: If no aggregation has this name.
        RunFolderError: If ``unfinished`` holds another run.
        KeyboardInterrupt: After Ctrl-C or SIGTERM in a round, with the number of those that are kept.
    """
    aggregation = choose("aggregation", secure).build()
    require_copyable(net)
    parts = partition(
        data,
        sites,
        alpha=ALPHA,
        seed=derive_seed(seed, "split"),
        min_per_class=min_per_class,
        prefix=site_name,
    )
    local = replace(LOCAL_RECIPE, epochs=epochs)
    as_long = replace(local, epochs=rounds * epochs)

    def reached(recipe: Recipe, examples: Dataset, label: str) -> ClassCounts:
        twin = copy.deepcopy(net)
        fit(
            twin,
            examples,
            recipe,
            seed=derive_seed(seed, label),
            checkpoint=unfinished and unfinished / f"{label}.safetensors",
            progress=progress,
            progress_label=label,
        )
        return clean_counts(Classifier(twin, num_classes=test.num_classes), test)

    alone = {name: reached(as_long, part, f"{name} alone") for name, part in parts.sites.items()}
    pooled = reached(as_long, data, "pooled")
    spare = default_threshold(sites) < sites
    quiet = list(parts.sites)[len(parts.sites) // 2]
    found: dict[int, RoundResult] = {one.round: one for one in _kept_rounds(unfinished)}

    def on_round(facts: Facts, _sum: SecureSumResult | None) -> None:
        one = _round(facts, clean_counts(Classifier(net.eval(), num_classes=test.num_classes), test))
        found[one.round] = one
        if unfinished is not None:
            write_atomically(unfinished / ROUNDS_FILE, ROUNDS.dump_json(list(found.values())))

    sizes = {name: len(part) for name, part in parts.sites.items()}
    plan = FederatedConfig(rounds, local)
    weights = capped_weights(sizes, plan.terms(sites)[1], plan.max_corrupt)
    try:
        done = simulate(
            parts.sites,
            net,
            replace(plan, weights=weights),
            seed=derive_seed(seed, "federate"),
            aggregation=aggregation,
            folder=unfinished,
            dropouts={rounds // 2: (quiet, "masked")} if spare else {},
            progress=progress,
            on_round=on_round,
        )
    except KeyboardInterrupt:
        kept = f"{len(found)} of {rounds} rounds of federated training" if unfinished and found else ""
        raise KeyboardInterrupt(kept) from None
    subject = save_model(net, folder, "federated", "federated model", classes=test.num_classes)
    counts = parts.class_counts()
    result = FederateResult(
        model=subject.file,
        sites=tuple(SiteResult(name, counts[name], alone[name]) for name in parts.sites),
        rounds=tuple(found[facts.index + 1] for facts in done.rounds),
        centralized_counts=pooled,
        protocol=aggregation.protocol(done.num_sites, done.threshold),
        server_saw_updates=not aggregation.hides_updates,
    )
    notes = unseen_class_notes(data, test)
    if not aggregation.hides_updates:
        notes += (f"{aggregation.name}: {aggregation.guarantee}",)
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
        f"{name} is in one of the sums of rounds {facts.index} and {facts.index + 1} alone: their difference "
        f"comes to a cosine of {near:.2f} to its update; secure sums do not hide that, differential privacy "
        "does"
        for facts in done.rounds
        for name, near in facts.simulated.exposed.items()
    )
    notes += (
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
    if not spare:
        notes = (
            *notes,
            f"no dropout was simulated: with {sites} sites, one of which may collude with the server, the "
            "secure sum needs all of them",
        )
    return StepOutput(result, (clean_accuracy_claim(subject, test),), notes)


ROUNDS = TypeAdapter(list[RoundResult])


def _kept_rounds(unfinished: Path | None) -> list[RoundResult]:
    """The results of finished rounds; those beyond the kept state are made again."""
    path = unfinished and unfinished / ROUNDS_FILE
    return ROUNDS.validate_json(read_bytes(path)) if path and path.exists() else []


def _round(facts: Facts, reached: ClassCounts) -> RoundResult:
    return RoundResult(
        round=facts.index + 1,
        global_counts=reached,
        survivors=facts.survivors,
        dropped=facts.dropped,
        sum_exact=facts.simulated.exact,
        masked_vectors=facts.masked_vectors,
        bytes_uploaded=max(facts.bytes_uploaded.values(), default=0),
        seconds=facts.seconds,
    )
