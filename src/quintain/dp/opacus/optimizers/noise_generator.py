"""Noise keyed by a torch generator."""

import torch

from quintain.core.errors import SettingError
from quintain.dp.randomness.random_source import RandomSource
from quintain.dp.randomness.stream import RandomStream


def noise_stream_from_generator(generator: torch.Generator | None, *, secure: bool) -> RandomStream:
    """The random stream of the noise, keyed by a torch generator or by the operating system."""
    if generator is None:
        return RandomStream.from_os_entropy()
    if secure:
        raise SettingError(
            "got a noise generator in secure mode; expected none: who knows its seed can subtract the noise"
        )
    words = torch.randint(0, 256, (32,), generator=generator, dtype=torch.uint8, device=generator.device)
    return RandomStream(bytes(words.tolist()))


class GeneratorNoise(RandomSource):
    """A source whose noise is keyed by a torch generator, each time anew; all else is another source's.

    Args:
        source: Of all but the noise.
        generator: Keys the noise, which is then reproducible.
        secure: Whether noise is discrete; a generator is then refused.
    """

    origin, reproducible = "a torch.Generator", True

    def __init__(self, source: RandomSource, generator: torch.Generator, *, secure: bool) -> None:
        self._source, self._generator, self._secure = source, generator, secure
        self.key_is_kept = source.key_is_kept

    def issue(self, purpose: str) -> RandomStream:
        if purpose == "noise":
            return noise_stream_from_generator(self._generator, secure=self._secure)
        return self._source.issue(purpose)
