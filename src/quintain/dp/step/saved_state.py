"""The state of a private optimizer, which cannot be restored without its ledger."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from quintain.core.errors import PrivacyError
from quintain.dp.accounting.checksum import add_checksum, verified_content
from quintain.dp.accounting.release import Release
from quintain.dp.capture.hooks import Capture
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.step import torch_rng
from quintain.dp.step.loaded_weights import LoadedWeights, digest_of_state
from quintain.dp.step.noise_and_clip import NoiseAndClip
from quintain.dp.step.unknown_sampling import UnknownSampling


class SavedState(NoiseAndClip):
    """Saves and loads the inner optimizer's state, the ledger and the positions in the random streams."""

    inner: torch.optim.Optimizer
    capture: Capture
    loader: SamplingLoader | UnknownSampling
    _steps: int
    _weights: LoadedWeights

    @property
    @abstractmethod
    def params(self) -> list[nn.Parameter]: ...

    @property
    @abstractmethod
    def next_release(self) -> Release: ...

    @property
    def _sampling_settings(self) -> list[Any]:
        """How batches are sampled, and the kind of noise."""
        it = self.next_release
        return [it.sampling, it.expected_batch_size, it.num_units, it.steps_per_epoch, it.mechanism]

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state, with the ledger and the positions of random streams under
        ``"privacy"``.

        Keys of streams are not in it; the states of torch's own generators are. It belongs to the present
        weights and to the inner optimizer's own state, such as momentum (it holds hashes of both).
        """
        inner = self.inner.state_dict()
        privacy = {
            "ledger": self.ledger.state_dict(),
            "steps": self._steps,
            "draws": self.loader.last_stepped_batch,
            "noise_multiplier": self.noise_multiplier,
            "max_grad_norm": self.max_grad_norm,
            "asked": list(self.user_settings),
            "choice": self.choice,
            "drawn": self._sampling_settings,
            "weights": self._weights.digests,
            "gathered": digest_of_state(inner.get("state")),
        }
        states = torch_rng.rng_states({parameter.device for parameter in self.params})
        return {**inner, "privacy": {**add_checksum(privacy), "generators": states}}

    def check_weights_match_state(self) -> None:
        """Raise if the weights are not those of a state that was loaded after the latest step."""
        if self.capture.is_attached:
            self._weights.compare()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state; a seeded run then goes on as if it had never stopped.

        Torch's own generators are put back too, for layers such as dropout. Where batches are sampled
        otherwise than those of the state (size, records, sampling, kind of noise), that is a choice made
        after its steps. The module's weights must be those that the state was saved with: the first step
        compares them, so that module and optimizer may be loaded in any order.

        Raises:
            PrivacyError: If the state does not say what was spent, was changed or put together from two, is
                earlier than what was spent here, or of a run that other noise or another bound was asked for.
        """
        if "privacy" not in state_dict:
            raise PrivacyError(
                "got a plain optimizer's state; expected one with its ledger, or the steps already spent "
                "would be forgotten"
            )
        told, inner = (
            state_dict["privacy"],
            {key: value for key, value in state_dict.items() if key != "privacy"},
        )
        states = told.get("generators", {}) if isinstance(told, Mapping) else {}
        if not (
            isinstance(told, Mapping)
            and isinstance(states, Mapping)
            and {"state", "param_groups"} <= inner.keys()
        ):
            raise PrivacyError(
                f"got a state of {', '.join(map(repr, state_dict))} that is damaged; expected all of what "
                "state_dict() gave"
            )
        privacy = verified_content(
            {key: value for key, value in told.items() if key != "generators"}, "a private optimizer"
        )
        if privacy.get("gathered") != digest_of_state(inner["state"]):
            raise PrivacyError(
                f"got what {type(self.inner).__name__} has gathered (momentum, moments) at another moment "
                "than the ledger beside it was saved: that of later steps carries releases into the weights "
                "that the ledger does not count; expected all of what state_dict() gave, unchanged"
            )
        self.step_state.check_idle()
        self._check_user_settings(*privacy["asked"])
        self.ledger.load_state_dict(privacy["ledger"])
        if privacy["steps"] < self._steps or privacy["draws"] < self.loader.last_stepped_batch:
            raise PrivacyError(
                f"got a state of {privacy['steps']} steps and {privacy['draws']} batches after "
                f"{self._steps} and {self.loader.last_stepped_batch}; "
                "expected none that is earlier: its noise was drawn already, and would be drawn again for "
                "other gradients"
            )
        if privacy["steps"] > self.ledger.steps:
            raise PrivacyError(
                f"got a state of {privacy['steps']} steps with a ledger of {self.ledger.steps}; expected a "
                "ledger that holds them all"
            )
        self._choice = privacy["choice"], self.ledger.run_id
        self._steps = privacy["steps"]
        self.loader.mark_consumed(privacy["draws"])
        self._weights.expect_digests(privacy.get("weights", []))
        self.set_by_schedule("noise_multiplier", privacy["noise_multiplier"])
        self.set_by_schedule("max_grad_norm", privacy["max_grad_norm"])
        if privacy["drawn"] != self._sampling_settings:
            self._new_choice()
        try:
            self.inner.load_state_dict(inner)
        except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise PrivacyError(
                f"got a state that {type(self.inner).__name__} cannot take ({type(error).__name__}: "
                f"{error}); expected that of the same optimizer over the same parameters: what was spent "
                "counts from now on, all the same"
            ) from error
        torch_rng.restore_rng_states(states)
