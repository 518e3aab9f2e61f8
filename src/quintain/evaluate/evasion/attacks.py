"""Run every attack at every size on a model, and collect the smallest change that broke each example."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from quintain.core.errors import DataError
from quintain.core.progress import CHECKPOINT_SECONDS, Progress, no_progress
from quintain.data.dataset import Dataset
from quintain.evaluate.evasion.adversarial import AdversarialSource, store_adversarial
from quintain.evaluate.evasion.checkpoint import ChunkKey, ChunkStore
from quintain.evaluate.evasion.diagnostics import NUM_PROBED, diagnose, probed_rows
from quintain.evaluate.evasion.job import AttackFn, AttackJob
from quintain.evaluate.evasion.merge import MergedAttacks, attack_rows, break_log, merge_chunks
from quintain.evaluate.evasion.shard import ShardResult, gather_shards, run_shard
from quintain.evaluate.evasion.witnesses import Witness, add_witnesses, witness_chunk
from quintain.evaluate.images import gallery
from quintain.evaluate.model import EvaluatedModel, per_example, predictions
from quintain.evaluate.workers import SINGLE_PROCESS, WorkerGroup
from quintain.models.precision import in_full_precision
from quintain.results.literals import DIAGNOSTICS
from quintain.results.per_example import PerExample
from quintain.results.robustness_records import AttackedModel
from quintain.results.run_layout import ADVERSARIAL_FILE
from quintain.threats.sizes import common_threat_type, sorted_by_size
from quintain.threats.threat import Threat
from quintain.version import __version__

BATCH_SIZE = 512


@in_full_precision
def run_attacks(
    subject: EvaluatedModel,
    data: Dataset,
    threats: Sequence[Threat],
    attacks: Mapping[str, AttackFn],
    *,
    seed: int = 0,
    folder: Path | None = None,
    num_pictures: int = 0,
    batch_size: int = BATCH_SIZE,
    max_queries: int | None = None,
    target_class: int | None = None,
    certified: PerExample | None = None,
    broken_by_transfer: np.ndarray | None = None,
    num_probed: int = NUM_PROBED,
    checkpoint_dir: Path | None = None,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    data_options: Mapping[str, str | int | None] | None = None,
    workers: WorkerGroup = SINGLE_PROCESS,
    progress: Progress = no_progress,
) -> AttackedModel:
    """Run every attack at every size on a model.

    Threats are tried from the smallest eps up; an example broken at one eps counts as broken at every larger
    eps and is not attacked again. Minimum-norm attacks run once, at the largest eps. An example with a NaN
    output is not queried again and counts as unbroken. Each adversarial example is then moved towards the
    original by bisection, so that accuracy can be plotted at every eps. An example that only
    the diagnostics break counts as broken by ``diagnostics`` if the point is inside the threat and is
    misclassified in a second forward pass too.

    Args:
        subject: The model.
        data: Labeled examples.
        threats: Threats of one type.
        attacks: Attacks by name.
        seed: Seed of all random numbers.
        folder: Where pictures go, and with ``checkpoint_dir`` every adversarial example.
        num_pictures: Most broken examples that are stored as pictures.
        batch_size: Examples per batch.
        max_queries: Limit of queries for each example, attack and threat; none if not given. With a limit
            there is no bisection; the diagnostics have a small budget of their own (``PROBE_QUERIES``).
        target_class: The class that the attacks aim at; no example may be of that class.
        certified: Certified radii of these examples, by their ids: they are not attacked at sizes that are
            certified.
        broken_by_transfer: Which examples are broken by points made on another model (N,), if that was tried.
        num_probed: How many examples are probed for the diagnostics.
        checkpoint_dir: A folder for finished chunks, so that the same call resumes after an interruption. A
            batch is then split where it takes long.
        checkpoint_seconds: About how long a chunk lasts, where the model is not much slower in such small
            batches.
        data_options: How the data were named, which is stored beside the adversarial examples.
        workers: The processes that share the work; each has the result in the end, the first one with
            pictures and diagnostics.
        progress: Shows a bar of examples.

    Raises:
        SettingError: If the threats are of several types, there are none, or an attack cannot do what is
            asked.
        DataError: If an example is of the target class.
        RunFolderError: If ``checkpoint_dir`` holds chunks of a run of other settings.

    Guarantee: a model that fails half way gives the result so far, with the reason in ``stop_reason``;
    examples that were not attacked count as unbroken.
    """
    if target_class is not None and (data.labels == target_class).any():
        raise DataError(
            f"{int((data.labels == target_class).sum())} examples are of the target class {target_class}; "
            "expected none: leave them out"
        )
    sizes, first = tuple(sorted_by_size(threats)), workers.rank == 0
    job = AttackJob(
        threats=sizes,
        attacks=attacks,
        seed=seed,
        batch_size=batch_size,
        max_queries=max_queries,
        target_class=target_class,
        num_pictures=num_pictures,
    )
    job.validate()
    predicted = predictions(subject.model, data, batch_size=batch_size)
    correct, radii = predicted == data.labels, _certified_radii(certified, len(data))
    attackable = correct & ~((radii >= sizes[-1].eps) & (radii > 0))
    job = replace(job, probed=frozenset(probed_rows(attackable, seed, num_probed).tolist()))
    fingerprint = {
        "quintain": __version__,
        "model": subject.file.model_hash,
        "data": data.hash,
        "certified": float(radii.sum()),
        "probed": num_probed,
    }
    store = (
        ChunkStore(checkpoint_dir, {**fingerprint, **job.fingerprint}) if checkpoint_dir is not None else None
    )
    own = run_shard(
        job,
        subject.model,
        data,
        correct,
        radii,
        store=store,
        checkpoint_seconds=checkpoint_seconds,
        workers=workers,
        progress=progress,
        label=f"attack {subject.name}",
    )
    result = gather_shards(workers, own)
    merged = merge_chunks(job, result, correct, predicted < 0)
    whole = first and not result.stop_reason
    diagnostics, witnesses = None, tuple[Witness, ...]()
    if attacks and num_probed and whole:
        diagnostics, witnesses = diagnose(
            job,
            merged,
            subject.model,
            data,
            correct,
            certified=radii,
            broken_by_transfer=broken_by_transfer,
        )
        add_witnesses(merged, witnesses)
    adversarial = None
    if first and folder is not None and store is not None:
        source = AdversarialSource(
            attacks=(*attacks, *([DIAGNOSTICS] if witnesses else [])),
            threats=tuple(threat.spec for threat in sizes),
            model_title=subject.file.title,
            model_hash=subject.file.model_hash,
            data_hash=data.hash,
            target_class=target_class,
            data_options=data_options,
        )
        adversarial = store_adversarial(
            folder,
            ADVERSARIAL_FILE,
            source,
            result.chunks.keys(),
            store,
            data.labels,
            data.shape,
            [(ChunkKey(0, DIAGNOSTICS, sizes[-1].spec), witness_chunk(witnesses))] if witnesses else (),
        )
    return AttackedModel(
        adversarial=adversarial,
        model=subject.name,
        title=subject.file.title,
        rows=attack_rows(job, merged, data, correct),
        examples=per_example(data, predicted, np.zeros(len(data)), merged.radius, merged.invalid),
        threat_type=common_threat_type(sizes),
        gallery=gallery(folder, subject, data, list(merged.images.values())[:num_pictures], sizes[-1])
        if folder and whole
        else (),
        break_log=break_log(merged, radii, sizes[-1]),
        diagnostics=diagnostics,
        target_class=target_class,
        stop_reason=result.stop_reason,
        max_queries=max_queries,
        num_unattacked=int((correct & ~_find_fully_attacked(job, result, merged, len(data))).sum()),
    )


def _find_fully_attacked(
    job: AttackJob, result: ShardResult, merged: MergedAttacks, count: int
) -> np.ndarray:
    """Return which examples (N,) every attack has run on, or had broken before it came to its turn."""
    done = np.zeros(count, bool)
    for number in result.finished_batches:
        done[number * job.batch_size : (number + 1) * job.batch_size] = True
    # Of an unfinished batch: examples that the last attack has run on at its last threat, or broken before.
    if not job.attacks:
        return done
    name = list(job.attacks)[-1]
    last = job.threats_for(job.attacks[name])[-1].spec
    done |= merged.by_attack[name].smallest_broken < len(job.threats)
    for key, chunk in result.chunks.items():
        if (key.attack, key.threat) == (name, last):
            done[chunk.rows] = True
    return done


def _certified_radii(certified: PerExample | None, count: int) -> np.ndarray:
    """Return certified radii by row.

    0 for an example without an entry, or with an invalid output or certificate.
    """
    radii = np.zeros(count)
    if certified is not None:
        for row, radius, invalid in zip(
            certified.ids, certified.certified_radius, certified.invalid, strict=True
        ):
            if row < count and not invalid:
                radii[row] = radius
    return radii
