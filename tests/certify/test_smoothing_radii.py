"""Certificates of requested radii: noise is drawn until they are decided, in batches that examples share."""

from queue import SimpleQueue

import numpy as np
import pytest
import torch
from torch import nn

from quintain.certify import SmoothedClassifier
from quintain.certify.noisy_votes import BATCH_ELEMENTS
from quintain.certify.smoothing_certificates import NoisyExamples, draw_votes
from quintain.certify.smoothing_evidence import RadiusTest
from quintain.core.errors import SettingError
from quintain.models import Classifier
from quintain.threats import L2
from tests.certify.smoothed_models import Counting, drained, halfspace

pytestmark = pytest.mark.rounding


def test_asked_radii_stop_the_noise_and_the_more_decisive_an_example_the_sooner():
    model, x = halfspace([1.0, 0.0], 0.2), torch.tensor([[0.95, 0.5], [0.6, 0.5], [0.21, 0.5], [0.45, 0.5]])
    smooth, y = SmoothedClassifier(model, 0.25), torch.ones(4, dtype=torch.long)
    outcome = smooth.certify(x, y, radii=[0.25], seed=1)
    assert outcome.radius is not None
    assert (outcome.radius > 0.25).tolist() == [True, True, False, False]
    assert (outcome.radius < x[:, 0].double() - 0.2).all()
    assert 5_000 < outcome.forwards.tolist()[3] <= 10_030
    assert (outcome.forwards[:3] < 500).all()
    assert outcome.abstained_radius is not None
    assert outcome.abstained_radius.tolist() == [0, 0, 0, 0.25]


def test_several_radii_are_decided_by_the_same_votes():
    model, x = halfspace([1.0, 0.0], 0.0), torch.tensor([[0.02, 0.5], [0.2, 0.5], [0.4, 0.5], [1.0, 0.5]])
    smooth, y = SmoothedClassifier(model, 0.25, noise_samples=2000), torch.ones(4, dtype=torch.long)
    radii = [0.5, 0.1, 0.3]
    outcome, again = (
        smooth.certify(x, y, radii=radii, seed=2),
        smooth.certify(x, y, L2(0.3), radii=[0.1, 0.5], seed=2),
    )
    assert outcome.radius is not None
    assert torch.equal(outcome.radius, again.radius)
    assert torch.equal(again.certified, outcome.radius > 0.3)
    for asked in radii:
        assert torch.equal(outcome.radius[[0, 1, 3]] > asked, x[[0, 1, 3], 0] > asked)
    with pytest.raises(SettingError, match="never be certified"):
        smooth.certify(x, y, radii=[0.1, 2.0])


@pytest.mark.parametrize("noise_samples", [200, 1000, 6_000_000])
@pytest.mark.parametrize("noise", ["gaussian", "uniform", "laplace"])
def test_the_largest_radius_that_may_be_asked_is_certified_where_all_samples_agree(noise, noise_samples):
    smooth = SmoothedClassifier(halfspace([1.0, 0.0], 0.2), 0.25, noise=noise, noise_samples=noise_samples)
    test = smooth._radius_test([smooth.max_certifiable_radius * (1 - 1e-12)])
    assert test.certifies(np.array([noise_samples]), noise_samples).all()
    with pytest.raises(SettingError, match="never be certified"):
        smooth.certify(
            torch.ones(1, 2), torch.ones(1, dtype=torch.long), radii=[smooth.max_certifiable_radius]
        )


def test_asked_radii_are_decided_for_each_example_by_itself():
    smooth = SmoothedClassifier(halfspace([1.0, 0.0], 0.4), 0.25, noise_samples=300)
    x, ids = torch.rand(6, 2) * 0.4 + 0.4, torch.tensor([5, 3, 9, 1, 0, 7])
    y, words = torch.ones(6, dtype=torch.long), {"radii": [0.05, 0.2], "seed": 4}
    whole = smooth.certify(x, y, ids=ids, **words)
    for rows in (torch.tensor([3, 0, 5, 1, 4, 2]), torch.tensor([0, 1]), torch.tensor([4])):
        part = smooth.certify(x[rows], y[rows], ids=ids[rows], **words)
        for name in ("margin", "radius", "forwards", "abstained_radius", "failed"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows])


def check_fresh_noise(count: int):
    """No noisy copy is seen twice: those that select the class do not count, and examples share none."""

    class Keeping(nn.Module):
        def forward(self, x):
            self.seen.put(x.clone())
            return torch.stack([x[:, 0] * 0, x[:, 0] * 0 + 1], 1)

    net = Keeping().eval()
    net.seen = SimpleQueue()
    noisy = NoisyExamples(
        Classifier(net), torch.full((count, 8), 0.5), torch.arange(count), 3, 0.25, torch.contiguous_format
    )
    draw_votes(
        noisy, np.ones(count, dtype=np.int64), 32, RadiusTest(0.25, (0.2,), 0.001, 500), lambda _: None
    )
    copies = torch.cat(drained(net.seen))
    assert len(copies) > 40 * count
    assert len(copies.unique(dim=0)) == len(copies), "each noisy copy to be fresh"


def test_each_noisy_copy_is_fresh():
    check_fresh_noise(5)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda noisy, _purpose: [torch.Generator().manual_seed(number) for number in noisy.ids.tolist()],
        lambda _noisy, purpose: [torch.Generator().manual_seed(len(purpose)) for _ in range(5)],
    ],
    ids=["samples counted are samples selected", "one stream for all examples"],
)
def test_mutant_noise_that_is_used_twice_is_noticed(monkeypatch, mutant):
    monkeypatch.setattr(NoisyExamples, "generators", mutant)
    with pytest.raises(AssertionError, match="to be fresh"):
        check_fresh_noise(5)


def test_examples_share_batches():
    net = Counting().eval()
    smooth = SmoothedClassifier(Classifier(net), 0.05, noise_samples=500)
    x = torch.full((40, 1, 8, 8), 0.9)
    outcome = smooth.certify(x, torch.zeros(40, dtype=torch.long), radii=[0.05])
    sizes = [size // 64 for size in drained(net.seen)]
    assert (outcome.radius > 0.05).all()
    assert max(sizes) * 64 <= BATCH_ELEMENTS
    # 2,048 copies fit into a batch: 40 examples are one batch a look, not 40.
    assert len(sizes) < 40 + 20
