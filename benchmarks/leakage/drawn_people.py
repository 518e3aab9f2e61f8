"""The drill's step ``identity`` on five draws of people: whose face a plain and a private net give away.

The people are drawn by numbers and do not exist (``quintain.data.draw_faces``). Settings of the drawing and
of the nets were chosen on other people than these.
"""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.harness import Comparison
from quintain.core.statistics import binomial_interval
from quintain.data import draw_faces
from quintain.data.synthetic_people import HELD_OUT, PRIVATE, PUBLIC, PUBLIC_PICTURES, TRAINED
from quintain.drill.steps.identity import (
    JUDGE,
    LEARNING_RATE,
    PRIVATE_BATCH,
    PRIVATE_STEPS,
    RECIPE,
    build_net,
)
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.steps.identity import run_identity
from quintain.results.privacy_records import LeakResult

SEEDS = (1, 2, 3, 4, 5)
"""Of the people; the data sets that go by name are those of seed 0."""

TARGET = PrivacyTarget(
    epsilon=3.0, batch_size=PRIVATE_BATCH, steps=PRIVATE_STEPS, learning_rate=LEARNING_RATE
)


@dataclass(slots=True)
class Tally:
    """People found on one kind of net, by draw, and the baseline of each."""

    found: list[int] = field(default_factory=list)
    baselines: list[float] = field(default_factory=list)

    def text(self) -> str:
        """Return the counts of people; an interval treats all as independent."""
        low, high = binomial_interval(sum(self.found), PRIVATE * len(self.found), 0.95)
        return (
            f"{statistics.mean(self.found):.1f} of {PRIVATE} ({', '.join(map(str, self.found))}; 95 %: "
            f"{PRIVATE * low:.1f} to {PRIVATE * high:.1f}), without the model "
            f"{PRIVATE * statistics.mean(self.baselines):.1f}"
        )


def run() -> Iterator[Comparison]:
    """Count the people whom the judge ranks first, and tell how right the nets are."""
    tallies: dict[tuple[str, str], Tally] = {}
    for seed in SEEDS:
        people = range(PRIVATE)
        output = run_identity(
            draw_faces(people, range(TRAINED), seed=seed),
            draw_faces(people, range(TRAINED, TRAINED + HELD_OUT), seed=seed),
            draw_faces(range(PRIVATE, PRIVATE + PUBLIC), range(PUBLIC_PICTURES), seed=seed),
            build=build_net,
            recipe=RECIPE,
            private=TARGET,
            judge=JUDGE,
            seed=seed,
        )
        assert isinstance(output.result, LeakResult)
        for one in output.result.measurements:
            tally = tallies.setdefault((one.model, one.measure), Tally())
            tally.found.append(round(one.value * PRIVATE))
            tally.baselines.append(one.baseline)
        right = "; ".join(note for note in output.notes if ": right on " in note)
        yield Comparison(f"draw {seed}", right)
    for (model, measure), tally in tallies.items():
        yield Comparison(f"{model}, {measure}", tally.text())
