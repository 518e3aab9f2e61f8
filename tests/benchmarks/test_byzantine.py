"""What a malicious site does to its own data."""

import numpy as np
import torch

from benchmarks.federated.byzantine import flip_labels, with_sticker
from quintain.data.dataset import from_arrays


def test_flipped_labels_and_stickers_change_what_they_say_and_nothing_else():
    rng = np.random.default_rng(0)
    images = from_arrays(
        rng.random((6, 1, 8, 8), np.float32) / 2, np.array([0, 1, 2, 0, 1, 2]), num_classes=3
    )
    x, y = images.tensors
    flipped_x, flipped_y = flip_labels(images).tensors
    assert torch.equal(x, flipped_x)
    assert flipped_y.tolist() == [2, 1, 0, 2, 1, 0]
    stuck_x, stuck_y = with_sticker(images, target=1, fraction=0.5).tensors
    assert stuck_y.tolist() == [1, 1, 1, 0, 1, 2]
    assert torch.equal(images.tensors[0], x)
    assert torch.equal(images.tensors[1], y)
    assert stuck_x[:3, 0, :4, :4].eq(1).all()
    stuck_x[:3, 0, :4, :4] = x[:3, 0, :4, :4]
    assert torch.equal(stuck_x, x)
