"""Pattern canaries: random pixels with a random label, which nothing but their own record can teach."""

import numpy as np
import torch

from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.canary_kinds.examples import CanaryExamples, random_labels, rows_left_out


def pattern_canaries(data: Dataset, count: int, seed: int) -> CanaryExamples:
    """Make canaries of independent uniform numbers in [0, 1], with labels drawn uniformly.

    No two are alike and none is like a record, so that a model remembers each by itself; where inputs are
    checked or cleaned before training, they may be thrown out.

    Args:
        data: The training records, of which ``count`` are left out.
        count: m.
        seed: Of patterns, labels and rows.

    Source: Carlini et al., 2019, arXiv:1802.08232 (canaries of random tokens).
    """
    rng = np.random.default_rng(derive_seed(seed, "canaries", "patterns"))
    x = torch.from_numpy(rng.random((count, *data.shape), dtype=np.float32))
    y = torch.from_numpy(random_labels(data, count, seed))
    return CanaryExamples(x, y, rows_left_out(data, count, seed))
