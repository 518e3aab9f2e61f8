"""Signs that an attack was weak and not the model strong, each with its value, threshold and evidence."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from quintain.attacks.base import access_of
from quintain.attacks.counted_model import CountedModel
from quintain.attacks.gradient.pgd import PGD
from quintain.attacks.outcome import Model
from quintain.core.errors import ExecutionError
from quintain.core.registry import entries
from quintain.core.seeds import derive_seed
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.books import Books
from quintain.evaluate.campaign import Orders
from quintain.evaluate.probes import Sample, asked, gradient_fails, sign
from quintain.losses.margin import margin
from quintain.results.robustness_records import AttackDiagnostics, Indicator

EXAMPLES = 50
"""How many examples are probed."""


def probed(right: np.ndarray, seed: int, examples: int = EXAMPLES) -> np.ndarray:
    """The rows that are probed: so many of those answered rightly, drawn by the seed, rising."""
    rows = np.flatnonzero(right)
    return np.sort(np.random.default_rng(derive_seed(seed, "probed")).permutation(rows)[:examples])


def trust_of(
    orders: Orders, books: Books, model: Model, data: Dataset, right: np.ndarray, *, transferred: np.ndarray | None = None
) -> AttackDiagnostics:
    """Every sign that can be measured.

    Where a budget of queries was given, nothing more is asked of the model: only what the attacks found anyway is judged.

    Args:
        orders: What was run.
        books: What it found.
        model: The target.
        data: All examples.
        right: Which of them are answered rightly (N,).
        transferred: Which of them points made on another model break (N,), if that was tried.
    """
    rows = np.array(sorted(orders.probed), dtype=np.int64)
    rows = rows[~books.failed[rows]]
    signs: list[Indicator] = list(_from_rows(books, right, transferred))
    if not len(rows) or orders.queries is not None:
        return AttackDiagnostics(tuple(signs), 0)
    with torch.inference_mode(False), suppress(ExecutionError):  # a model that has stopped answering leaves what was seen before
        x, y = data.batch(rows)
        sample = Sample(model, x, y, torch.from_numpy(rows), orders.sizes[-1], torch.from_numpy(np.isinf(books.radius[rows])), orders.seed)
        for one in (asked(sample, orders.target), _by_access(orders, books, right, sample, data), _near_ties(books, rows, sample, orders)):
            signs.extend(one)
    return AttackDiagnostics(tuple(signs), len(rows))


def _from_rows(books: Books, right: np.ndarray, transferred: np.ndarray | None) -> Iterator[Indicator]:
    lost = int(books.failed.sum())
    yield sign("no number", lost / len(right), 0.0, f"{lost} of {len(right)} examples were answered without a number")
    if transferred is not None:
        many = int((transferred & right & np.isinf(books.radius)).sum())
        yield sign(
            "transfer beats white box",
            many / max(right.sum(), 1),
            0.0,
            f"points made on another model broke {many} examples that the attacks left",
        )


def _by_access(orders: Orders, books: Books, right: np.ndarray, sample: Sample, data: Dataset) -> Iterator[Indicator]:
    """Examples that only attacks without gradients broke, unless a gradient attack does after all."""
    sloped, blind = np.zeros(len(right), bool), np.zeros(len(right), bool)
    for name, column in books.columns.items():
        hit = column.first < len(orders.sizes)
        by_slope = np.array([_access(member or name, name) == "gradients" for member in column.by])
        sloped |= hit & by_slope
        blind |= hit & ~by_slope
    if sample.access != "gradients" or not blind.any() or threat_name(sample.threat.spec) not in PGD.supports:
        return
    rows = np.flatnonzero(blind & ~sloped & right & ~books.failed)[:EXAMPLES]
    many = 0
    if len(rows):
        x, y = data.batch(rows)
        alone = Sample(sample.model, x, y, torch.from_numpy(rows), sample.threat, torch.ones(len(rows), dtype=torch.bool), sample.seed)
        many = int(gradient_fails(alone).sum())
    threshold = max(0.002, 1.5 / len(right))
    text = f"attacks without gradients broke {many} examples that no gradient attack breaks"
    yield sign("score attack beats gradient attack", many / max(int(right.sum()), 1), threshold, text)


def _near_ties(books: Books, rows: np.ndarray, sample: Sample, orders: Orders) -> Iterator[Indicator]:
    """Breaks whose margin is less than what the answer changes with the batch that it stands in."""
    kept = [at for at, row in enumerate(rows.tolist()) if row in books.images]
    if not kept or sample.access == "labels":
        return
    z, y = torch.stack([books.images[row].adversarial for row in rows[kept].tolist()]), sample.y[kept]
    with torch.no_grad():
        meter, every = CountedModel(sample.model, y), torch.arange(len(kept))
        apart = torch.cat([meter.logits(z[at : at + 1], every[at : at + 1]) for at in range(len(kept))])
        whole = meter.logits(z, every)
    noise = (whole - apart).abs().amax(1)
    height = _height(whole, y, orders.target)
    near = (height <= 2 * noise) & (noise > 0)
    text = f"{int(near.sum())} of {len(kept)} breaks are nearer to a tie than the rounding of a batch"
    yield sign("breaks within rounding", float(near.double().mean()), 0.05, text)


def _height(logits: Tensor, y: Tensor, target: int | None) -> Tensor:
    return margin(logits, y) if target is None else -margin(logits, torch.full_like(y, target))


def _access(member: str, attack: str) -> str:
    """What an ensemble's member asks for: it may be called by its name and its loss, such as ``apgd-ce``."""
    known = entries("attack")
    entry = known.get(member) or known.get(member.partition("-")[0]) or known.get(attack)
    return access_of(entry.fact("access")) if entry else "gradients"
