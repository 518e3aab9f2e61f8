"""One tiny drill, run once for all tests of a file."""

from dataclasses import replace

import pytest

from quintain.data import load_data
from quintain.dp import mechanism_tests
from quintain.drill import Settings, drill, pipeline, subject, trials
from quintain.drill.settings import Workload
from quintain.drill.steps import identity
from quintain.evaluate.evasion import decision_probe
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.results.requirements import Requirement
from quintain.training import Recipe

TINY = Workload(
    plain_epochs=1,
    adversarial_epochs=1,
    certified_epochs=2,
    noise_epochs=1,
    test_examples=40,
    attack_steps=3,
    attack_queries=5,
    marker_steps=3,
    smoothed_examples=3,
    noise_samples=200,
    private_batch=64,
    private_steps=5,
    canaries=40,
    inversion_steps=5,
    rounds=2,
    local_epochs=1,
    bound_seconds=0,
    membership_candidates=60,
    membership_pairs=2,
    membership_epochs=2,
    identity_queries=60,
)


def stopped():
    """A clock at which everything takes no time, so that nothing is cut."""
    return 0.0


@pytest.fixture(scope="module")
def tiny():
    """The scale that tests drill at, on an eighth of the X-rays to learn from; ``fit`` alone is measured, and
    trials, which would grow for ever by a clock that stands, stay as small as they begin; that of private
    training is made in ``test_killed_steps`` alone.
    """
    splits = load_data("xrays")
    few = replace(splits, train=splits.split("train").subset(range(0, len(splits.split("train")), 8)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "QUICK", TINY)
        patch.setattr(subject, "load_data", lambda _name: few)
        patch.setattr(trials, "LONG_ENOUGH", 0.0)
        patch.setattr(trials.Trials, "private", 0.0)
        patch.setattr(identity, "RECIPE", Recipe(epochs=1, batch_size=10))
        patch.setattr(identity, "JUDGE", JudgeRecipe(copies=1, epochs=1))
        patch.setattr(identity, "PRIVATE_STEPS", 5)
        patch.setattr(identity, "TRIED_QUERIES", (40, 60))
        patch.setattr(decision_probe, "WALK_QUERIES", 40)
        patch.setattr(mechanism_tests, "TRAINERS", {"fit": mechanism_tests.TRAINERS["fit"]})
        yield TINY


@pytest.fixture(scope="module")
def finished(tiny, tmp_path_factory):
    """A finished drill: its folder, its exit code and its page."""
    folder = tmp_path_factory.mktemp("drill") / "run"
    require = (Requirement.parse("robust_accuracy(linf:2/255) >= 0.01"),)
    code, page = drill(folder, Settings(quick=True, require=require), clock=stopped)
    return folder, code, page
