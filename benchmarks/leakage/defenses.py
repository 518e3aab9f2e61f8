"""What stops what: attacks on membership and on updates, on the X-rays, without a defense and with each.

``python -m benchmarks.leakage.defenses`` runs it and writes the table of docs/leakage.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import Comparison
from benchmarks.leakage.membership import trainings
from quintain.core.tables import LEAKS_PAGE, replace_table
from quintain.data import Dataset, load_data
from quintain.evaluate.leaks.job import LeakFindings, LeakJob, LeakTarget, TargetTraining
from quintain.evaluate.leaks.membership import run_trial
from quintain.evaluate.leaks.membership_trial import own_target
from quintain.evaluate.leaks.pictures import measure
from quintain.evaluate.leaks.update_settings import SETTINGS
from quintain.evaluate.model import clean_counts
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.leakage.membership.lira import LiRA
from quintain.leakage.updates.gradient_inversion import GradientInversion
from quintain.leakage.updates.imprint import ImprintLayer
from quintain.models import Classifier, xray_cnn
from quintain.report.leak_table import gain_text, interval_text, is_shown_to_leak, value_text
from quintain.results.leak_records import LeakMeasurement
from quintain.training import Recipe

CANDIDATES, CANARIES, SHADOWS = 2_000, 400, 8
PLAIN = Recipe(epochs=100, batch_size=32)
PRIVATE = PrivacyTarget(epsilon=3.0, batch_size=128, steps=120, learning_rate=0.5)
"""Half of the candidates are trained on. Of half as many, or at twice this learning rate, some private nets
learn nothing: they would have nothing to give away.
"""

STEPS = 300
"""Of each reconstruction by gradients."""

LEFT_OUT = ("TPR at 0.1 % FPR", "SSIM")
"""Measures that say nothing more here: so few candidates resolve no rate of 0.1 %."""

SUMS = tuple(one for one in SETTINGS if one.sites == 5 and one.examples == 1)
SINGLE = SETTINGS[:3]
HEAD = (
    "| attack | model or defense | guessed about | measure | value (95 %) | without access | gain "
    "| shown to leak |\n"
    f"|{'---|' * 8}\n"
)


def run() -> Iterator[Comparison]:
    """One line for each measurement, and one for each note."""
    for found in findings():
        for one in found.measurements:
            yield Comparison(
                f"{one.attack}, {one.model}, {one.candidates}, {one.measure}",
                f"{value_text(one, one.value)} ({interval_text(one)}), {value_text(one, one.baseline)} "
                f"{one.baseline_name}, gain {gain_text(one)}",
            )
        for note in found.notes:
            yield Comparison("note", note)


def findings() -> Iterator[LeakFindings]:
    """Yield what was found of small trainings, and of updates of an untrained net."""
    data = load_data("xrays")
    train = data.split("train")
    for training in trainings(CANDIDATES // 2, PLAIN, PRIVATE):
        yield membership(training, train.sample(CANDIDATES, seed=0), data.split("val"))
    net = Classifier(xray_cnn().eval(), num_classes=2)
    job = LeakJob(LeakTarget(net, "net"), (), train.subset(range(500)), train.subset(range(1000, 2024)))
    for attack, settings in ((GradientInversion(steps=STEPS), SINGLE), (ImprintLayer(), SUMS)):
        yield measure(_with(job, attack), settings)


def membership(training: TargetTraining, pool: Dataset, held_out: Dataset) -> LeakFindings:
    """Train on half of the candidates and attack; the title says how often the net is right on others.

    A net that has learned nothing gives nothing away, so that its rows would say nothing of privacy.
    """
    trial = own_target(training, pool, None, canaries=CANARIES)
    accuracy = clean_counts(trial.target.model, held_out).accuracy
    title = f"{training.title}, right on {100 * accuracy:.0f} % of other X-rays"
    trial = replace(trial, target=replace(trial.target, title=title))
    return run_trial(trial, [LiRA()], shadows=SHADOWS, workers=1)


def _with(job: LeakJob, attack: GradientInversion | ImprintLayer) -> LeakJob:
    return LeakJob(job.target, (attack,), job.members, job.others, candidates=40)


def table(found: Sequence[LeakMeasurement]) -> str:
    """Return the table of the page."""
    rows = (
        f"| `{one.attack}` | {one.model} | {one.candidates} | {one.measure} "
        f"| {value_text(one, one.value)} ({interval_text(one)}) "
        f"| {value_text(one, one.baseline)} ({one.baseline_name}) | {gain_text(one)} "
        f"| {'yes' if is_shown_to_leak(one) else 'no'} |\n"
        for one in found
    )
    return HEAD + "".join(rows)


def write(page: Path = LEAKS_PAGE) -> None:
    """Put the table between the markers of the page, and print the notes."""
    found = list(findings())
    rows = table([one for each in found for one in each.measurements if one.measure not in LEFT_OUT])
    page.write_text(
        replace_table(page.read_text(encoding="utf-8"), "figures", "figures", rows), encoding="utf-8"
    )
    for note in dict.fromkeys(note for each in found for note in each.notes):
        print(note)


if __name__ == "__main__":
    write()
