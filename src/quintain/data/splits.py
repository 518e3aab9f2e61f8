"""The parts of a data set."""

from dataclasses import dataclass

from quintain.core.errors import DataError
from quintain.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Splits:
    """The parts of a data set; any may be missing.

    A source without parts, such as ``images`` and ``labels`` alone, is all ``test``: nothing says that a model may be fitted to it.

    Args:
        name: What the data set is called in results.
        train: For fitting weights.
        val: For choosing settings.
        test: For every claim.
    """

    name: str
    train: Dataset | None = None
    val: Dataset | None = None
    test: Dataset | None = None

    def parts(self) -> dict[str, Dataset]:
        """The parts that exist, by name, in the order train, val, test."""
        every = {"train": self.train, "val": self.val, "test": self.test}
        return {name: part for name, part in every.items() if part is not None}

    def part(self, name: str) -> Dataset:
        """One part.

        Raises:
            DataError: If there is no such part; the message names those that exist.
        """
        parts = self.parts()
        if name not in parts:
            raise DataError(f"the data set {self.name} has no {name!r} part; it has {', '.join(parts) or 'none'}")
        return parts[name]
