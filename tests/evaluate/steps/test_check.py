"""Data are checked before anything else."""

from quintain.data import load_data
from quintain.evaluate.steps.check import run_check
from quintain.results.robustness_records import CheckResult


def test_a_check_counts_classes_and_finds_nothing_wrong_with_the_bundled_data():
    body = run_check(load_data("xrays"), None).result
    assert isinstance(body, CheckResult)
    assert dict(body.class_counts)["test"] == (234, 390)
    assert not [finding for finding in body.findings if finding.level == "error"]
