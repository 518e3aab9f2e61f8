"""The two numbers of a private step, clip and noise, which may be scheduled between steps."""

from quintain.core.errors import PrivacyError
from quintain.dp.step import guards
from quintain.dp.step.clipping import Clip
from quintain.dp.step.gathered import Gathered
from quintain.dp.step.noising import scale_of


class Bounded:
    """What a record may add, and the noise that hides it."""

    gathered: Gathered
    _clip: Clip
    _noise_multiplier: float

    @property
    def noise_multiplier(self) -> float:
        """sigma; may be set between steps, never while clipped gradients wait for their noise."""
        return self._noise_multiplier

    @noise_multiplier.setter
    def noise_multiplier(self, value: float) -> None:
        self.gathered.check_none()
        if not value and self._noise_multiplier:
            raise PrivacyError("got noise_multiplier = 0 in a private run; expected a positive number: a step without noise has no epsilon")
        guards.check_settings(value, self._clip)
        self._noise_multiplier = value

    @property
    def clip(self) -> Clip:
        """How one record's gradient is bounded."""
        return self._clip

    @property
    def max_grad_norm(self) -> float:
        """C, over all parameters together; set between steps, it scales clip and noise alike."""
        return self._clip.sensitivity

    @max_grad_norm.setter
    def max_grad_norm(self, value: float) -> None:
        self.gathered.check_none()
        clip = self._clip.at(value)
        guards.check_settings(self._noise_multiplier, clip)
        self._clip = clip

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise in the sum of gradients, sigma times C."""
        return scale_of(self._clip, self._noise_multiplier)
