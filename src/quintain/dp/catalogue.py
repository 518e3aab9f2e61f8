"""The ways to train privately that come with Quintain."""

from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (
    Entry(
        "mechanism",
        "dp-sgd",
        "quintain.dp.training.fitting:fit",
        "per-example clipping, Gaussian noise and Poisson sampling (Abadi et al. 2016)",
        guarantee="(epsilon, delta) for adding or removing one record, by privacy loss distributions, "
        "if all that is released is the iterates; "
        "noise from a stream that is secret, up to floating-point rounding",
    ),
)
