"""The two numbers of a private step, clip and noise, which may be scheduled between steps."""

import math
from typing import Literal

from quintain.core.errors import PrivacyError
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.step import guards
from quintain.dp.step.clipping import ClippingMethod
from quintain.dp.step.noise import noise_std_of_sum
from quintain.dp.step.step_state import StepState


class NoiseAndClip:
    """The clipping method and the noise multiplier of a private step."""

    step_state: StepState
    _clip: ClippingMethod
    _noise_multiplier: float
    user_settings: tuple[float, float]
    """Noise multiplier and bound as the user last set them, apart from schedules."""
    ledger: Ledger
    _choice: tuple[int, str]

    @property
    def noise_multiplier(self) -> float:
        """sigma; may be set between steps, never while clipped gradients wait for their noise."""
        return self._noise_multiplier

    @noise_multiplier.setter
    def noise_multiplier(self, value: float) -> None:
        self.step_state.check_idle()
        value = float(value)
        if not value and self._noise_multiplier:
            raise PrivacyError(
                "got noise_multiplier = 0 in a private run; expected a positive number: a step without noise "
                "has no epsilon"
            )
        guards.check_settings(value, self._clip)
        if value != self._noise_multiplier:
            self._new_choice()
        self._noise_multiplier, self.user_settings = value, (value, self.user_settings[1])

    @property
    def clip(self) -> ClippingMethod:
        """The clipping method."""
        return self._clip

    @property
    def max_grad_norm(self) -> float:
        """C, over all parameters together; set between steps, it scales clip and noise alike."""
        return self._clip.sensitivity

    @max_grad_norm.setter
    def max_grad_norm(self, value: float) -> None:
        self.step_state.check_idle()
        clip = self._clip.with_sensitivity(float(value))
        guards.check_settings(self._noise_multiplier, clip)
        self._clip, self.user_settings = clip, (self.user_settings[0], clip.sensitivity)

    def set_by_schedule(
        self, name: Literal["noise_multiplier", "max_grad_norm"], value: float, *, beforehand: bool = True
    ) -> None:
        """Set a number as a schedule or a saved state says, apart from what the user has set.

        Args:
            name, value: What to set.
            beforehand: Whether the plan was there before the first release; else it is a choice, as if set by
                hand.
        """
        asked, choice = self.user_settings, self._choice
        setattr(self, name, value)
        self.user_settings = asked
        if beforehand:
            self._choice = choice

    @property
    def choice(self) -> int:
        """The number of the choice of settings; a new one if the ledger now holds another run's releases."""
        if self._choice[1] != self.ledger.run_id:
            self._new_choice()
        return self._choice[0]

    def _new_choice(self) -> None:
        """Count a new choice of settings by the user."""
        self._choice = self.ledger.next_choice(), self.ledger.run_id

    def _check_user_settings(self, noise_multiplier: float, max_grad_norm: float) -> None:
        """Raise if a state is of a run for which the user had set other numbers."""
        for name, loaded, here in zip(
            ("noise_multiplier", "max_grad_norm"),
            (noise_multiplier, max_grad_norm),
            self.user_settings,
            strict=True,
        ):
            if not math.isclose(loaded, here, rel_tol=1e-9):
                raise PrivacyError(
                    f"got the state of a run with {name} = {loaded}, for one with {here}; expected the same: "
                    f"make_private with {name}={loaded} to go on, and if another is meant from now on, set "
                    f"optimizer.{name} after load_state_dict()"
                )

    @property
    def sum_noise_std(self) -> float:
        """Standard deviation of the noise in the sum of gradients, sigma times C."""
        return noise_std_of_sum(self._clip, self._noise_multiplier)
