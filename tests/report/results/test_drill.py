"""The line on a whole drill."""

from quintain.report.results.drill import PRESENTATION
from quintain.results.records import DrillResult, StepTiming


def test_the_seconds_are_whole_numbers_beside_those_that_there_are():
    result = DrillResult((StepTiming("train", 150.2, "02-train.json"),), (), 1, False, minutes=20.0)
    (line,) = PRESENTATION.summary(result)
    assert "= 150 s of 1,200 s;" in line


def test_the_seconds_of_trials_are_told_and_count():
    result = DrillResult(
        (StepTiming("train", 24.0, "02-train.json"),), (), 1, False, minutes=1.0, trial_seconds=12.5
    )
    (line,) = PRESENTATION.summary(result)
    assert line.startswith("seconds: trials 12.5  train 24.0  = 36 s of 60 s;")
