"""Mislabeled canaries: natural examples with a wrong label, which only their own record can teach."""

import numpy as np
import torch

from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.canary_kinds.examples import CanaryExamples, rows_left_out


def mislabeled_canaries(data: Dataset, count: int, seed: int) -> CanaryExamples:
    """Make canaries of records of the data, each with one of the wrong labels, drawn uniformly.

    The same records with their right labels are left out: a model that was not trained on a canary has not
    seen its image at all. Every check of inputs lets them pass, and an outlier among the labels is what a
    model remembers most.

    Args:
        data: The training records.
        count: m.
        seed: Of the records and their labels.

    Source: Steinke, Nasr and Jagielski, 2023, arXiv:2305.08846, section 6 (black-box audits); Aerni, Zhang
    and Tramer, 2024, arXiv:2404.17399 (mislabeled examples as the worst of natural ones).
    """
    rows = rows_left_out(data, count, seed)
    x, y = data.batch(rows)
    # The right label plus 1 .. K - 1, modulo K, is a wrong one.
    rng = np.random.default_rng(derive_seed(seed, "canaries", "labels"))
    wrong = rng.integers(1, data.num_classes, count)
    return CanaryExamples(x, (y + torch.from_numpy(wrong)) % data.num_classes, rows)
