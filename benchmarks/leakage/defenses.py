"""What stops what: attacks on membership and on updates, on the X-rays, without a defense and with each.

``python -m benchmarks.leakage.defenses`` runs it and writes the table of docs/leakage.md.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness import Comparison
from quintain.core.tables import LEAKS_PAGE
from quintain.data import load_data
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.evaluate.leaks.pictures import measure
from quintain.evaluate.leaks.trainers import NetBuilder
from quintain.evaluate.leaks.update_settings import SETTINGS
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.steps.membership import run_membership
from quintain.leakage.updates.gradient_inversion import GradientInversion
from quintain.leakage.updates.imprint import ImprintLayer
from quintain.models import Classifier, xray_cnn
from quintain.report.leak_table import gain_text, interval_text, is_shown_to_leak, value_text
from quintain.results.leak_records import LeakMeasurement
from quintain.results.privacy_records import LeakResult
from quintain.training import Recipe

CANDIDATES, SHADOWS = 1_000, 8
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
    """One line for each measurement."""
    for one in measurements():
        yield Comparison(
            f"{one.attack}, {one.model}, {one.candidates}, {one.measure}",
            f"{value_text(one, one.value)} ({interval_text(one)}), {value_text(one, one.baseline)} "
            f"{one.baseline_name}, gain {gain_text(one)}",
        )


def measurements() -> Iterator[LeakMeasurement]:
    """Yield what was measured of small trainings, and of updates of an untrained net."""
    train = load_data("xrays").train
    found = run_membership(
        train,
        build=NetBuilder("xray-cnn", {"num_classes": 2, "channels": 1, "size": 28}),
        recipe=Recipe(epochs=100, batch_size=32),
        private=PrivacyTarget(epsilon=3.0, batch_size=50, steps=60),
        candidates=CANDIDATES,
        shadows=SHADOWS,
    ).result
    assert isinstance(found, LeakResult)
    yield from found.measurements
    net = Classifier(xray_cnn().eval(), num_classes=2)
    job = LeakJob(LeakTarget(net, "net"), (), train.subset(range(500)), train.subset(range(1000, 2024)))
    for attack, settings in ((GradientInversion(steps=STEPS), SINGLE), (ImprintLayer(), SUMS)):
        yield from measure(_with(job, attack), settings).measurements


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
    """Put the table between the markers of the page."""
    rows = table([one for one in measurements() if one.measure not in LEFT_OUT])
    start, end = "<!-- figures -->\n", "<!-- end: figures -->\n"
    before, _, rest = page.read_text(encoding="utf-8").partition(start)
    page.write_text(before + start + rows + end + rest.partition(end)[2], encoding="utf-8")


if __name__ == "__main__":
    write()
