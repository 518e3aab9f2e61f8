"""Train one model over several sites, and compare it with each site alone and with all data in one place."""

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
    Partition,
    RoundReport,
    SecureSumResult,
    SitePrivacy,
    Strategy,
    partition,
    robust_aggregation,
    simulate,
)
from quintain.federated.engine import Engine, local_engine
from quintain.federated.fixed_groups import MIN_GROUP_SIZE, groups_of
from quintain.federated.local import trainable
from quintain.federated.privacy import FederationPrivacy
from quintain.federated.secagg.policy import default_threshold
from quintain.federated.secagg.weights import capped_weights
from quintain.federated.transport import DropoutStage
from quintain.federated.trial import try_training
from quintain.models.classifier import Classifier
from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import FederateResult, RoundResult, SiteResult
from quintain.results.records import Claim
from quintain.training import fit

ROUNDS_FILE = "rounds.json"
"""The results of the finished rounds of an unfinished run."""

NO_DROPOUT = (
    "no dropout was simulated: with {sites} sites, one of which may collude with the server, the secure sum "
    "needs all of them"
)


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
    """Split the data over sites, train one model over them, and compare it with training alone and pooled.

    Unless ``dropout_rates`` are given, one site drops out in the middle round, if the threshold of the secure
    sum allows it.

    The sites' numbers of examples are their weights in the average. A weight is capped where a site would
    otherwise stand out in a sum more than one of two equal sites; a note says where. Weights are public, as
    the record shows. The server's view of each round is attacked, and what the difference of two consecutive
    sums reveals of a site is measured and noted.

    The models of each site alone, and the model on the pooled data, are trained for as many local epochs as a
    site has in all rounds together; they are trained without privacy, also if ``privacy`` is given.

    Args:
        net: Fresh net; trained in place.
        data: All training examples.
        test: Examples for the accuracies.
        sites: Number of sites.
        site_name: Sites are called ``hospital-1`` and so on.
        rounds, epochs: Number of rounds, and of local epochs a round; by default 12 of one, or with
            ``privacy`` 6 of two, in which DP-SGD takes epochs of its own.
        secure: Name of the aggregation; the first default if not given.
        robust: Name of the robust average over sums of groups, in which weights are equal; none if not given.
        privacy: DP-SGD at each site, or noise on the sums; none if not given. Where sites share the noise, it
            is made for the dropouts that are simulated.
        primary: Whether requirements that name no model are about the federated one.
        strategy: Name of the strategy; ``fedavgm`` if not given, and ``fedavg`` with ``privacy`` or
            ``robust``.
        dropout_rates: How many sites fall silent in each round.
        engine: Carries the messages between server and sites.
        seed: Seed of the split and of local training.
        folder: Run folder for the weights.
        unfinished: Folder of finished trainings and rounds, from which a run that was killed resumes.
        progress: Shows bars.
        log: Called with a line after each round: who is in the sum, accuracy, seconds.

    Raises:
        SettingError: If noise does not go with the aggregation or the number of sites, or too many sites fall
            silent, or the fraction that drops out is less than one site.
        UnknownNameError: If no aggregation or strategy has this name.
        RunFolderError: If ``unfinished`` holds another run.
        KeyboardInterrupt: After Ctrl-C or SIGTERM in a round, with the number of rounds that are kept.
    """
    rounds, epochs = rounds_and_epochs(rounds, epochs, is_private=privacy is not None)
    aggregation: Aggregation = choose("aggregation", secure).build()
    if robust:
        aggregation = robust_aggregation(robust, aggregation, sites)
    strategy = strategy or default_strategy(is_private=privacy is not None, robust=robust)
    chosen_strategy: Strategy = choose("strategy", strategy).build()
    require_copyable(net)
    # the median of three groups allows no dropout
    can_drop_one = default_threshold(sites) < sites and (not robust or sites >= 4 * MIN_GROUP_SIZE)
    if dropout_rates is not None:
        _check_dropouts(dropout_rates, sites, rounds, is_grouped=bool(robust))
    if isinstance(privacy, ClientNoise):
        max_dropped = dropout_rates.num_silent(sites) if dropout_rates else int(can_drop_one)
        privacy = replace(privacy, max_dropped=max_dropped)
        _check_noise(privacy, net, sites, aggregation)
    config = FederatedConfig(
        rounds,
        replace(local_recipe(chosen_strategy), epochs=epochs),
        max_corrupt=MAX_CORRUPT,
        strategy=chosen_strategy,
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
    _check_can_train(net, config, parts.sites)
    baseline_recipe = replace(config.local_recipe, epochs=rounds * epochs)

    def count_correct(module: nn.Module) -> ClassCounts:
        """Return how many test examples of each class a net classifies correctly."""
        return clean_counts(Classifier(module, num_classes=test.num_classes), test)

    def train_baseline(examples: Dataset, label: str) -> ClassCounts:
        """Train a copy of the net on some examples, without the other sites, and test it."""
        baseline = copy.deepcopy(net)
        fit(
            baseline,
            examples,
            baseline_recipe,
            seed=derive_seed(seed, label),
            checkpoint=unfinished and unfinished / f"{label}.safetensors",
            progress=progress,
            progress_label=label,
        )
        return count_correct(baseline)

    alone = {name: train_baseline(part, f"{name} alone") for name, part in parts.sites.items()}
    pooled = train_baseline(data, "pooled")
    results: dict[int, RoundResult] = {one.round: one for one in _load_rounds(unfinished)}

    round_ends = [time.monotonic()]

    def on_round(round_report: RoundReport, _sum: SecureSumResult | None) -> None:
        result = _to_result(round_report, count_correct(net.eval()))
        results[result.round] = result
        if unfinished is not None:
            write_atomically(unfinished / ROUNDS_FILE, ROUNDS.dump_json(list(results.values())))
        round_ends.append(time.monotonic())
        log(round_line(result, config.rounds, round_report.abort_reason, round_ends[-1] - round_ends[-2]))

    sizes = {name: len(part) for name, part in parts.sites.items()}
    weights = (
        dict.fromkeys(sizes, 1)
        if robust
        else capped_weights(sizes, config.terms(sites)[1], config.max_corrupt)
    )
    config = replace(config, weights=weights)
    try:
        run = simulate(
            parts.sites,
            net,
            config,
            seed=derive_seed(seed, "federate"),
            aggregation=aggregation,
            folder=unfinished,
            dropouts=_dropouts(list(parts.sites), rounds, dropout_rates, can_drop_one, aggregation, seed),
            engine=engine,
            progress=progress,
            on_round=on_round,
        )
    except KeyboardInterrupt:
        kept = f"{len(results)} of {rounds} rounds of federated training" if unfinished and results else ""
        raise KeyboardInterrupt(kept) from None
    subject = save_model(net, folder, "federated", "federated model", classes=test.num_classes)
    spent = run.privacy
    personal = {name: count_correct(model) for name, model in run.personal_models.items()}
    result = FederateResult(
        model=subject.file,
        sites=_site_results(parts, alone, personal, spent),
        rounds=tuple(results[round_report.index + 1] for round_report in run.rounds),
        centralized_counts=pooled,
        protocol=aggregation.protocol(run.num_sites, run.threshold),
        server_saw_updates=not aggregation.hides_updates,
        aggregation=aggregation.name,
        guarantee=aggregation.guarantee,
        privacy=None if spent is None else privacy_record(spent),
        strategy=chosen_strategy.name,
    )
    notes = (
        *unseen_class_notes(data, test),
        *run_notes(run, aggregation),
        *personal_notes(chosen_strategy, personal),
        *weight_notes(run, config, weights, weights if robust else sizes),
        *(() if can_drop_one or dropout_rates is not None else (NO_DROPOUT.format(sites=sites),)),
    )
    claims: tuple[Claim, ...] = (
        clean_accuracy_claim(subject, test, primary=primary),
        *(() if spent is None else (privacy_claim(subject.name, config, spent, data, unfinished),)),
    )
    return StepOutput(result, claims, notes, reproducible=spent is None)


def _check_dropouts(rates: DropoutRates, sites: int, rounds: int, *, is_grouped: bool) -> None:
    """Raise if more sites fall silent than a round allows."""
    group_sizes = [len(group) for group in groups_of(sites)] if is_grouped else ()
    check_dropout_rates(rates, sites, FederatedConfig(rounds, LOCAL_RECIPE).terms(sites)[1], group_sizes)


def _check_noise(noise: ClientNoise, net: nn.Module, sites: int, aggregation: Aggregation) -> None:
    """Raise if noise on the sums does not go with the aggregation, the net or the number of sites."""
    noise.check_aggregation(aggregation)
    noise.on_sums(sum(one.numel() for _, one in trainable(net)), sites, MAX_CORRUPT)


def _check_can_train(net: nn.Module, config: FederatedConfig, sites: Mapping[str, Dataset]) -> None:
    """Raise if the net cannot be trained, or if no noise reaches the epsilon at some site."""
    if config.site_privacy is not None:
        for data in sites.values():
            config.site_privacy.plan(len(data), config.rounds)
    try_training(net, config, next(iter(sites.values())))


def _dropouts(
    names: list[str],
    rounds: int,
    dropout_rates: DropoutRates | None,
    can_drop_one: bool,
    aggregation: Aggregation,
    seed: int,
) -> Dropouts:
    """Return who falls silent when: by the given rates, or one site in the middle round if allowed."""
    if dropout_rates is not None:
        return planned_dropouts(names, rounds, dropout_rates, aggregation.replies, seed)
    return {rounds // 2: {names[len(names) // 2]: DropoutStage.MASKED}} if can_drop_one else {}


def _site_results(
    parts: Partition,
    alone: Mapping[str, ClassCounts],
    personal: Mapping[str, ClassCounts],
    spent: FederationPrivacy | None,
) -> tuple[SiteResult, ...]:
    """Return the record of each site: its data, its model alone, its personal model and its epsilon."""
    class_counts = parts.class_counts()
    return tuple(
        SiteResult(
            name,
            class_counts[name],
            alone[name],
            epsilon=spent.epsilon_by_site.get(name) if spent else None,
            personal_counts=personal.get(name),
        )
        for name in parts.sites
    )


ROUNDS = TypeAdapter(list[RoundResult])


def _load_rounds(unfinished: Path | None) -> list[RoundResult]:
    """Return the results of finished rounds; those of rounds that are run again will be replaced."""
    path = unfinished and unfinished / ROUNDS_FILE
    return ROUNDS.validate_json(read_bytes(path)) if path and path.exists() else []


def _to_result(report: RoundReport, counts: ClassCounts) -> RoundResult:
    return RoundResult(
        round=report.index + 1,
        global_counts=counts,
        survivors=report.survivors,
        dropped=report.dropped,
        sum_exact=report.simulated.exact,
        masked_vectors=report.masked_vectors,
        bytes_uploaded=max(report.bytes_uploaded.values(), default=0),
        seconds=report.seconds,
    )
