"""Blank canaries: examples of one value each, with a random label."""

import numpy as np
import torch

from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.canary_kinds.examples import CanaryExamples, random_labels, rows_left_out


def blank_canaries(data: Dataset, count: int, seed: int) -> CanaryExamples:
    """Make canaries that are constant, with labels drawn uniformly.

    An image has one value a channel, a vector one in all, uniform in [0, 1]. They are alike, so that a model
    remembers few of many: one or a few of them are what this kind is for, and 500 show less than patterns do.

    Args:
        data: The training records, of which ``count`` are left out.
        count: m.
        seed: Of values, labels and rows.

    Source: Nasr et al., 2023, arXiv:2302.07956 (blank examples as canaries in the input).
    """
    rng = np.random.default_rng(derive_seed(seed, "canaries", "values"))
    one_each = (data.shape[0], *[1] * (len(data.shape) - 1)) if len(data.shape) == 3 else (1,)
    values = torch.from_numpy(rng.random((count, *one_each), dtype=np.float32))
    x = values.expand(count, *data.shape).clone()
    y = torch.from_numpy(random_labels(data, count, seed))
    return CanaryExamples(x, y, rows_left_out(data, count, seed))
