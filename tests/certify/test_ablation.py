"""The ablated classifier: its certificates against every table of votes and every sticker, and its votes."""

from itertools import product

import pytest
import torch
from torch import nn

from quintain.certify import AblatedClassifier, band_votes
from quintain.certify.ablation import Ablation
from quintain.certify.band_votes import Bands, smallest_gap
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.harden import AblationTraining
from quintain.models import Classifier
from quintain.models.nets import initialize
from quintain.testing import check_stickers_break_nothing_certified, random_inputs
from quintain.threats import Linf, Mask, Patch
from quintain.training.objective import StepContext

CASES = (
    ("column", 1, (3, 6), 1),
    ("column", 2, (3, 8), 2),
    ("column", 5, (2, 5), 1),
    ("block", 1, (3, 4), 2),
)
"""Shape of bands, their width, size of images, side of the sticker."""


def sticker(side, size):
    return Patch(side**2 / (size[0] * size[1]))


def tables(count, number=30):
    """Random votes of three classes, dense and sparse, of which one class has most."""
    rng = torch.Generator().manual_seed(count)
    power = torch.tensor([0.2, 2.0, 4.0])
    powers = torch.stack([power.roll(number) for number in range(number)])[:, None]
    return torch.rand(number, count, 3, generator=rng) < torch.rand(number, 1, 3, generator=rng) ** powers


def wins_always(votes, y, shape, width, size, side):
    """Whether y wins whatever the touched bands vote, at every place, by all that they may vote."""
    bands = Bands.of(torch.Size((1, *size)), shape, width)
    shown = bands.visible(torch.arange(bands.count))
    contents = torch.tensor(list(product((False, True), repeat=votes.shape[1])))
    for top, left in product(range(size[0] - side + 1), range(size[1] - side + 1)):
        touched = shown[:, top : top + side, left : left + side].flatten(1).any(1)
        rest = votes[~touched].sum(0)
        # All that one band may vote, as many times as there are bands, without order: sums suffice.
        reached = {tuple(rest.tolist())}
        for _ in range(int(touched.sum())):
            reached = {
                tuple(a + b for a, b in zip(one, more, strict=True))
                for one in reached
                for more in contents.long().tolist()
            }
        if any(max(range(len(one)), key=lambda k: (one[k], -k)) != y for one in reached):
            return False
    return True


def require_exact(cases=CASES):
    """Certified are exactly the tables in which the label wins whatever touched bands vote."""
    for shape, width, size, side in cases:
        bands, x = Bands.of(torch.Size((1, *size)), shape, width), torch.zeros(1, 1, *size)
        found = []
        for votes in tables(bands.count):
            for y in range(votes.shape[1]):
                gap = smallest_gap(votes[None], torch.tensor([y]), bands, sticker(side, size), x)
                found.append(bool(gap > 0))
                assert found[-1] == wins_always(votes, y, shape, width, size, side)
        assert any(found) == (width < 5)


def test_what_is_certified_is_exactly_what_no_vote_of_touched_bands_changes():
    require_exact()


def one_band_less(self, places, size, axis):
    first, count = TOUCHING(self, places, size, axis)
    return first, max(1, count - 1)


def runner_up_only(votes, y, bands, threat, x):
    """The two classes with most votes are compared, and the higher of tied ones as the runner-up."""
    counts = votes.sum(1)
    _, touched = band_votes.remaining_votes(votes, bands, threat, x)
    second = counts.scatter(1, y[:, None], -1).argmax(1)
    tied = counts.shape[1] - 1 - counts.scatter(1, y[:, None], -1).flip(1).argmax(1)
    gap = counts.gather(1, y[:, None]) - counts.gather(1, second[:, None])
    return gap[:, 0] - 2 * touched + (y < tied).double() / 2


def every_tie_won(votes, y, bands, threat, x):
    return SMALLEST_GAP(votes, y, bands, threat, x) + 0.5


TOUCHING, SMALLEST_GAP = Bands.overlap_range, smallest_gap


@pytest.mark.parametrize("bug", [runner_up_only, every_tie_won])
def test_a_wrong_comparison_of_counts_is_caught(bug, monkeypatch):
    monkeypatch.setitem(globals(), "smallest_gap", bug)
    with pytest.raises(AssertionError):
        require_exact()


def test_a_band_that_is_forgotten_is_caught(monkeypatch):
    monkeypatch.setattr(Bands, "overlap_range", one_band_less)
    with pytest.raises(AssertionError):
        require_exact()
    with pytest.raises(AssertionError, match="under a sticker of side"):
        check_stickers_break_nothing_certified(Ablation(band_width=1))


@pytest.mark.parametrize(
    ("shape", "width", "size"), [("column", 3, (4, 7)), ("block", 2, (5, 4)), ("block", 9, (3, 4))]
)
def test_touched_bands_are_those_that_show_a_pixel_of_the_sticker(shape, width, size):
    bands, x = Bands.of(torch.Size((1, *size)), shape, width), torch.zeros(1, 1, *size)
    shown = bands.visible(torch.arange(bands.count))
    for side in range(1, min(size) + 1):
        votes = torch.eye(bands.count).bool()[None]  # band b votes for class b alone
        left, count = band_votes.remaining_votes(votes, bands, sticker(side, size), x)
        expected = set()
        for top, at in product(range(size[0] - side + 1), range(size[1] - side + 1)):
            touched = shown[:, top : top + side, at : at + side].flatten(1).any(1)
            expected.add(tuple((~touched).tolist()))
            assert int(touched.sum()) == count
        assert {tuple(one) for one in (left[0] > 0).tolist()} == expected


def test_a_sticker_of_one_place_or_shape_touches_what_shows_it():
    bands, x = Bands.of(torch.Size((1, 6, 6)), "column", 2), torch.zeros(1, 1, 6, 6)
    votes = torch.eye(6).bool()[None]
    left, count = band_votes.remaining_votes(votes, bands, Patch(4 / 36, (0.0, 0.0)), x)
    assert (count, left[0].tolist()) == (3, [[0, 0, 1, 1, 1, 0]])  # bands 5, 0 and 1 show columns 0 and 1
    frame = Patch(shape="border")
    assert band_votes.remaining_votes(votes, bands, frame, x)[1] == 6
    assert band_votes.remaining_votes(votes, bands, Mask("border", 0.5), x)[1] == 6


def test_at_least_as_much_is_certified_as_by_twice_the_touched_bands():
    bands, x = Bands.of(torch.Size((1, 4, 9)), "column", 2), torch.zeros(1, 1, 4, 9)
    votes, y, classes = tables(9, number=400), torch.zeros(400, dtype=torch.long), torch.arange(3)
    gap = votes.sum(1)[:, :1] - votes.sum(1) - 2 * 2 + (y[:, None] < classes) / 2
    published = gap[:, 1:].amin(1) > 0
    ours = smallest_gap(votes, y, bands, sticker(1, (4, 9)), x) > 0
    assert published.any()
    assert not (published & ~ours).any()
    assert (ours & ~published).any()


@pytest.fixture
def ablated():
    net = initialize(nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)), 3).eval()
    with torch.no_grad():
        # the same weights at each column, so that bands of like columns vote alike
        net[2].weight.copy_(net[2].weight.view(3, 4, 5)[:, :, :1].expand(3, 4, 5).flatten(1) * 20)
    return AblatedClassifier(Classifier(net), band_width=1, threshold=0.4)


def test_no_small_sticker_breaks_a_certified_image(ablated):
    rng = torch.Generator().manual_seed(1)
    rows, noise = torch.rand(60, 1, 4, 1, generator=rng), torch.rand(60, 1, 4, 5, generator=rng)
    x = ((rows > 0.5) ^ (noise > 0.9)).float()
    y = ablated.predict(x)
    outcome = ablated.certify(x, y, sticker(1, (4, 5)))
    assert 0 < int(outcome.certified.sum()) < 60
    assert torch.equal(outcome.certified, outcome.margin > 0)
    for row, column, color in product(range(4), range(5), (0.0, 0.3, 0.6, 1.0)):
        z = x.clone()
        z[:, :, row, column] = color
        assert (ablated.predict(z) == y)[outcome.certified].all()


def test_logits_are_votes_for_less_those_against_and_give_gradients(ablated):
    x = random_inputs(3, 1, 4, 5, seed=2).float().requires_grad_()
    logits = ablated(x)
    assert torch.allclose((logits.detach() + 1) * 2.5, ablated.votes(x.detach()).sum(1).float())
    assert torch.autograd.grad(logits[:, 0].sum(), x)[0].abs().sum() > 0
    assert torch.equal(ablated.predict(x), logits.argmax(1))


def test_without_a_change_the_prediction_alone_decides(ablated):
    x = random_inputs(8, 1, 4, 5, seed=4).float()
    y = ablated.predict(x)
    eps = torch.zeros(8)
    assert ablated.certify(x, y, Patch(1.0), eps=eps).certified.all()
    assert not ablated.certify(x, (y + 1) % 3, Patch(1.0), eps=eps).certified.any()
    assert not ablated.certify(x, y, Patch(1.0)).certified.any()


class OfTheBatch(nn.Module):
    """Answers by the mean of its batch."""

    def forward(self, x):
        return torch.stack([x.mean().expand(len(x)), x.flatten(1).mean(1)], 1)


def test_what_cannot_be_certified_is_refused_by_name(ablated):
    x, y = random_inputs(2, 1, 4, 5, seed=5).float(), torch.zeros(2, dtype=torch.long)
    with pytest.raises(SettingError, match="stickers"):
        ablated.certify(x, y, Linf(0.1))
    with pytest.raises(DataError, match="images"):
        ablated(x.flatten(1))
    for image in (x, torch.full_like(x, 0.5)):
        with pytest.raises(ModelError, match="others of its batch change"):
            AblatedClassifier(Classifier(OfTheBatch().eval())).certify(image, y, sticker(1, (4, 5)))
    with pytest.raises(ModelError, match="expected a model"):
        AblatedClassifier(nn.Linear(2, 2))
    for settings in ({"band_width": 0}, {"band_shape": "row"}, {"threshold": 1.0}):
        with pytest.raises(SettingError, match="expected"):
            AblatedClassifier(ablated.base_classifier, **settings)


def test_a_band_without_an_answer_votes_for_nothing_and_none_is_certified(ablated):
    class Odd(nn.Module):
        def forward(self, x):
            logits = torch.stack([x.flatten(1).amax(1) - 0.5, torch.zeros(len(x))], 1) * 9
            return torch.where(x[:, 0, :1, 0] >= 0, torch.nan, logits)  # what shows the first pixel

    odd = AblatedClassifier(Classifier(Odd().eval()), band_width=1)
    x, y = torch.ones(1, 1, 2, 5), torch.zeros(1, dtype=torch.long)
    assert odd(x).tolist() == [pytest.approx([0.6, -1.0])]
    outcome = odd.certify(x, y, sticker(1, (2, 5)))
    assert (outcome.failed.tolist(), outcome.certified.tolist()) == ([True], [False])


def test_vectors_have_no_bands():
    with pytest.raises(DataError, match=r"inputs of shape \(8, 16\); expected images"):
        Bands.of(torch.Size((8, 16)), "column", 4)
    loss = AblationTraining(Patch(area=0.03)).objective()
    context = StepContext(
        step=0, total_steps=1, epoch=0, total_epochs=1, seed=0, ids=torch.arange(8), batch_size=8
    )
    with pytest.raises(DataError, match="expected images"):
        loss(nn.Linear(16, 2), torch.rand(8, 16), torch.zeros(8, dtype=torch.long), context)
