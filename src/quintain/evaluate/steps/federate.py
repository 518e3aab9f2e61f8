"""Train over several sites, beside each site alone and beside all data in one place."""

import copy
import time
from collections.abc import Callable, Mapping
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
from quintain.evaluate.dropouts import DropoutRates, Dropouts, check_dropout_rates, planned_dropouts
from quintain.evaluate.federation_defaults import (
    ALPHA,
    LOCAL_RECIPE,
    MAX_CORRUPT,
    default_strategy,
    each_has_every_class,
    local_recipe,
    rounds_and_epochs,
)
from quintain.evaluate.federation_notes import personal_notes, round_line, run_notes, weight_notes
from quintain.evaluate.federation_privacy import privacy_claim, privacy_record
from quintain.evaluate.model import clean_counts, save_model
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import require_copyable, unseen_class_notes
from quintain.federated import (
    Aggregation,
    ClientNoise,
    FederatedConfig,
    SecureSumResult,
    SitePrivacy,
    Strategy,
    partition,
    robust_aggregation,
    simulate,
)
from quintain.federated import RoundReport as Facts
from quintain.federated.engine import Engine, local_engine
from quintain.federated.fixed_groups import MIN_GROUP_SIZE, groups_of
from quintain.federated.local import trainable
from quintain.federated.secagg.policy import default_threshold
from quintain.federated.secagg.weights import capped_weights
from quintain.federated.transport import DropoutStage
from quintain.federated.trial import try_training
from quintain.models.classifier import Classifier
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import FederateResult, RoundResult, SiteResult
from quintain.results.records import Claim
from quintain.training import Recipe, fit

ROUNDS_FILE = "rounds.json"
"""The results of the finished rounds of an unfinished run."""


def run_federate(
    net: nn.Module,
    data: Dataset,
    test: Dataset,
    *,
    sites: int = 5,
    site_name: str = "hospital",
    rounds: int | None = None,
    epochs: int | None = None,
    secure: str = "",
    robust: str = "",
    privacy: SitePrivacy | ClientNoise | None = None,
    primary: bool = False,
    strategy: str = "",
    dropout_rates: DropoutRates | None = None,
    engine: Engine = local_engine,
    seed: int = 0,
    folder: Path,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
    log: Callable[[str], None] = lambda _line: None,
) -> StepOutput:
    """Split the data over sites, train by secure aggregation, and compare.

    Unless ``dropout_rates`` are given, one site drops out in the middle round, where the threshold leaves
    room.

    The sites' numbers of examples are their weights in the average, up to the largest weight by which no site
    stands out in a sum more than one of two equals; a note says where it cuts. They are public, as the record
    shows them. The server's view of each round is attacked, and what the difference of two neighboring sums
    tells of a site is measured and noted.

    Each site alone, and the model on all data in one place, gets as many local epochs as a site has in all
    rounds together; they are trained without privacy, also where ``privacy`` is given.

    Args:
        net: Fresh; trained in place.
        data: All training examples.
        test: Examples for the accuracies.
        sites: How many.
        rounds, epochs: How many rounds, and local epochs a round; by default 12 of one, or with ``privacy`` 6
            of two, in which DP-SGD takes epochs of its own.
        site_name: Sites are called ``hospital-1`` and so on.
        secure: Name of the aggregation; the first default if not given.
        robust: The robust average over sums of groups, which takes equal weights; none if not given.
        privacy: DP-SGD at each site, or noise on the sums; none if not given. Where sites share the noise, it
            is made for the dropouts that are simulated.
        primary: Whether requirements that name no model mean the common one.
        strategy: Name of the strategy; ``fedavgm`` if not given, and ``fedavg`` with ``privacy`` or
            ``robust``.
        dropout_rates: How many sites fall silent in each round.
        engine: What carries the messages between server and sites.
        seed: Of split and local training.
        folder: Run folder for the weights.
        unfinished: Where the finished trainings and rounds are kept; a run that was killed goes on there.
        progress: Shows bars.
        log: Called with a line after each round: who is in the sum, accuracy, seconds.

    Raises:
        SettingError: If noise does not go with the aggregation or the number of sites, or too many sites fall
            silent, or a part of them that is less than one.
        UnknownNameError: If no aggregation or strategy has this name.
        RunFolderError: If ``unfinished`` holds another run.
        KeyboardInterrupt: After Ctrl-C or SIGTERM in a round, with the number of those that are kept.
    """
    rounds, epochs = rounds_and_epochs(rounds, epochs, is_private=privacy is not None)
    aggregation: Aggregation = choose("aggregation", secure).build()
    if robust:
        aggregation = robust_aggregation(robust, aggregation, sites)
    strategy = strategy or default_strategy(is_private=privacy is not None, robust=robust)
    together: Strategy = choose("strategy", strategy).build()
    require_copyable(net)
    # of three groups a median stands no dropout
    spare = default_threshold(sites) < sites and (not robust or sites >= 4 * MIN_GROUP_SIZE)
    if dropout_rates is not None:
        group_sizes = [len(group) for group in groups_of(sites)] if robust else ()
        check_dropout_rates(
            dropout_rates, sites, FederatedConfig(rounds, LOCAL_RECIPE).terms(sites)[1], group_sizes
        )
    if isinstance(privacy, ClientNoise):
        privacy = replace(
            privacy, max_dropped=dropout_rates.num_silent(sites) if dropout_rates else int(spare)
        )
        privacy.check_aggregation(aggregation)
        privacy.on_sums(sum(one.numel() for _, one in trainable(net)), sites, MAX_CORRUPT)
    plan = FederatedConfig(
        rounds,
        replace(local_recipe(together), epochs=epochs),
        max_corrupt=MAX_CORRUPT,
        strategy=together,
        site_privacy=privacy if isinstance(privacy, SitePrivacy) else None,
        client_noise=privacy if isinstance(privacy, ClientNoise) else None,
    )
    parts = partition(
        data,
        sites,
        alpha=ALPHA,
        seed=derive_seed(seed, "split"),
        min_per_class=5 if each_has_every_class(data, sites) else 0,
        prefix=site_name,
    )
    _check_can_train(net, plan, parts.sites)
    as_long = replace(plan.local_recipe, epochs=rounds * epochs)

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
    found: dict[int, RoundResult] = {one.round: one for one in _kept_rounds(unfinished)}

    clock = [time.monotonic()]

    def on_round(facts: Facts, _sum: SecureSumResult | None) -> None:
        one = _round(facts, clean_counts(Classifier(net.eval(), num_classes=test.num_classes), test))
        found[one.round] = one
        if unfinished is not None:
            write_atomically(unfinished / ROUNDS_FILE, ROUNDS.dump_json(list(found.values())))
        clock.append(time.monotonic())
        log(round_line(one, plan.rounds, facts.abort_reason, clock[-1] - clock[-2]))

    sizes = {name: len(part) for name, part in parts.sites.items()}
    weights = (
        dict.fromkeys(sizes, 1) if robust else capped_weights(sizes, plan.terms(sites)[1], plan.max_corrupt)
    )
    plan = replace(plan, weights=weights)
    try:
        done = simulate(
            parts.sites,
            net,
            plan,
            seed=derive_seed(seed, "federate"),
            aggregation=aggregation,
            folder=unfinished,
            dropouts=_dropouts(list(parts.sites), rounds, dropout_rates, spare, aggregation, seed),
            engine=engine,
            progress=progress,
            on_round=on_round,
        )
    except KeyboardInterrupt:
        kept = f"{len(found)} of {rounds} rounds of federated training" if unfinished and found else ""
        raise KeyboardInterrupt(kept) from None
    subject = save_model(net, folder, "federated", "federated model", classes=test.num_classes)
    counts, spent = parts.class_counts(), done.privacy
    personal = {
        name: clean_counts(Classifier(model, num_classes=test.num_classes), test)
        for name, model in done.personal_models.items()
    }
    result = FederateResult(
        model=subject.file,
        sites=tuple(
            SiteResult(
                name,
                counts[name],
                alone[name],
                epsilon=spent.epsilon_by_site.get(name) if spent else None,
                personal_counts=personal.get(name),
            )
            for name in parts.sites
        ),
        rounds=tuple(found[facts.index + 1] for facts in done.rounds),
        centralized_counts=pooled,
        protocol=aggregation.protocol(done.num_sites, done.threshold),
        server_saw_updates=not aggregation.hides_updates,
        aggregation=aggregation.name,
        guarantee=aggregation.guarantee,
        privacy=None if spent is None else privacy_record(spent),
        strategy=together.name,
    )
    notes = (
        *unseen_class_notes(data, test),
        *run_notes(done, aggregation),
        *personal_notes(together, personal),
        *weight_notes(done, plan, weights, weights if robust else sizes),
    )
    if not spare and dropout_rates is None:
        notes += (
            f"no dropout was simulated: with {sites} sites, one of which may collude with the server, the "
            "secure sum needs all of them",
        )
    claims: tuple[Claim, ...] = (
        clean_accuracy_claim(subject, test, primary=primary),
        *(() if spent is None else (privacy_claim(subject.name, plan, spent, data, unfinished),)),
    )
    return StepOutput(result, claims, notes, reproducible=spent is None)


def _check_can_train(net: nn.Module, plan: FederatedConfig, sites: Mapping[str, Dataset]) -> None:
    """Refuse a net that no site can train, and an epsilon that no noise reaches at some site."""
    if plan.site_privacy is not None:
        for data in sites.values():
            plan.site_privacy.plan(len(data), plan.rounds)
    try_training(net, plan, next(iter(sites.values())))


def _dropouts(
    names: list[str],
    rounds: int,
    dropout_rates: DropoutRates | None,
    spare: bool,
    aggregation: Aggregation,
    seed: int,
) -> Dropouts:
    """Return who falls silent when: as asked, or one site in the middle round if there is one to spare."""
    if dropout_rates is not None:
        return planned_dropouts(names, rounds, dropout_rates, aggregation.replies, seed)
    return {rounds // 2: {names[len(names) // 2]: DropoutStage.MASKED}} if spare else {}


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
