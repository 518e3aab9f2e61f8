"""The sum of a step: clipped gradients first, then the noise, drawn once for all processes."""

import torch
from torch import Tensor, nn

from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.stepped_loader import SteppedLoader
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.clipped_sum import FloatClippedSum
from quintain.dp.step.discrete_sum import DiscreteClippedSum, discrete_sum_for
from quintain.dp.step.noise import noisy_count
from quintain.dp.step.noise_and_clip import NoiseAndClip


class NoisySum:
    """Holds the clipped sum of the pending batch, and adds the noise of its step to it.

    Args:
        parameters: In the order of the optimizer.
        settings: Noise and bound, which an adaptive clipping method moves after each step.
        loader: Tells the expected batch size, and the processes that share each batch.
        stream: Where the noise comes from.
        secure_mode: Whether noise is discrete, on a grid.
        kept_key: Whether noise follows from the sums and the scale, too (see ``PrivateStep``).
    """

    def __init__(
        self,
        parameters: list[nn.Parameter],
        settings: NoiseAndClip,
        loader: SteppedLoader,
        stream: RandomStream,
        *,
        secure_mode: bool,
        kept_key: bool,
    ) -> None:
        self._parameters, self._settings, self._loader, self._stream = parameters, settings, loader, stream
        self._secure_mode, self._key_is_kept = secure_mode, kept_key
        self._float_sum = FloatClippedSum(parameters)
        self.clipped: FloatClippedSum | DiscreteClippedSum = self._new_sum()

    def begin(self) -> None:
        """Begin the sum of another batch, in other memory than the gradients that were returned."""
        self.clipped = self._new_sum()
        self.clipped.clear()

    def add_noise(self, step: int, doubled_centered_count: int) -> None:
        """Add the noise of a step to the sum over all processes, divide it, and move an adaptive bound.

        Args:
            step: Number of the step, from 0: no two have the same noise.
            doubled_centered_count: Of this process, for an adaptive bound (see ``AdaptiveClipping``).
        """
        # the first process alone adds noise; the sum over processes then carries it once
        world, settings, batch_size = self._loader.world, self._settings, self._loader.expected_batch_size
        stream, std, clip = (
            self._noise_stream(step, doubled_centered_count),
            settings.sum_noise_std,
            settings.clip,
        )
        self.clipped.add_noise(stream if std and not world.rank else None, std, batch_size)
        world.all_reduce_sum(self.clipped.flat)
        if isinstance(clip, AdaptiveClipping):
            count_tensor = torch.tensor(doubled_centered_count, dtype=torch.int64, device=world.device)
            world.all_reduce_sum(count_tensor)
            count_stream = stream.derive("count")
            count_stream.seek(step)
            noisy: float = int(count_tensor)
            if settings.noise_multiplier:
                noisy = noisy_count(
                    int(count_tensor), clip.unclipped_count_std, count_stream, secure=self._secure_mode
                )
            settings.use_learned_clip(clip.for_next_step(noisy, batch_size))

    def to_gradients(self) -> dict[nn.Parameter, Tensor]:
        """The noisy mean as gradients."""
        return self.clipped.to_gradients()

    def _noise_stream(self, step: int, doubled_centered_count: int) -> RandomStream:
        """The noise stream of this step; with a kept key it depends on the sums and the scale, too."""
        stream, settings = self._stream, self._settings
        if self._key_is_kept:
            scale = settings.noise_multiplier, settings.clip
            tag = stream.tag(self.clipped.flat, step, doubled_centered_count, *scale)
            stream = stream.derive("sums", self._loader.world.all_gather_bytes(tag).hex())
        stream.seek(step)
        return stream

    def _new_sum(self) -> FloatClippedSum | DiscreteClippedSum:
        if not self._secure_mode:
            return self._float_sum
        return discrete_sum_for(self._parameters, self._settings.clip, self._settings.noise_multiplier)
