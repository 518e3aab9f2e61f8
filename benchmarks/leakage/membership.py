"""Tell the members of a plain and of a private training on the X-rays: natural ones and mislabeled canaries.

Target and 16 shadow models are each trained on half of the 4,708 training images, of which 100 are
mislabeled. Processor time is that of this process and of its workers; on two cores of their own the clock
shows about half of it. ``python -m benchmarks.leakage.membership`` writes the table of docs/leakage.md, too.
The environment variable ``QUINTAIN_BENCHMARK_NETS`` names a folder that keeps the nets: a killed run resumes,
and ``leakage.peers`` trains none of them again.
"""

import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import quintain as q
from benchmarks.harness import Comparison
from quintain.core.registry import declared_entries
from quintain.core.tables import LEAKS_PAGE, replace_table
from quintain.evaluate.leaks.guarantee import PrivacyGuarantee
from quintain.evaluate.leaks.job import LeakFindings, TargetTraining
from quintain.evaluate.leaks.membership import run_trial
from quintain.evaluate.leaks.membership_trial import MISLABELED, NATURAL, own_target
from quintain.evaluate.leaks.trainers import PrivateTrainer, RecipeTrainer
from quintain.evaluate.model import clean_counts
from quintain.evaluate.privacy_target import PrivacyTarget, plan_record
from quintain.leakage.judges.membership import name_of_rate
from quintain.models.nets import xray_cnn
from quintain.results.leak_records import LeakMeasurement
from quintain.training import Recipe

PLAIN = Recipe(epochs=60, batch_size=64, learning_rate=2e-3)
"""Ends right on 99 % or more of the natural images that it is trained on."""

PRIVATE = PrivacyTarget(epsilon=3.0, delta=1e-5, batch_size=256, steps=276)
"""The sampling rate of the drill's private training on half of its images, and as many steps."""

CANARIES, SHADOWS = 100, 16
SEEDS = (0, 1, 2)
"""Medians and ranges are over these."""

FOLDER = "QUINTAIN_BENCHMARK_NETS"
"""Environment variable with a folder of nets, which are read where they are there, and left there."""


def build(seed: int) -> nn.Module:
    """Return the X-ray CNN."""
    return xray_cnn(seed=seed)


def trainings(
    records: int, recipe: Recipe = PLAIN, private: PrivacyTarget = PRIVATE
) -> tuple[TargetTraining, TargetTraining]:
    """Return the plain and the private training of this many records."""
    allowed = PrivacyGuarantee.of_plan(plan_record(private.plan(records), records))
    return (
        TargetTraining("plain", build, RecipeTrainer(recipe)),
        TargetTraining(
            f"private, epsilon {private.epsilon:g}",
            build,
            PrivateTrainer(private),
            epsilon=allowed.epsilon,
            delta=allowed.delta,
            max_tpr=allowed.max_tpr,
        ),
    )


@dataclass(frozen=True, slots=True)
class Trials:
    """What was found of one kind of training.

    Args:
        title: The training.
        found: Of each seed.
        accuracies: Of each seed's target on the validation images.
        busy: Processor seconds of each seed.
        seconds: Of each seed, by the clock.
    """

    title: str
    found: tuple[LeakFindings, ...]
    accuracies: tuple[float, ...]
    busy: tuple[float, ...]
    seconds: tuple[float, ...]

    @property
    def cases(self) -> list[tuple[str, str]]:
        """Kinds of candidates and attacks."""
        return list(dict.fromkeys((one.candidates, one.attack) for one in self.found[0].measurements))

    def of(self, candidates: str, attack: str) -> dict[str, list[LeakMeasurement]]:
        """Return the measurements of all seeds, by measure."""
        by_measure: dict[str, list[LeakMeasurement]] = {}
        for findings in self.found:
            for one in findings.measurements:
                if (one.candidates, one.attack) == (candidates, attack):
                    by_measure.setdefault(one.measure, []).append(one)
        return by_measure


def trials(seeds: Sequence[int] = SEEDS) -> Iterator[Trials]:
    """Train and attack by each training, over all seeds."""
    data = q.load_data("xrays")
    attacks = [
        entry.load()() for entry in declared_entries("leak").values() if entry.fact("goal") == "membership"
    ]
    for training in trainings(len(data.split("train")) // 2):
        found, accuracies, seconds, busy = [], [], [], []
        for seed in seeds:
            clock, processor = time.perf_counter(), _processor_seconds()
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(os.environ.get(FOLDER, scratch))
                trial = own_target(
                    training,
                    data.split("train"),
                    data.split("val"),
                    canaries=CANARIES,
                    seed=seed,
                    folder=folder,
                )
                found.append(run_trial(trial, attacks, shadows=SHADOWS, seed=seed, folder=folder))
            seconds.append(time.perf_counter() - clock)
            busy.append(_processor_seconds() - processor)
            accuracies.append(clean_counts(trial.target.model, data.split("val")).accuracy)
        yield Trials(training.title, tuple(found), tuple(accuracies), tuple(busy), tuple(seconds))


def run(seeds: Sequence[int] = SEEDS) -> Iterator[Comparison]:
    """Train and attack, and give one line for each training, kind of candidate and attack."""
    for one in trials(seeds):
        yield from lines(one)


def lines(one: Trials) -> Iterator[Comparison]:
    """Yield time and the targets' accuracy, and a line for each kind of candidate and attack."""
    yield Comparison(
        f"membership, {one.title}",
        f"a target, {SHADOWS} shadow models and the attacks take {statistics.median(one.busy):.0f} s of "
        f"processor time, {statistics.median(one.seconds):.0f} s by the clock (medians of {len(one.found)} "
        f"seeds), {torch.get_num_threads()} thread(s) a process; the target is right on "
        f"{', '.join(f'{accuracy:.1%}' for accuracy in one.accuracies)} of the validation images",
    )
    for candidates, attack in one.cases:
        texts = []
        for measure, each in one.of(candidates, attack).items():
            ceiling = "" if each[0].ceiling is None else f", at most {each[0].ceiling:.3f} allowed"
            texts.append(f"{measure} {summary(each, '{:.3f}'.format)}{ceiling}")
        yield Comparison(f"membership, {one.title}, {candidates}, {attack}", "; ".join(texts))
    for note in dict.fromkeys(note for findings in one.found for note in findings.notes):
        yield Comparison(f"membership, {one.title}, note", note)


def summary(each: Sequence[LeakMeasurement], text: Callable[[float], str]) -> str:
    """Return the median over seeds, their range, and the least and the most that is in a seed's interval."""
    values = [one.value for one in each]
    low, high = min(one.low for one in each), max(one.high for one in each)
    return (
        f"{text(_median(each))} ({text(min(values))} to {text(max(values))}; "
        f"95 %: {text(low)} to {text(high)})"
    )


def table(every: Sequence[Trials]) -> str:
    """Return the table of the page: the attacks on each training, the strongest on canaries first."""
    head = (
        "| training | attack | natural, AUC | mislabeled, AUC | mislabeled, found at 1 % false alarms |\n"
        f"|{'---|' * 5}\n"
    )
    rows = []
    for one in every:
        found = [
            (one.of(NATURAL, attack), one.of(MISLABELED, attack), attack)
            for candidates, attack in one.cases
            if candidates == NATURAL
        ]
        for natural, wrong, attack in sorted(found, key=lambda row: -_median(row[1]["AUC"])):
            rows.append(
                f"| {one.title} | `{attack}` | {summary(natural['AUC'], '{:.3f}'.format)} "
                f"| {summary(wrong['AUC'], '{:.3f}'.format)} "
                f"| {summary(wrong[name_of_rate(0.01)], _percent)} |\n"
            )
    return head + "".join(rows)


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def _median(each: Sequence[LeakMeasurement]) -> float:
    return statistics.median(one.value for one in each)


def write(page: Path = LEAKS_PAGE) -> None:
    """Print what ``run`` gives, and put the table between the markers of the page."""
    every = []
    for one in trials():
        every.append(one)
        for line in lines(one):
            print(line.line(), flush=True)
    text = page.read_text(encoding="utf-8")
    page.write_text(replace_table(text, "membership", "membership", table(every)), encoding="utf-8")


def _processor_seconds() -> float:
    """Return the processor time of this process and of workers that have ended."""
    uses = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in uses)


if __name__ == "__main__":
    write()
