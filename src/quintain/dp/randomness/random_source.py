"""Where the batches and the noise of private runs come from: a stream of random numbers for each of them."""

import os
from itertools import count

from quintain.core.errors import SettingError
from quintain.dp.randomness.stream import RandomStream, seeded_key

KEY_BYTES = 32


class RandomSource:
    """Gives out random streams for private runs, a new one at each call, so that no noise is used twice.

    Made by ``from_os_entropy``, which is secret, by ``from_seed`` or by ``from_secret_key``. Threads may
    share one.

    Attributes:
        origin: What the key comes from, in words.
        reproducible: Whether somebody may know the key: privacy then holds only against those who do not,
            since whoever knows it can subtract the noise.
        key_is_kept: Whether the key outlives the process, so that a run that broke off can repeat its last
            step bit for bit; never for another run. The noise follows from the key, the sum that it hides,
            and its scale. A step that is repeated with other gradients, other noise or another bound
            therefore gets other noise: then both releases were made, but one is counted.
    """

    origin = "the operating system's entropy"
    reproducible = key_is_kept = False

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise SettingError(f"got a key of {len(key)} bytes; expected {KEY_BYTES} secret bytes alone")
        self._root_stream, self._streams_issued = RandomStream(key), count(1)

    @classmethod
    def from_os_entropy(cls) -> "RandomSource":
        """A source keyed with fresh entropy of the operating system."""
        return cls(os.urandom(KEY_BYTES))

    @classmethod
    def from_seed(cls, seed: int) -> "RandomSource":
        """A source keyed by a seed, for tests and papers."""
        made = cls(seeded_key(seed))
        made.origin, made.reproducible = "a seed", True
        made._root_stream.reproducible = True
        return made

    @classmethod
    def from_secret_key(cls, key: bytes) -> "RandomSource":
        """A source with a secret key that is kept, for a run that may break off.

        Raises:
            SettingError: If it is not ``KEY_BYTES`` long.
        """
        made = cls(key)
        made.origin, made.key_is_kept = "a secret key that is kept", True
        return made

    def issue(self, purpose: str) -> RandomStream:
        """A new random stream, whatever thread asks for it.

        Args:
            purpose: What it is for, "sampling" or "noise".
        """
        return self._root_stream.derive(purpose, next(self._streams_issued))
