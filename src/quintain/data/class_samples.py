"""Draw examples so that each class has some, and say what a draw means for the classes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from quintain.data.dataset import Dataset

MAX_NAMED = 5
"""So many classes are named; of others it is said how many there are."""


def sample_each_class(data: Dataset, count: int, *, seed: int) -> Dataset:
    r"""Draw ``count`` examples as ``Dataset.sample`` does, or by class where that leaves a class without any.

    By class, each gets one example, and what is left of its part in proportion: of class c with N_c of N
    examples,

    .. math:: n_c \approx 1 + (n - K) \frac{\max(n N_c / N - 1, 0)}{\sum_k \max(n N_k / N - 1, 0)}.

    Classes are then as frequent as in all examples, up to what ``class_frequency_distance`` returns; a
    binomial interval of an accuracy is as wide as before, though a draw by class varies less (Hoeffding,
    1956). Fewer examples than classes are drawn as ``Dataset.sample`` does.

    Args:
        data: All examples.
        count: How many to draw; 0, or a number above theirs, gives all.
        seed: Of the draw.
    """
    drawn = data.sample(count, seed=seed)
    if not missing_classes(data, drawn) or len(drawn) < len(np.unique(data.labels)):
        return drawn
    order = np.random.default_rng(seed).permutation(len(data))
    sizes = _sizes(np.bincount(data.labels, minlength=data.num_classes), len(drawn))
    kept = [order[data.labels[order] == label][:size] for label, size in enumerate(sizes)]
    return data.subset(np.sort(np.concatenate(kept)))


def missing_classes(data: Dataset, drawn: Dataset) -> list[str]:
    """Return the names of the classes of ``data`` that have no example among those that were drawn."""
    return [data.class_names[label] for label in np.setdiff1d(data.labels, drawn.labels)]


def class_frequency_distance(data: Dataset, drawn: Dataset) -> float:
    """Return the total variation of both class frequencies: the most by which they change an accuracy."""
    both = [np.bincount(one.labels, minlength=data.num_classes) / len(one) for one in (data, drawn)]
    return float(np.abs(both[0] - both[1]).sum() / 2)


def missing_class_notes(data: Dataset, drawn: Dataset, *, by_number: bool = False) -> tuple[str, ...]:
    """Say which classes have no example among those that were drawn.

    Args:
        data: All examples.
        drawn: Some of them.
        by_number: Say their numbers, where names are private.
    """
    numbers = [str(label) for label in np.setdiff1d(data.labels, drawn.labels)]
    missing = numbers if by_number else missing_classes(data, drawn)
    if not missing:
        return ()
    return (
        f"no example of {name_classes(missing)} among these {len(drawn):,} of {len(data):,}: nothing here is "
        f"about {'it' if len(missing) == 1 else 'them'}; take more examples",
    )


def name_classes(names: Sequence[str]) -> str:
    """Return ``class a``, or ``classes a, b and 3 more``."""
    classes = f"class{'es' * (len(names) > 1)} {', '.join(names[:MAX_NAMED])}"
    return f"{classes} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else classes


def sample_notes(data: Dataset, drawn: Dataset, *, seed: int) -> tuple[str, ...]:
    """Say which classes ``sample_each_class`` left without an example, or that it drew by class.

    Args:
        data: All examples.
        drawn: Those that were drawn of them.
        seed: Of the draw.
    """
    missing = missing_class_notes(data, drawn)
    plain = missing_classes(data, data.sample(len(drawn), seed=seed))
    if missing or not plain:
        return missing
    points = 100 * class_frequency_distance(data, drawn)
    return (
        f"the {len(drawn):,} of {len(data):,} examples were drawn by class, so that each class has some, if "
        f"only one: class frequencies differ from those of all by {points:.1f} points, and so may accuracies",
    )


def _sizes(counts: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Return how many examples of each class are drawn: one of each that occurs, the rest in proportion."""
    first = (counts > 0).astype(np.int64)
    wanted = np.maximum(total * counts / counts.sum() - first, 0)
    rest = total - int(first.sum())
    exact = rest * wanted / max(wanted.sum(), 1e-12)
    sizes = np.floor(exact).astype(np.int64)
    # largest remainders first, the lower class number where they are equal
    sizes[np.argsort(sizes - exact, kind="stable")[: rest - int(sizes.sum())]] += 1
    return first + sizes
