"""Tell the members of a plain and of a private training on the X-rays: natural ones and mislabeled canaries.

Target and 16 shadow models are each trained on half of the 4,708 training images, of which 100 are
mislabeled. Processor time is that of this process and of its workers; on two cores of their own the clock
shows about half of it.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

import quintain as q
from benchmarks.harness import Comparison
from quintain.core.registry import declared_entries
from quintain.dp.accounting import delta_curve
from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
from quintain.evaluate.leaks.job import LeakFindings, TargetTraining
from quintain.evaluate.leaks.membership_trainings import compare_trainings
from quintain.evaluate.leaks.trainers import PrivateTrainer, RecipeTrainer
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.models.nets import xray_cnn
from quintain.training import Recipe

PLAIN = Recipe(epochs=60, batch_size=64, learning_rate=2e-3)
"""Ends right on 99.8 % of what it is trained on, and on 97 % of the validation images."""

EPSILON, DELTA = 3.0, 1e-5
BATCH, STEPS = 256, 276
"""Of private training: the sampling rate of the drill's on half of its images, and as many steps."""

CANARIES, SHADOWS = 100, 16
SEEDS = (0,)
"""Medians are over these; ``run(seeds=...)`` takes more."""


def build(seed: int) -> nn.Module:
    """Return the X-ray CNN."""
    return xray_cnn(seed=seed)


def trainings(records: int) -> tuple[TargetTraining, TargetTraining]:
    """Return the plain and the private training of this many records."""
    target = PrivacyTarget(epsilon=EPSILON, delta=DELTA, batch_size=BATCH, steps=STEPS)
    plan = target.plan(records)
    curve = delta_curve(plan.noise_multiplier, plan.expected_batch_size / records, plan.steps)
    guarantee = PrivacyGuarantee(EPSILON, DELTA, "the accountant's trade-off curve", curve)
    return (
        TargetTraining("plain", build, RecipeTrainer(Recipe(epochs=60, batch_size=64, learning_rate=2e-3))),
        TargetTraining(
            f"private, epsilon {EPSILON:g}",
            build,
            PrivateTrainer(target),
            epsilon=EPSILON,
            delta=DELTA,
            max_tpr=guarantee.max_tpr,
        ),
    )


def run(seeds: Sequence[int] = SEEDS, folder: Path | None = None) -> Iterator[Comparison]:
    """Train and attack, and give one line for each training, kind of candidate and attack."""
    data = q.load_data("xrays")
    attacks = [
        entry.load()() for entry in declared_entries("leak").values() if entry.fact("goal") == "membership"
    ]
    for training in trainings(len(data.split("train")) // 2):
        found, seconds, busy = [], [], []
        for seed in seeds:
            clock, processor = time.perf_counter(), _processor_seconds()
            with tempfile.TemporaryDirectory() as scratch:
                found.append(
                    compare_trainings(
                        [training],
                        data.split("train"),
                        data.split("val"),
                        attacks,
                        canaries=CANARIES,
                        shadows=SHADOWS,
                        seed=seed,
                        folder=folder or Path(scratch),
                    )
                )
            seconds.append(time.perf_counter() - clock)
            busy.append(_processor_seconds() - processor)
        yield Comparison(
            f"membership, {training.title}",
            f"a target, {SHADOWS} shadow models and {len(attacks)} attacks take "
            f"{statistics.median(busy):.0f} s of processor time, {statistics.median(seconds):.0f} s by the "
            f"clock, {torch.get_num_threads()} thread(s) a process",
        )
        yield from _lines(training.title, found)


def _lines(title: str, found: Sequence[LeakFindings]) -> Iterator[Comparison]:
    """Yield a line for each kind of candidate and attack: medians over seeds."""
    first = found[0].measurements
    for candidates, attack in dict.fromkeys((one.candidates, one.attack) for one in first):
        values: dict[str, list[float]] = {}
        spans: dict[str, str] = {}
        for findings in found:
            for one in findings.measurements:
                if (one.candidates, one.attack) == (candidates, attack):
                    values.setdefault(one.measure, []).append(one.value)
                    ceiling = "" if one.ceiling is None else f", at most {one.ceiling:.3f} allowed"
                    spans.setdefault(one.measure, f" ({one.low:.3f} to {one.high:.3f}{ceiling})")
        yield Comparison(
            f"membership, {title}, {candidates}, {attack}",
            "; ".join(
                f"{measure} {float(np.median(each)):.3f}{spans[measure]}" for measure, each in values.items()
            ),
        )


def _processor_seconds() -> float:
    """Return the processor time of this process and of workers that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in uses)
