"""Diagnose attacks: indicators that an attack was weak and not the model strong.

Each has its value and threshold.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.base import access_of
from quintain.attacks.counted_model import CountedModel
from quintain.attacks.gradient.pgd import PGD
from quintain.attacks.outcome import Model
from quintain.core.errors import ExecutionError
from quintain.core.registry import declared_entries
from quintain.core.seeds import derive_seed
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.evasion.decision_probe import decision_based
from quintain.evaluate.evasion.job import AttackJob
from quintain.evaluate.evasion.merge import MergedAttacks
from quintain.evaluate.evasion.probes import ProbeSet, gradient_fails, indicator, probe_indicators
from quintain.evaluate.evasion.query_budget import (
    has_enough_label_queries,
    queries_still_help,
    too_few_queries,
)
from quintain.evaluate.evasion.witnesses import Witness, smallest_witnesses
from quintain.losses.margin import margin
from quintain.models.memory import largest_fitting_part
from quintain.results.robustness_records import AttackDiagnostics, Indicator

NUM_PROBED = 50
"""How many examples are probed."""


def probed_rows(right: np.ndarray, seed: int, count: int = NUM_PROBED) -> np.ndarray:
    """Return the rows that are probed: some of those that are attacked, in rising order.

    Args:
        right: Examples that are classified correctly and not certified (N,) bool.
        seed: Draws them.
        count: How many at most.
    """
    rows = np.flatnonzero(right)
    return np.sort(np.random.default_rng(derive_seed(seed, "probed")).permutation(rows)[:count])


def diagnose(
    job: AttackJob,
    merged: MergedAttacks,
    model: Model,
    data: Dataset,
    correct: np.ndarray,
    *,
    certified: np.ndarray | None = None,
    broken_by_transfer: np.ndarray | None = None,
) -> tuple[AttackDiagnostics, tuple[Witness, ...]]:
    """Return every indicator that can be measured, or why the attacks cannot be judged; and the breaks that
    were found where the attacks found none.

    The probes have a budget of their own beside ``max_queries``: ``PROBE_QUERIES`` for an example, and
    ``WALK_QUERIES`` more for ``NUM_WALKED`` of them where the model gives gradients. A model without
    gradients is not probed where its attacks had too few queries to be judged.

    Args:
        job: What was run.
        merged: What it found.
        model: The model under attack.
        data: All examples.
        correct: Which of them are classified correctly (N,).
        certified: Certified radii (N,); none if not given.
        broken_by_transfer: Which of them are broken by points made on another model (N,), if that was tried.
    """
    rows = np.array(sorted(job.probed), dtype=np.int64)
    rows = rows[~merged.invalid[rows]]
    broken = np.any([one.smallest_broken == 0 for one in merged.by_attack.values()], axis=0)
    unbroken = correct & ~broken & ~merged.invalid
    if certified is not None:
        unbroken &= ~((certified >= job.threats[0].eps) & (certified > 0))
    indicators = [
        *_from_rows(merged, correct, broken_by_transfer),
        *queries_still_help(job, merged, correct, unbroken),
    ]
    if not len(rows):
        return AttackDiagnostics(tuple(indicators), 0, _no_probe_reason(job, correct)), ()
    not_judged = too_few_queries(job, merged, unbroken)
    if not_judged and access_of(getattr(model, "access", "")) != "gradients":
        return AttackDiagnostics(tuple(indicators), 0, not_judged), ()
    probed, witnesses = list[Indicator](), list[Witness]()

    def probe(part: slice) -> int:
        probed.clear()
        witnesses.clear()
        most = NUM_PROBED if part.stop == len(rows) else part.stop
        for found in _from_probes(job, merged, model, data, correct, rows[part], most, witnesses):
            probed.append(found)
        return part.stop

    count = len(rows)
    try:
        with torch.inference_mode(False):
            count = largest_fitting_part(probe, len(rows), work="diagnostics of the attacks")
    except ExecutionError as error:  # a model that has stopped answering leaves what was seen before
        not_judged = f"the model did not answer all probes ({error})"
    return AttackDiagnostics((*indicators, *probed), count, not_judged), smallest_witnesses(witnesses)


def _no_probe_reason(job: AttackJob, correct: np.ndarray) -> str:
    """Say why no example could be probed."""
    if job.probed:
        return "the outputs for all probed examples are NaN"
    reason = "each is certified" if correct.any() else "none is classified correctly"
    return f"no example was attacked, since {reason}"


def _from_probes(
    job: AttackJob,
    merged: MergedAttacks,
    model: Model,
    data: Dataset,
    correct: np.ndarray,
    rows: np.ndarray,
    most: int,
    witnesses: list[Witness],
) -> Iterator[Indicator]:
    """Yield the indicators that query the model about the examples ``rows`` (n,), at most so many at once.

    The breaks of unbroken examples that they find are added to ``witnesses``.
    """
    x, y = data.batch(rows)
    probes = ProbeSet(
        model=model,
        x=x,
        y=y,
        ids=torch.from_numpy(rows),
        threat=job.threats[-1],
        unbroken=torch.from_numpy(np.isinf(merged.radius[rows])),
        seed=job.seed,
        witnesses=witnesses,
    )
    left = rows[np.isinf(merged.radius[rows])]
    yield from probe_indicators(
        probes, job.target_class, has_enough_label_queries=has_enough_label_queries(job, merged, left)
    )
    yield from _by_access(job, merged, correct, probes, data, most)
    yield from _near_ties(merged, rows, probes, job)
    if probes.access == "gradients" and job.target_class is None:
        seeks_smallest = any(getattr(attack, "minimum_norm", False) for attack in job.attacks.values())
        yield from decision_based(probes, torch.from_numpy(merged.radius[rows]) if seeks_smallest else None)


def _from_rows(
    merged: MergedAttacks, correct: np.ndarray, transferred: np.ndarray | None
) -> Iterator[Indicator]:
    """Yield the indicators that need no further query."""
    lost = int(merged.invalid.sum())
    yield indicator(
        "invalid outputs",
        lost / len(correct),
        0.0,
        f"the output for {lost} of {len(correct)} examples is NaN",
    )
    if transferred is not None:
        many = int((transferred & correct & np.isinf(merged.radius)).sum())
        yield indicator(
            "transfer beats white box",
            many / max(correct.sum(), 1),
            0.0,
            f"points made on another model broke {many} examples that the attacks left",
        )


def _by_access(
    job: AttackJob, merged: MergedAttacks, correct: np.ndarray, probes: ProbeSet, data: Dataset, most: int
) -> Iterator[Indicator]:
    """Count the examples that attacks without gradients broke and one more gradient attack does not."""
    by_gradients, by_others = np.zeros(len(correct), bool), np.zeros(len(correct), bool)
    for name, column in merged.by_attack.items():
        hit = column.smallest_broken < len(job.threats)
        by_slope = np.array([_access(member or name, name) == "gradients" for member in column.found_by])
        by_gradients |= hit & by_slope
        by_others |= hit & ~by_slope
    if (
        probes.access != "gradients"
        or not by_others.any()
        or threat_name(probes.threat.spec) not in PGD.supports
    ):
        return
    rows = np.flatnonzero(by_others & ~by_gradients & correct & ~merged.invalid)[:most]
    many = 0
    if len(rows):
        x, y = data.batch(rows)
        unbroken = torch.ones(len(rows), dtype=torch.bool)
        left = replace(probes, x=x, y=y, ids=torch.from_numpy(rows), unbroken=unbroken)
        many = int(gradient_fails(left).sum())
    threshold = max(0.002, 1.5 / len(correct))
    text = f"attacks without gradients broke {many} examples that no gradient attack breaks"
    yield indicator("score attack beats gradient attack", many / max(int(correct.sum()), 1), threshold, text)


def _near_ties(
    merged: MergedAttacks, rows: np.ndarray, probes: ProbeSet, job: AttackJob
) -> Iterator[Indicator]:
    """Return the fraction of adversarial examples that another batch size might classify correctly.

    Their logit margin is at most twice the rounding difference between evaluating them alone and in a batch.
    """
    kept = [at for at, row in enumerate(rows.tolist()) if row in merged.images]
    if not kept or probes.access == "labels":
        return
    z, y = torch.stack([merged.images[row].adversarial for row in rows[kept].tolist()]), probes.y[kept]
    with torch.no_grad():
        meter, every = CountedModel(probes.model, y), torch.arange(len(kept))
        apart = torch.cat([meter.logits(z[at : at + 1], every[at : at + 1]) for at in range(len(kept))])
        whole = meter.logits(z, every)
    noise = (whole - apart).abs().amax(1)
    height = _height(whole, y, job.target_class)
    near = (height <= 2 * noise) & (noise > 0)
    text = f"{int(near.sum())} of {len(kept)} breaks are nearer to a tie than the rounding of a batch"
    yield indicator("breaks within rounding", float(near.double().mean()), 0.05, text)


def _height(logits: Tensor, y: Tensor, target: int | None) -> Tensor:
    return margin(logits, y) if target is None else -margin(logits, torch.full_like(y, target))


def _access(member: str, attack: str) -> str:
    """Return the access of an ensemble's member.

    It may be called by its name and its loss, such as ``apgd-ce``.
    """
    known = declared_entries("attack")
    entry = known.get(member) or known.get(member.partition("-")[0]) or known.get(attack)
    return access_of(entry.fact("access")) if entry else "gradients"
