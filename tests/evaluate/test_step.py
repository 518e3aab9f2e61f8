"""A step leaves a record of itself."""

from importlib.metadata import version

import torch

from quintain.data import load_data
from quintain.evaluate.step import StepOutput, record_step
from quintain.evaluate.steps.check import run_check
from quintain.results.records import PackageVersion


def test_a_record_says_how_it_came_about():
    body = run_check(load_data("xrays"), None).result
    record = record_step(
        lambda: StepOutput(body, notes=("n",)), command="quintain check", seed=3, data=("xrays", "h")
    )
    assert record.provenance.seconds >= 0
    assert record.provenance.threads == torch.get_num_threads()
    assert PackageVersion("torch", version("torch")) in record.provenance.versions
    assert record.notes == ("n",)
