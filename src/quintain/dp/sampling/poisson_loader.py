"""Poisson sampling: each record is in each batch with the same probability, independently."""

from quintain.dp.sampling.loader import SamplingLoader, T_co
from quintain.dp.sampling.physical_batch import Indices


class PoissonLoader(SamplingLoader[T_co]):
    r"""Poisson sampling: each record is in each batch with the same probability, independently.

    .. math:: q = b / n, \qquad |B_t| \sim \mathrm{Bin}(n, q)

    The size of a batch is random and private; the constants are public, integers kept exact. An empty batch
    is a batch: it is yielded with a first dimension of 0, and its step, pure noise, counts like any other.
    With an expected batch of all records, each batch holds them all.
    """

    sampling = "poisson"

    def _sample_units(self, batch_index: int) -> Indices:  # noqa: ARG002
        return self.stream.poisson_sample(self.num_units, self.expected_batch_size)
