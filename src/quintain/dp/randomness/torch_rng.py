"""The states of torch's random generators, saved with a run so that it resumes exactly."""

from collections.abc import Iterable, Mapping

import torch

from quintain.core.errors import PrivacyError

CPU = "cpu"


def rng_states(devices: Iterable[torch.device]) -> dict[str, str]:
    """The states of the generators of the CPU and of each device in use, as hexadecimal digits."""
    found = {CPU: torch.get_rng_state()}
    found |= {
        str(device): torch.get_device_module(device).get_rng_state(device)
        for device in devices
        if device.type != CPU
    }
    return {name: bytes(state.tolist()).hex() for name, state in found.items()}


def restore_rng_states(kept: Mapping[str, str]) -> None:
    """Restore the states of the generators, except of devices that this machine does not have.

    Raises:
        PrivacyError: If it is no state of a generator.
    """
    for name, digits in kept.items():
        try:
            state = torch.frombuffer(bytearray.fromhex(digits), dtype=torch.uint8)
            if name == CPU:
                torch.set_rng_state(state)
            elif torch.get_device_module(torch.device(name)).is_available():
                torch.get_device_module(torch.device(name)).set_rng_state(state, torch.device(name))
        except (TypeError, ValueError, RuntimeError) as error:
            raise PrivacyError(
                f"got no state of a generator for {name!r} ({error}); expected what state_dict() gave"
            ) from error
