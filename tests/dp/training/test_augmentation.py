"""Pictures moved at random, against a loop over single ones."""

import torch

from quintain.dp.randomness.stream import RandomStream
from quintain.dp.training.augmentation import random_shift


def test_each_picture_is_a_window_of_itself_with_its_edge_repeated() -> None:
    x = torch.rand(7, 2, 5, 6)
    moved = random_shift(x, 2, RandomStream.from_seed(0))
    words = RandomStream.from_seed(0).words(14) % 5
    for i in range(7):
        down, right = int(words[i]) - 2, int(words[7 + i]) - 2
        rows = (torch.arange(5) + down).clamp(0, 4)
        columns = (torch.arange(6) + right).clamp(0, 5)
        assert torch.equal(moved[i], x[i][:, rows][:, :, columns])


def test_every_place_is_as_likely() -> None:
    x = torch.zeros(9000, 1, 3, 3)
    x[:, :, 1, 1] = 1
    places = random_shift(x, 1, RandomStream.from_seed(1)).flatten(1).argmax(1)
    counts = torch.bincount(places, minlength=9).double()
    assert ((counts - 1000).square() / 1000).sum() < 37.4  # chi-square, 8 degrees, p = 1e-5


def test_nothing_is_drawn_where_nothing_moves() -> None:
    stream = RandomStream.from_seed(0)
    x = torch.rand(3, 1, 4, 4)
    assert random_shift(x, 0, stream) is x
    assert len(random_shift(x[:0], 2, stream)) == 0
    assert (stream.words(4) == RandomStream.from_seed(0).words(4)).all()
