"""Random numbers per example: they do not depend on how a batch is cut, ordered or sharded."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from quintain.core.errors import DataError
from quintain.core.seeds import derive_seed


@dataclass(frozen=True, slots=True, eq=False)
class ExampleRNG:
    """Random numbers of each example, from (seed, example id) alone; the same call gives the same numbers.

    Args:
        seed: The seed of the call site.
        ids: One integer per example (B,): its number in the data set.

    The numbers are made on the CPU, so that every device gets the same ones. PyTorch seeds its generator with
    32 bits: ids less than 2^32 apart never share a stream, and one example's streams of two call sites are
    equal with probability 2^-32.
    """

    seed: int
    ids: Tensor

    def fold_in(self, *path: str | int) -> "ExampleRNG":
        """Return independent random numbers for another call site, such as ``("pgd", restart)``."""
        return ExampleRNG(derive_seed(self.seed, *path), self.ids)

    def select(self, rows: Tensor) -> "ExampleRNG":
        """Return the random numbers of some of the examples: an index or a mask (B,)."""
        return ExampleRNG(self.seed, self.ids[rows.to(self.ids.device)])

    def uniform(self, like: Tensor) -> Tensor:
        """Return uniform numbers in [0, 1], of the shape (B, *S), dtype and device of ``like``."""
        block, rows = self._rows("uniform", like)
        for row, generator in rows:
            row.uniform_(generator=generator)
        return block.to(device=like.device, dtype=like.dtype)

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers, of the shape (B, *S), dtype and device of ``like``."""
        block, rows = self._rows("normal", like)
        for row, generator in rows:
            row.normal_(generator=generator)
        return block.to(device=like.device, dtype=like.dtype)

    def _rows(
        self, distribution: str, like: Tensor
    ) -> tuple[Tensor, Iterator[tuple[Tensor, torch.Generator]]]:
        """Return an empty block, and each of its rows with the generator of that example."""
        if self.ids.shape != like.shape[:1]:
            raise DataError(
                f"ids of shape {tuple(self.ids.shape)} for {len(like)} examples; give one integer per example"
            )
        # One generator per row, seeded by (call site, example id): the numbers do not depend on batch size,
        # order or sharding. CPU generators make them equal on every device.
        block = torch.empty(like.shape, dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)
        base, generator = derive_seed(self.seed, distribution), torch.Generator()
        return block, (
            (row, generator.manual_seed((base + name) % 2**32))
            for row, name in zip(block, self.ids.tolist(), strict=True)
        )


def example_rng(x: Tensor, seed: int, ids: Tensor | None = None) -> ExampleRNG:
    """Return the random numbers of a batch (B, *S).

    Its examples are numbered 0, 1, 2 ... if no ids are given.

    Raises:
        DataError: If there is not one integer id per example.
    """
    if ids is None:
        return ExampleRNG(seed, torch.arange(len(x)))
    if not isinstance(ids, Tensor):
        raise DataError(
            f"ids in a {type(ids).__name__}; expected a tensor of one integer per example ({len(x)},): "
            "torch.as_tensor(ids)"
        )
    if ids.shape != x.shape[:1] or ids.is_floating_point():
        raise DataError(
            f"ids of shape {tuple(ids.shape)} and {ids.dtype} for {len(x)} examples; expected one integer "
            "per example"
        )
    return ExampleRNG(seed, ids)
