import numpy as np
import pytest
import torch

from quintain.core.errors import DataError
from quintain.core.statistics import binomial_interval
from quintain.leakage.judges.identity import HITS, train_judge
from quintain.leakage.judges.judge_net import JudgeRecipe, altered_copies, judge_net
from tests.leakage.identity.people import pictures

PRIVATE, PUBLIC = 4, 8


def group(people, count, *, seed, first=0):
    data = pictures(people, count, seed=seed)
    x, y = data.batch(range(len(data)))
    return x, y + first


TRAINING = group(range(PRIVATE), 5, seed=1)
OTHERS = group(range(PRIVATE), 2, seed=2)
STRANGERS = group(range(50, 50 + PUBLIC), 4, seed=3, first=PRIVATE)


@pytest.fixture(scope="module")
def judge():
    return train_judge(
        TRAINING, OTHERS, STRANGERS, seed=0, train=JudgeRecipe(copies=1, epochs=150, learning_rate=3e-3)
    )


def test_the_judge_knows_people_by_other_pictures_and_says_on_how_many_it_was_tried(judge):
    assert judge.people == PRIVATE + PUBLIC
    assert judge.count == PRIVATE * 5 + PUBLIC * 2  # it learned two pictures each of all people
    assert judge.accuracy > 0.8


def test_training_pictures_are_hits_and_those_of_public_people_are_none(judge):
    y = torch.arange(PRIVATE)
    own = TRAINING[0][::5]
    scores = judge.score(own, y)
    assert scores.hits["rank 1"].sum() >= 3
    assert scores.hits["nearest training picture"].all()
    assert scores.hits["nearest mean picture"].all()
    assert np.isinf(scores.picture_psnr).all()
    assert (scores.private_distance < 0.01).all()
    assert (scores.nearest == np.arange(0, 20, 5)).all()
    foreign = judge.score(STRANGERS[0][::4][:PRIVATE], y)
    assert not foreign.hits["rank 1"].any()
    assert not foreign.hits["nearest mean picture"].any()
    assert (foreign.ranks > 1).all()
    assert (foreign.private_distance > 1).all()


def test_a_class_mean_is_told_from_a_training_picture(judge):
    means = torch.stack([TRAINING[0][TRAINING[1] == one].mean(0) for one in range(PRIVATE)])
    scores = judge.score(means, torch.arange(PRIVATE))
    assert (scores.mean_psnr > scores.picture_psnr + 20).all()


def test_each_measure_is_a_share_with_its_exact_interval_beside_the_best_baseline(judge):
    y = torch.arange(PRIVATE)
    own, foreign = TRAINING[0][::5], STRANGERS[0][::4][:PRIVATE]
    made = torch.cat([own[:2], foreign[2:]])
    judgments = judge.judge(made, y, {"nobody": foreign, "one": torch.cat([own[:1], foreign[1:]])})
    assert [one.measure for one in judgments] == [
        "rank 1 of 12", "top 5 of 12", "nearest training picture", "nearest mean picture"
    ]  # fmt: skip
    nearest = judgments[3]
    assert (nearest.value, nearest.baseline, nearest.baseline_name) == (0.5, 0.25, "one")
    assert (nearest.low, nearest.high) == binomial_interval(2, 4, 0.95)
    assert len(nearest.per_example) == PRIVATE
    assert len(judgments) == len(HITS)


def test_equal_logits_count_against_the_picture(judge):
    for parameter in judge.net.net[-1].parameters():
        assert parameter.requires_grad  # the judge below is another one
    net = judge_net((1, 8, 8), 12, seed=0)
    with torch.no_grad():
        net[-1].weight.zero_()
        net[-1].bias.zero_()
    blind = train_judge(
        TRAINING, OTHERS, STRANGERS, seed=0, train=lambda x, y, seed: type(judge.net)(net, 12)
    )
    assert (blind.score(TRAINING[0][::5], torch.arange(PRIVATE)).ranks == 12).all()


def test_people_without_pictures_and_pictures_of_other_shapes_are_refused(judge):
    some = OTHERS[1] > 0
    with pytest.raises(DataError, match=r"other pictures of people \[1, 2, 3\]; expected \[0, 1, 2, 3\]"):
        train_judge(TRAINING, (OTHERS[0][some], OTHERS[1][some]), STRANGERS, seed=0, train=JudgeRecipe())
    with pytest.raises(DataError, match="one a person"):
        judge.score(TRAINING[0][:2], torch.arange(3))
    with pytest.raises(DataError, match="no baseline; expected at least one"):
        judge.judge(TRAINING[0][::5], torch.arange(PRIVATE), {})


def test_altered_copies_begin_with_the_pictures_and_stay_in_the_box_of_data():
    x = torch.rand(3, 1, 9, 7, generator=torch.Generator().manual_seed(0))
    made = altered_copies(x, 3, seed=1)
    assert made.shape == (9, 1, 9, 7)
    assert torch.equal(made[:3], x)
    assert ((made >= 0) & (made <= 1)).all()
    assert torch.equal(made, altered_copies(x, 3, seed=1))
    assert not torch.equal(made[3:6], made[6:])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 57, 46), (1, 130, 91), (7,)])
def test_a_judge_takes_pictures_of_any_size_and_vectors(shape):
    assert judge_net(shape, 5, seed=0)(torch.rand(2, *shape)).shape == (2, 5)
