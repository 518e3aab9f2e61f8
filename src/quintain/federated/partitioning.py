"""Partition of one data set over several sites, with a given heterogeneity."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.federated.secagg.setting_types import check_types

MAX_ATTEMPTS = 1000


@dataclass(frozen=True, slots=True)
class Partition:
    """A data set partitioned over several sites.

    Args:
        sites: Name to data; every example is at exactly one site.
        alpha: How alike they are; None for equal class proportions and uneven sizes.
        seed: From which it was drawn.
        attempts: How many partitions were drawn until one had the minima.
    """

    sites: Mapping[str, Dataset]
    alpha: float | None
    seed: int
    attempts: int

    def class_counts(self) -> dict[str, tuple[int, ...]]:
        """Count the examples of each class, by site."""
        return {
            name: tuple(np.bincount(data.labels, minlength=data.num_classes).tolist())
            for name, data in self.sites.items()
        }


def partition(
    data: Dataset,
    num_sites: int = 5,
    *,
    alpha: float | None = 1.0,
    seed: int = 0,
    min_examples: int = 32,
    min_per_class: int = 5,
    prefix: str = "hospital",
) -> Partition:
    r"""Partition a data set over sites.

    Each class c is divided in proportions :math:`p_c \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha)` over the
    sites: a small alpha makes them unlike in labels and in size, a large one alike. Without alpha, all sites
    have the same proportions of classes, and sizes of 1 : 2 : ... : num_sites. If a site gets fewer than
    ``min_examples``, or fewer than ``min_per_class`` of a class, the whole partition is drawn again.

    Args:
        data: The data set.
        num_sites: Number of sites.
        alpha: Of the Dirichlet distribution; None for uneven sizes alone.
        seed: Of the partition.
        min_examples: Fewest examples at a site.
        min_per_class: Fewest at a site of each class that occurs.
        prefix: Sites are called ``hospital-1`` and so on.

    Raises:
        SettingError: If a setting is out of range or of another type, or no attempt has the minima.

    Source: Hsu et al., 2019, arXiv:1909.06335.
    """
    check_types(Dataset, data=data)
    check_types(
        Integral, num_sites=num_sites, seed=seed, min_examples=min_examples, min_per_class=min_per_class
    )
    check_types(Real, **({} if alpha is None else {"alpha": alpha}))
    check_types(str, prefix=prefix)
    if num_sites < 2 or (alpha is not None and not 0 < alpha < np.inf):
        raise SettingError(
            f"num_sites = {num_sites}, alpha = {alpha}; expected at least two sites and a positive alpha, or "
            "None"
        )
    if num_sites * min_examples > len(data):
        most = len(data) // max(min_examples, 1)
        remedy = (
            f"at most {most} sites (--sites of quintain federate, --clients of quintain drill)"
            if most >= 2
            else "enough for two"
        )
        raise SettingError(
            f"{len(data)} examples for {num_sites} sites of at least {min_examples}; give more data, or "
            f"{remedy}"
        )
    for attempt in range(MAX_ATTEMPTS):
        rng = np.random.default_rng(derive_seed(seed, "sites", attempt))
        parts = _assign(data.labels, data.num_classes, num_sites, alpha, rng)
        counts = np.array([np.bincount(data.labels[part], minlength=data.num_classes) for part in parts])
        occurring = counts[:, counts.any(0)]
        if counts.sum(1).min() >= min_examples and occurring.min() >= min_per_class:
            named = {
                f"{prefix}-{k + 1}": data.subset(part, name=f"{data.name}/{prefix}-{k + 1}")
                for k, part in enumerate(parts)
            }
            return Partition(named, alpha, seed, attempt + 1)
        if alpha is None:
            break
    raise SettingError(
        f"no partition of {len(data)} examples over {num_sites} sites at alpha = {alpha} has {min_examples} "
        f"a site and {min_per_class} of each class; take fewer sites (--sites of quintain federate, "
        "--clients of quintain drill) or more data; in Python, a larger alpha or lower minima do as well"
    )


def _assign(
    labels: NDArray[np.int64], num_classes: int, num_sites: int, alpha: float | None, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(num_sites)]
    sizes = np.arange(1, num_sites + 1) / (num_sites * (num_sites + 1) / 2)
    # Label-Dirichlet (Hsu et al., 2019): each class is permuted and cut at the cumulative proportions.
    for label in range(num_classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        proportions = sizes if alpha is None else rng.dirichlet(np.full(num_sites, alpha))
        cuts = np.rint(np.cumsum(proportions)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
