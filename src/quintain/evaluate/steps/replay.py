"""Run another model on the adversarial examples that an attack has stored."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.goal import Goal
from quintain.core.errors import RunFolderError
from quintain.core.progress import Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import clean_accuracy_claim, robustness_claims
from quintain.evaluate.evasion.adversarial import AdversarialExamples, StoredAdversarial
from quintain.evaluate.left_out import predict_left_out, with_left_out
from quintain.evaluate.model import EvaluatedModel, per_example, predictions
from quintain.evaluate.step import StepOutput
from quintain.models.devices import search_device
from quintain.models.precision import in_full_precision
from quintain.results.class_counts import ClassCounts
from quintain.results.literals import REPLAY_OF, UNCHANGED
from quintain.results.robustness_records import (
    AttackedModel,
    AttackRow,
    BreakLog,
    ReplayResult,
    ReplayRow,
)
from quintain.threats import parse
from quintain.threats.parametric import ParametricThreat, is_allowed, to_image
from quintain.threats.sizes import common_threat_type
from quintain.threats.threat import Threat

BATCH_SIZE = 256


@dataclass(slots=True)
class _Replay:
    """What the stored adversarial examples of A attacks do to each of N examples of the data.

    Args:
        radius: Size of the smallest stored change of each attack that breaks the example (A, N); infinite
            where none does.
        invalid: Whether an output was NaN (N,).
        is_stored: Whether an adversarial example of it is stored (N,).
        num_stored, num_correct, num_broken: By the indices of attack and threat: how many are stored, how
            many of them are of an example that the model classifies correctly, and how many of these break.
    """

    radius: np.ndarray
    invalid: np.ndarray
    is_stored: np.ndarray
    num_stored: Counter[tuple[int, int]] = field(default_factory=Counter)
    num_correct: Counter[tuple[int, int]] = field(default_factory=Counter)
    num_broken: Counter[tuple[int, int]] = field(default_factory=Counter)


@in_full_precision
def run_replay(
    subject: EvaluatedModel,
    data: Dataset,
    stored: StoredAdversarial,
    *,
    source: Path,
    sampled: Dataset | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Run another model on stored adversarial examples, and bound its robust accuracy from above.

    Each stored example is first checked to be inside its threat, in float64 and without tolerance. It breaks
    the model if the model misclassifies it in two passes, as an attack requires too; examples that the model
    misclassifies without any change count as broken anyway. No attack is run, so that an attack on this very
    model may leave less.

    Args:
        subject: The model.
        data: The examples that were attacked, in their order.
        stored: The adversarial examples that an attack has stored.
        source: The run folder that they come from.
        sampled: All examples, those of the class among them that the attack aimed at and left out: the claims
            are about them. ``data`` if not given.
        progress: Shows a bar of stored examples.

    Raises:
        RunFolderError: If the data are not those that were attacked, or a stored example lies outside its
            threat.
    """
    origin = stored.source
    _require_same_data(stored, data, source)
    threats = [threat for spec in origin.threats if isinstance(threat := parse(spec), Threat)]
    predicted = predictions(subject.model, data)
    everything = data if sampled is None else sampled
    left_out = predict_left_out(subject, everything, origin.target_class)
    correct = predicted == data.labels
    replay = _replay(subject, data, stored, threats, correct, predicted < 0, progress)
    smallest = np.where(correct, replay.radius.min(0, initial=math.inf), 0.0)
    attacked = AttackedModel(
        model=subject.name,
        title=subject.file.title,
        rows=tuple(_attack_rows(replay, stored, threats, data, correct)),
        examples=per_example(data, predicted, np.zeros(len(data)), smallest, replay.invalid),
        threat_type=common_threat_type(threats),
        break_log=BreakLog(found_by=tuple(_best_attacks(replay, origin.attacks, correct))),
        target_class=origin.target_class,
    )
    judged = replay.is_stored & correct & ~replay.invalid
    result = ReplayResult(
        source=source.as_posix(),
        source_title=origin.model_title,
        source_model_hash=origin.model_hash,
        rows=tuple(
            ReplayRow(
                attack=name,
                threat=threat.spec,
                num_stored=replay.num_stored[key],
                num_correct=replay.num_correct[key],
                num_broken=replay.num_broken[key],
            )
            for threat_index, threat in enumerate(threats)
            for attack_index, name in enumerate(origin.attacks)
            if replay.num_stored[key := (attack_index, threat_index)]
        ),
        attacked=attacked,
        broken_ids=tuple(np.flatnonzero(judged & np.isfinite(smallest)).tolist()),
        unbroken_ids=tuple(np.flatnonzero(judged & np.isinf(smallest)).tolist()),
    )
    known = with_left_out(attacked.examples, everything, origin.target_class, left_out)
    _, claims = robustness_claims(
        subject, everything, threats, attacked=replace(attacked, examples=known), primary=True
    )
    clean = clean_accuracy_claim(subject, everything, predicted=np.array(known.predicted), primary=True)
    return StepOutput(result, (clean, *claims), tuple(_notes(result, stored, subject, data)))


def _require_same_data(stored: StoredAdversarial, data: Dataset, source: Path) -> None:
    """Raise if the data are not those that were attacked."""
    if data.hash != stored.source.data_hash:
        raise RunFolderError(
            f"{source} is of data with the hash {stored.source.data_hash[:12]}, and {data.name} has "
            f"{data.hash[:12]}: give the data that were attacked, with --data"
        )
    ids, labels = stored.columns["ids"].numpy(), stored.columns["labels"].numpy()
    if stored.shape != data.shape or (ids >= len(data)).any() or (data.labels[ids] != labels).any():
        raise RunFolderError(
            f"{source} holds adversarial examples that do not fit its data; run the attack again"
        )


def _replay(
    subject: EvaluatedModel,
    data: Dataset,
    stored: StoredAdversarial,
    threats: Sequence[Threat],
    correct: np.ndarray,
    invalid: np.ndarray,
    progress: Progress,
) -> _Replay:
    """Run the model on every stored example, a batch at a time."""
    replay = _Replay(
        radius=np.full((len(stored.source.attacks), len(data)), math.inf),
        invalid=invalid.copy(),
        is_stored=np.zeros(len(data), bool),
    )
    with progress.bar(f"replay on {subject.name}", len(stored)) as advance:
        for batch in stored.batches(BATCH_SIZE):
            for index, threat in enumerate(threats):
                rows = (batch.threat == index).nonzero().squeeze(1)
                if len(rows):
                    _add(replay, subject, data, batch, rows, threat, stored.source.target_class, correct)
            advance(len(batch.ids))
    return replay


def _add(
    replay: _Replay,
    subject: EvaluatedModel,
    data: Dataset,
    batch: AdversarialExamples,
    rows: Tensor,
    threat: Threat,
    target_class: int | None,
    correct: np.ndarray,
) -> None:
    """Add the stored examples of one threat in a batch.

    Raises:
        RunFolderError: If one lies outside its threat.
    """
    device = search_device(subject.model.device)
    ids, attacks = batch.ids[rows].numpy(), batch.attack[rows].numpy()
    x, y = (tensor.to(device) for tensor in data.batch(ids))
    z = (batch.params if isinstance(threat, ParametricThreat) else batch.x_adv)[rows].to(device)
    allowed = is_allowed(threat, z, x)
    if not allowed.all():
        raise RunFolderError(
            f"{int((~allowed).sum())} stored examples lie outside {threat.spec}, such as that of example "
            f"{int(ids[int((~allowed).nonzero()[0])])}; run the attack again"
        )
    targets = None if target_class is None else torch.full_like(y, target_class)
    goal, image, all_rows = Goal(y, targets), to_image(threat, z, x), torch.arange(len(y), device=device)
    # A break must be confirmed by a second pass, as in an attack.
    outputs = [subject.model(image) for _ in range(2)]
    adversarial = torch.stack([goal.is_adversarial(logits.to(device), all_rows) for logits in outputs]).all(0)
    is_nan = torch.stack([logits.isnan().any(1) for logits in outputs]).any(0)
    size, broken = threat.measure(z, x).cpu().numpy(), adversarial.cpu().numpy() & correct[ids]
    replay.is_stored[ids] = True
    replay.invalid[ids] |= is_nan.cpu().numpy()
    # unbuffered, since an example may be stored several times
    np.minimum.at(replay.radius, (attacks[broken], ids[broken]), size[broken])
    threat_indices = batch.threat[rows].numpy()
    for counter, counted in (
        (replay.num_stored, slice(None)),
        (replay.num_correct, correct[ids]),
        (replay.num_broken, broken),
    ):
        counter.update(zip(attacks[counted].tolist(), threat_indices[counted].tolist(), strict=True))


def _attack_rows(
    replay: _Replay, stored: StoredAdversarial, threats: Sequence[Threat], data: Dataset, correct: np.ndarray
) -> Iterator[AttackRow]:
    """Yield the accuracy that the stored examples of each attack leave at each size."""
    # two passes for each stored example, as a mean over all examples and attacks
    queries = 2 * len(stored) / len(data) / len(stored.source.attacks)
    for threat in threats:
        for name, radius in zip(stored.source.attacks, replay.radius, strict=True):
            broken = correct & (radius <= threat.eps) & ~replay.invalid
            unbroken = (correct & ~broken) | replay.invalid
            yield AttackRow(
                attack=f"{REPLAY_OF}{name}",
                threat=threat.spec,
                unbroken_counts=ClassCounts.of(unbroken, data.labels, data.num_classes),
                forwards=queries,
                backwards=0.0,
                seconds=0.0,
                eps=threat.eps,
                num_broken=int(broken.sum()),
            )


def _best_attacks(replay: _Replay, attacks: Sequence[str], correct: np.ndarray) -> Iterator[str]:
    """Yield for each example the attack whose stored change is the smallest that breaks it; empty if none."""
    for is_correct, invalid, radius in zip(correct, replay.invalid, replay.radius.T, strict=True):
        if not is_correct:
            yield "" if invalid else UNCHANGED
        else:
            yield attacks[int(radius.argmin())] if np.isfinite(radius).any() else ""


def _notes(
    result: ReplayResult, stored: StoredAdversarial, subject: EvaluatedModel, data: Dataset
) -> Iterator[str]:
    """Yield the notes on what the result does and does not show."""
    yield (
        f"{len(stored)} adversarial examples that were made on another model were run on this one, and "
        "nothing was attacked anew: quintain attack on this very model may leave less"
        if stored.source.model_hash != subject.file.model_hash
        else f"{len(stored)} adversarial examples were run on the very model that they were made on"
    )
    if stored.source.model_hash == subject.file.model_hash and result.unbroken_ids:
        yield (
            f"{len(result.unbroken_ids)} examples broke this very model when they were stored and do not "
            "now: its outputs differ from call to call, or from machine to machine"
        )
    if stored.source.target_class is not None:
        yield (
            f"Targeted attack: only the prediction {data.class_names[stored.source.target_class]} counts as "
            "a break."
        )
