"""The noise multiplier and the bound of a private step, which may be set or scheduled between steps."""

import math
from typing import Literal

from quintain.core.errors import PrivacyError
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.step.checks import check_settings
from quintain.dp.step.clipping import ClippingMethod
from quintain.dp.step.noise import noise_std_of_sum

SettingName = Literal["noise_multiplier", "max_grad_norm"]


class NoiseAndClip:
    """The noise multiplier and the clipping method of a private step, and the choice that they come from.

    A user who sets the noise after a release may have looked at that release; such a choice costs more
    epsilon (see ``accounting.fully_adaptive``). So each step is recorded with the number of the choice that
    its noise comes from (``Release.choice``): 0 if it was made before the ledger's first release. What a
    schedule sets that was fixed before then is no new choice.

    Args:
        noise_multiplier: sigma.
        clip: How gradients are bounded.
        ledger: Holds the releases by which choices are numbered.

    Raises:
        SettingError: If a number is out of its range.
    """

    def __init__(self, noise_multiplier: float, clip: ClippingMethod, ledger: Ledger) -> None:
        check_settings(noise_multiplier, clip)
        self._ledger = ledger
        self._noise_multiplier, self._clip = float(noise_multiplier), clip
        self.user_settings = self._noise_multiplier, clip.sensitivity
        """Noise multiplier and bound as the user last set them, apart from schedules."""
        self._choice_and_run_id: tuple[int, str] = ledger.next_choice(), ledger.run_id

    @property
    def noise_multiplier(self) -> float:
        """The noise multiplier, sigma."""
        return self._noise_multiplier

    @property
    def clip(self) -> ClippingMethod:
        """The clipping method."""
        return self._clip

    @property
    def sum_noise_std(self) -> float:
        """Standard deviation of the noise in the sum of gradients, sigma times C."""
        return noise_std_of_sum(self._clip, self._noise_multiplier)

    def set(self, name: SettingName, value: float) -> None:
        """Set a number as the user asks; another noise multiplier is a new choice.

        Raises:
            PrivacyError: If a private run would go on without noise.
            SettingError: If it is out of its range.
        """
        if name == "max_grad_norm":
            clip = self._clip.with_sensitivity(float(value))
            check_settings(self._noise_multiplier, clip)
            self._clip, self.user_settings = clip, (self.user_settings[0], clip.sensitivity)
            return
        value = float(value)
        if not value and self._noise_multiplier:
            raise PrivacyError(
                "got noise_multiplier = 0 in a private run; expected a positive number: a step without noise "
                "has no epsilon"
            )
        check_settings(value, self._clip)
        if value != self._noise_multiplier:
            self.begin_choice()
        self._noise_multiplier, self.user_settings = value, (value, self.user_settings[1])

    def set_by_schedule(self, name: SettingName, value: float, *, fixed_beforehand: bool = True) -> None:
        """Set a number as a schedule or a saved state says; ``user_settings`` stay as they are.

        Args:
            name, value: What to set.
            fixed_beforehand: Whether this value was fixed before the first release; else it is a new choice,
                as if set by hand.
        """
        user_settings, choice_and_run_id = self.user_settings, self._choice_and_run_id
        self.set(name, value)
        self.user_settings = user_settings
        if fixed_beforehand:
            self._choice_and_run_id = choice_and_run_id

    def use_learned_clip(self, clip: ClippingMethod) -> None:
        """Go on with the bound that an adaptive clipping method has learned from what was released."""
        self._clip = clip

    @property
    def choice(self) -> int:
        """The number of the choice that the settings come from.

        Where the ledger now holds the releases of another run, from a state that was loaded, it is a new one.
        """
        number, run_id = self._choice_and_run_id
        if run_id != self._ledger.run_id:
            self.begin_choice()
            number, _ = self._choice_and_run_id
        return number

    def begin_choice(self) -> None:
        """Count the present settings as a new choice."""
        self._choice_and_run_id = self._ledger.next_choice(), self._ledger.run_id

    def restore_choice(self, number: int) -> None:
        """Go on with the choice of a saved state; its ledger must be loaded already."""
        self._choice_and_run_id = number, self._ledger.run_id

    def check_same_user_settings(self, noise_multiplier: float, max_grad_norm: float) -> None:
        """Raise if a saved state is of a run for which the user had set other numbers."""
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
