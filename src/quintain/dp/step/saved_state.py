"""The state of a private optimizer, which cannot be restored without its ledger."""

from collections.abc import Mapping
from typing import Any

import torch

from quintain.core.errors import PrivacyError
from quintain.dp.accounting.checksum import add_checksum, verified_content
from quintain.dp.guards.loaded_weights import digest_of_state
from quintain.dp.randomness.torch_rng import restore_rng_states, rng_states
from quintain.dp.step.private_step import PrivateStep


def saved_state(step: PrivateStep[torch.optim.Optimizer]) -> dict[str, Any]:
    """The inner optimizer's state, with what was spent under ``"privacy"`` (see ``PrivateOptimizer``)."""
    inner, settings = step.inner.state_dict(), step.noise_and_clip
    privacy = {
        "ledger": step.ledger.state_dict(),
        "steps": step.steps,
        "draws": step.loader.last_stepped_batch,
        "noise_multiplier": settings.noise_multiplier,
        "max_grad_norm": settings.clip.sensitivity,
        "asked": list(settings.user_settings),
        "choice": settings.choice,
        "drawn": _sampling_settings(step),
        "weights": step.loaded_weights.digests,
        "gathered": digest_of_state(inner.get("state")),
    }
    states = rng_states({parameter.device for parameter in step.params})
    return {**inner, "privacy": {**add_checksum(privacy), "generators": states}}


def load_state(step: PrivateStep[torch.optim.Optimizer], state_dict: Mapping[str, Any]) -> None:
    """Continue from what ``saved_state`` gave.

    Raises:
        PrivacyError: If it does not say what was spent, was changed or put together from two, is earlier than
            what was spent here, or of a run that other noise or another bound was asked for.
    """
    if "privacy" not in state_dict:
        raise PrivacyError(
            "got a plain optimizer's state; expected one with its ledger, or the steps already spent "
            "would be forgotten"
        )
    saved = state_dict["privacy"]
    inner = {key: value for key, value in state_dict.items() if key != "privacy"}
    states = saved.get("generators", {}) if isinstance(saved, Mapping) else {}
    if not (
        isinstance(saved, Mapping)
        and isinstance(states, Mapping)
        and {"state", "param_groups"} <= inner.keys()
    ):
        raise PrivacyError(
            f"got a state of {', '.join(map(repr, state_dict))} that is damaged; expected all of what "
            "state_dict() gave"
        )
    privacy = verified_content(
        {key: value for key, value in saved.items() if key != "generators"}, "a private optimizer"
    )
    if privacy.get("gathered") != digest_of_state(inner["state"]):
        raise PrivacyError(
            f"got what {type(step.inner).__name__} has gathered (momentum, moments) at another moment "
            "than the ledger beside it was saved: that of later steps carries releases into the weights "
            "that the ledger does not count; expected all of what state_dict() gave, unchanged"
        )
    step.pending.move("configure")
    step.noise_and_clip.check_same_user_settings(*privacy["asked"])
    step.ledger.load_state_dict(privacy["ledger"])
    if privacy["steps"] < step.steps or privacy["draws"] < step.loader.last_stepped_batch:
        raise PrivacyError(
            f"got a state of {privacy['steps']} steps and {privacy['draws']} batches after "
            f"{step.steps} and {step.loader.last_stepped_batch}; "
            "expected none that is earlier: its noise was drawn already, and would be drawn again for "
            "other gradients"
        )
    if privacy["steps"] > step.ledger.steps:
        raise PrivacyError(
            f"got a state of {privacy['steps']} steps with a ledger of {step.ledger.steps}; expected a "
            "ledger that holds them all"
        )
    step.noise_and_clip.restore_choice(privacy["choice"])
    step.steps = privacy["steps"]
    step.loader.mark_consumed(privacy["draws"])
    step.loaded_weights.expect_digests(privacy.get("weights", []))
    step.noise_and_clip.set_by_schedule("noise_multiplier", privacy["noise_multiplier"])
    step.noise_and_clip.set_by_schedule("max_grad_norm", privacy["max_grad_norm"])
    if privacy["drawn"] != _sampling_settings(step):
        step.noise_and_clip.begin_choice()
    try:
        step.inner.load_state_dict(inner)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise PrivacyError(
            f"got a state that {type(step.inner).__name__} cannot take ({type(error).__name__}: "
            f"{error}); expected that of the same optimizer over the same parameters: what was spent "
            "counts from now on, all the same"
        ) from error
    restore_rng_states(states)


def _sampling_settings(step: PrivateStep[torch.optim.Optimizer]) -> list[Any]:
    """How batches are sampled, and the kind of noise: where a state has others, a new choice begins."""
    release = step.account.next_release
    return [
        release.sampling,
        release.expected_batch_size,
        release.num_units,
        release.steps_per_epoch,
        release.mechanism,
    ]
