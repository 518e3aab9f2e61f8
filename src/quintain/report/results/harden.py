"""Training against attacks: the models that came out, and what the same attacks do to them."""

from collections.abc import Iterator

from quintain.report.presentation import Presentation
from quintain.report.results.attack import attacked_model_lines
from quintain.report.results.train import training_text
from quintain.results.robustness_records import HardenResult


def _summary(result: HardenResult) -> Iterator[str]:
    yield from map(training_text, result.trainings)
    for one in result.models:
        yield from attacked_model_lines(one)


PRESENTATION = Presentation(HardenResult, "Hardening", summary=_summary)
