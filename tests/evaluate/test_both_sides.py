"""Both sides within a time: what one has decided the other leaves alone; a crossing is saved and raised."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from quintain.attacks import PGD
from quintain.certify import (
    CROWN,
    Ablation,
    BranchAndBound,
    CertificateOutcome,
    IntervalBounds,
    LaplaceSmoothing,
    SmoothedClassifier,
)
from quintain.core.errors import ContradictionError, ModelError, SettingError
from quintain.evaluate import robustness
from quintain.models.classifier import Classifier
from tests.evaluate.support.trained_net import SIZES, net, points

SMALL, MIDDLE, LARGE = (threat.eps for threat in SIZES)


@dataclass
class Watched:
    """A certifier that remembers what it was asked, as (input, size)."""

    inner: object
    asked: list = field(default_factory=list)
    cost = "expensive"

    def __call__(self, model, x, y, threat, *, eps=None):
        self.asked += [(tuple(one.flatten().tolist()), threat.eps) for one in x]
        return self.inner(model, x, y, threat, eps=eps)


def watched_attack(asked):
    def attack(model, x, y, threat, *, seed=0, ids=None):
        asked.extend((tuple(one.flatten().tolist()), threat.eps) for one in x)
        return PGD(steps=5)(model, x, y, threat, seed=seed, ids=ids)

    return attack


def test_what_one_side_has_decided_the_other_leaves_alone():
    attacked, search = [], Watched(BranchAndBound(seconds=60.0, max_bounds=100))
    certifiers, data = [IntervalBounds(), Watched(CROWN()), search], points()
    found = robustness(
        Classifier(net()), data, SIZES, [watched_attack(attacked)], certifiers, budget=600.0, seed=1
    )
    assert found.num_open[:2] == (0, 0)
    assert len(found.claims) == len(SIZES)
    assert found.bracket.lower.value <= found.bracket.upper.value
    inputs = [tuple(one.flatten().tolist()) for one in data.batch(np.arange(len(data)))[0]]
    interval = IntervalBounds()
    x, y = data.batch(np.arange(len(data)))
    for threat in SIZES:
        certified = interval(Classifier(net()), x, y, threat).certified.tolist()
        assert not {inputs[row] for row, one in enumerate(certified) if one} & {
            one for one, eps in attacked if eps == threat.eps
        }
    broken = dict(zip(inputs, found.examples.broken_radius, strict=True))
    assert all(eps <= broken[one] for one, eps in search.asked)
    assert all(eps <= broken[one] for one, eps in certifiers[1].asked)


def test_without_time_the_cheap_sides_are_all_there_is():
    crown = Watched(CROWN())
    found = robustness(
        Classifier(net()), points(), SIZES[1], [PGD(steps=5)], [IntervalBounds(), crown], budget=-1.0
    )
    assert crown.asked == []
    assert found.num_open[0] > 0
    one_sided = robustness(Classifier(net()), points(), "linf:0.1", [], [IntervalBounds()])
    assert one_sided.bracket.lower.value == found.bracket.lower.value


class Boasting:
    """Certifies everything up to the smallest size."""

    def __call__(self, model, x, y, threat, *, eps=None):
        radius = torch.full((len(x),), threat.eps, dtype=torch.float64) if eps is None else eps
        certified = (radius <= SMALL) & (model.predict(x) == y)
        none = torch.zeros_like(certified)
        return CertificateOutcome(
            certified, certified.double() - 0.5, None, torch.ones_like(y), ("boasting",), none
        )


def test_an_example_that_is_certified_and_broken_is_saved_and_raised(tmp_path):
    with pytest.raises(ContradictionError, match=r"certified by Boasting and broken by PGD-0: .* are in /"):
        robustness(Classifier(net()), points(), SIZES, [PGD(steps=20)], [Boasting()], folder=tmp_path)
    facts = json.loads((tmp_path / "contradiction.json").read_text())
    with np.load(tmp_path / "contradiction.npz") as held:
        assert held["rows"].tolist() == [one["row"] for one in facts]
        assert len(held["inputs"]) == len(facts) > 0
    assert all(one["broken"]["radius"] <= one["certified"]["radius"] for one in facts)
    assert {one["certified"]["by"] for one in facts} == {"Boasting"}


def test_no_side_at_all_is_refused():
    with pytest.raises(SettingError, match="at least one side"):
        robustness(Classifier(net()), points(), SIZES, [], [])


def test_certifiers_that_take_long_are_a_side_of_their_own():
    search = Watched(BranchAndBound(seconds=60.0, max_bounds=20))
    found = robustness(Classifier(net()), points(), SIZES, [], [Watched(CROWN()), search], budget=600.0)
    alone = robustness(Classifier(net()), points(), SIZES, [], [Watched(CROWN())], budget=600.0)
    right = np.mean(np.array(found.examples.predicted) == points().labels)
    assert 0 < alone.claims[0].bracket.lower.value <= found.claims[0].bracket.lower.value
    assert found.claims[0].bracket.upper.value <= right
    assert search.asked


def test_a_certifier_of_another_model_is_refused():
    with pytest.raises(SettingError, match="LaplaceSmoothing certifies another model, which is made of"):
        robustness(Classifier(net()), points(), "l1:0.1", [], [LaplaceSmoothing()])
    with pytest.raises(SettingError, match="Ablation certifies another model"):
        robustness(Classifier(net()), points(), "patch:area=7%", [], [Ablation()])


def test_a_smoothed_model_is_attacked_and_its_layers_are_not_bounded():
    smooth = SmoothedClassifier(Classifier(net()), 0.25, noise_samples=50)
    with pytest.raises(ModelError, match="layers"):
        robustness(smooth, points(), "l2:0.05", [], [CROWN()])


@pytest.mark.parametrize("processes", [0, -3])
def test_no_process_at_all_is_refused(processes):
    with pytest.raises(SettingError, match=f"processes = {processes}; expected at least 1"):
        robustness(Classifier(net()), points(), SIZES, [], [CROWN()], processes=processes)
