"""One training of the user's with canaries among its records, each by a fair coin, and what the model shows.

The training is a black box: nothing of it is watched but the model that it returns.
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.black_box import BlackBoxTraining
from quintain.leakage.black_box_outputs import count_correct
from quintain.leakage.canary_kinds import MakeCanaries
from quintain.leakage.canary_rows import draw_inclusion
from quintain.leakage.canary_scores import canary_scores
from quintain.results.class_counts import ClassCounts

Adjacency = Literal["add/remove", "replace"]

SEED_LIMIT = 1 << 31
"""Seeds given to a training are below this, as NumPy, PyTorch and JAX take them."""

MAX_FIT_RECORDS = 1000
"""How many records a trained model is queried on, at most, to see whether it has learned anything."""


@dataclass(frozen=True, slots=True)
class CanaryScores:
    """What one training showed of its canaries.

    Args:
        scores: Of each canary (m,), larger where it was more likely trained on.
        included: Whether it was (m,).
        training_seconds, scoring_seconds: Processor time of the training, and of all that the audit adds.
        fit: How many of the records that it was trained on the model predicts right, canaries apart.
    """

    scores: NDArray[np.float64]
    included: NDArray[np.bool_]
    training_seconds: float
    scoring_seconds: float
    fit: ClassCounts


def train_black_box(
    training: BlackBoxTraining,
    data: Dataset,
    make_canaries: MakeCanaries,
    *,
    canaries: int = 500,
    adjacency: Adjacency = "add/remove",
    seed: int,
) -> CanaryScores:
    """Train once on a data set in which canaries take the place of as many records, and score all of them.

    The model is queried on some of the records, too, to see whether it has learned anything of them.

    All records are in memory, in random order, as the training gets them.

    Args:
        training: The training.
        data: The records.
        make_canaries: The kind of canaries.
        canaries: m, each with a coin of its own.
        adjacency: What an excluded canary leaves: nothing (``add/remove``), or the record whose place it
            takes (``replace``), so that the number of records follows no coin.
        seed: Of canaries, coins, order, and of the seed that the training is given.

    Raises:
        SettingError: If there are not more records than canaries.
        ModelError: If the training fails, or its model does not fit the data.
    """
    clock = time.process_time()
    planted = make_canaries(data, canaries, derive_seed(seed, "black box"))
    included = draw_inclusion(canaries, seed=derive_seed(seed, "black box"))
    kept = torch.from_numpy(included)
    others = np.setdiff1d(np.arange(len(data)), planted.rows)
    if adjacency == "replace":
        others = np.concatenate([others, planted.rows[~included]])
    own, labels = data.batch(others)
    x, y = torch.cat([own, planted.x[kept]]), torch.cat([labels, planted.y[kept]])
    rng = np.random.default_rng(derive_seed(seed, "black box", "order"))
    order = torch.from_numpy(rng.permutation(len(x)))
    begun = time.process_time()
    model = training(x[order], y[order], derive_seed(seed, "black box", "training") % SEED_LIMIT)
    ended = time.process_time()
    scores = canary_scores(model, planted, num_classes=data.num_classes, name=training.name)
    fit_rng = np.random.default_rng(derive_seed(seed, "black box", "fit"))
    some = fit_rng.permutation(len(own))[:MAX_FIT_RECORDS]
    fit = count_correct(model, own[some], labels[some], num_classes=data.num_classes, name=training.name)
    done = time.process_time()
    return CanaryScores(scores, included, ended - begun, (begun - clock) + (done - ended), fit)
