"""One data set cut into the parts of several sites, as unlike each other as asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import NDArray

from quintain.core.errors import SettingError
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.federated.secagg.encoding import check_types

DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Split:
    """A data set at several sites.

    Args:
        sites: Name to data; every example is at exactly one site.
        alpha: How alike they are; None for equal label shares and uneven sizes.
        seed: It was drawn from.
        draws: How many were tried until one had the asked-for minima.
    """

    sites: Mapping[str, Dataset]
    alpha: float | None
    seed: int
    draws: int

    def counts(self) -> dict[str, tuple[int, ...]]:
        """Examples of each class, by site."""
        return {name: tuple(np.bincount(data.labels, minlength=data.classes).tolist()) for name, data in self.sites.items()}


def split(
    data: Dataset,
    sites: int = 5,
    *,
    alpha: float | None = 1.0,
    seed: int = 0,
    least: int = 32,
    least_per_class: int = 5,
    prefix: str = "hospital",
) -> Split:
    r"""Cut a data set into sites.

    Each class c is shared out as :math:`p_c \sim \mathrm{Dirichlet}(\alpha, \dots, \alpha)` over the sites: a small alpha makes them
    unlike in labels and in size, a large one alike. Without alpha, all sites have the same mix and sizes in proportion 1 : 2 : ... : sites.
    A draw in which a site falls below the minima is thrown away whole.

    Args:
        data: What to cut.
        sites: How many parts.
        alpha: Of the Dirichlet law; None for uneven sizes alone.
        seed: Of the draw.
        least: Fewest examples at a site.
        least_per_class: Fewest of each class at a site.
        prefix: Sites are called ``hospital-1`` and so on.

    Raises:
        SettingError: If a setting is out of range or of another type, or no draw has the minima.

    Source: Hsu et al., 2019, arXiv:1909.06335.
    """
    check_types(Dataset, data=data)
    check_types(Integral, sites=sites, seed=seed, least=least, least_per_class=least_per_class)
    check_types(Real, **({} if alpha is None else {"alpha": alpha}))
    check_types(str, prefix=prefix)
    if sites < 2 or (alpha is not None and not 0 < alpha < np.inf):
        raise SettingError(f"sites = {sites}, alpha = {alpha}; expected at least two sites and a positive alpha, or None")
    if sites * least > len(data):
        raise SettingError(f"{len(data)} examples for {sites} sites of at least {least}; give more data or fewer sites")
    for draw in range(DRAWS):
        rng = np.random.default_rng(derive_seed(seed, "sites", draw))
        parts = _draw(data.labels, data.classes, sites, alpha, rng)
        counts = np.array([np.bincount(data.labels[part], minlength=data.classes) for part in parts])
        if counts.sum(1).min() >= least and counts.min() >= least_per_class:
            named = {f"{prefix}-{k + 1}": data.subset(part, name=f"{data.name}/{prefix}-{k + 1}") for k, part in enumerate(parts)}
            return Split(named, alpha, seed, draw + 1)
        if alpha is None:
            break
    raise SettingError(
        f"no split of {len(data)} examples over {sites} sites at alpha = {alpha} has {least} a site and {least_per_class} of each class; "
        "take fewer sites or more data, raise alpha, or lower the minima"
    )


def _draw(labels: NDArray[np.int64], classes: int, sites: int, alpha: float | None, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    parts: list[list[NDArray[np.int64]]] = [[] for _ in range(sites)]
    sizes = np.arange(1, sites + 1) / (sites * (sites + 1) / 2)
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        shares = sizes if alpha is None else rng.dirichlet(np.full(sites, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(np.int64)
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
