"""Examples that two data sets share, and those that are nearly the same in both."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quintain.data.dataset import READ_BATCH_SIZE, Dataset
from quintain.data.equal_examples import example_hashes, first_positions
from quintain.evaluate.leaks.inputs import SharedExamplesError

MAX_DUPLICATE_DISTANCE = 0.02
"""Root mean square difference below which two examples are said to be nearly the same."""


MAX_CHANCE = 0.01
"""Probability of a difference by chance, below which it is said."""

MIN_OTHERS_PER_SHARED = 10
"""More than one in so many examples that are in both data sets are refused; fewer are left out."""


def first_of_each(data: Dataset) -> NDArray[np.int64]:
    """Return the positions of the examples whose values no earlier one has."""
    return np.array(list(first_positions(example_hashes(data)).values()), dtype=np.int64)


def leave_out_shared(members: Dataset, others: Dataset) -> Dataset:
    """Return the other examples without those that are also members, whatever their labels.

    Raises:
        SharedExamplesError: If more than one in ten is a member, or none is left: these are then no others.
    """
    known = first_positions(example_hashes(members))
    found = example_hashes(others)
    shared = [(known[one], position) for position, one in enumerate(found) if one in known]
    if len(shared) * MIN_OTHERS_PER_SHARED > len(others):
        raise SharedExamplesError(
            f"{len(shared)} of {len(others)} examples of {others.name} are also in {members.name}, the first "
            f"as example {shared[0][1]} and {shared[0][0]}; expected examples that the target never saw"
        )
    if not shared:
        return others
    kept = [position for position, one in enumerate(found) if one not in known]
    return others.subset(np.array(kept), name=others.name)


def near_duplicates(members: Dataset, others: Dataset) -> tuple[str, ...]:
    """Return a sentence on members that have nearly the same example among the others, if there are some."""
    features = int(np.prod(members.shape))
    known = torch.cat([x.flatten(1) for x, _, _ in others.batches(READ_BATCH_SIZE)]).double()
    near = sum(
        int(
            (
                _squared_distances(x.flatten(1).double(), known).amin(1)
                < MAX_DUPLICATE_DISTANCE**2 * features
            ).sum()
        )
        for x, _, _ in members.batches(READ_BATCH_SIZE)
    )
    if not near:
        return ()
    return (
        f"{near} of {len(members)} members have nearly the same example among the others: they may show one "
        "person, and count as different here",
    )


def class_shares(members: Dataset, others: Dataset) -> tuple[str, ...]:
    """Return a sentence if members and others differ in their shares of classes beyond chance (at 1 %).

    They then come from different populations, and whoever never saw the model tells them, too.
    """
    from scipy.stats import chi2_contingency

    counts = np.stack([np.bincount(data.labels, minlength=members.num_classes) for data in (members, others)])
    counts = counts[:, counts.sum(0) > 0]
    if counts.shape[1] < 2 or chi2_contingency(counts).pvalue > MAX_CHANCE:
        return ()
    shares = counts / counts.sum(1, keepdims=True)
    advantage = np.abs(shares[0] - shares[1]).sum() / 2
    return (
        "members and others differ in their shares of classes: a guess by the class alone, without the "
        f"model, has an advantage of {advantage:.2f}",
    )


def _squared_distances(x: Tensor, z: Tensor) -> Tensor:
    """Return the squared distances (B, N) of rows."""
    return x.square().sum(1, keepdim=True) + z.square().sum(1) - 2 * x @ z.T
