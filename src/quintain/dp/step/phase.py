"""The phases of a private step, and the one table of what may happen in each of them.

::

              accumulate                 suspend
    EMPTY ---------------> ACCUMULATING ---------> SUSPENDED
      ^                     ^   |   ^               |     |
      |                     |   |   +--accumulate---+     |
      |                     |   |                         |
      |          accumulate |   | add_noise     add_noise |
      |                     |   v                         |
      |                     |  NOISED <-------------------+
      |                     |   |
      |                     |   | write_gradients
      |  inner_step         |   v
      +-------------------- RELEASED

``accumulate`` in RELEASED ends the permission to step on the older gradient. ``zero_grad`` leads to EMPTY
from everywhere but SUSPENDED, which it leaves as it is: a batch in several pieces is summed over several
``zero_grad()``. ``discard_batch`` leads to EMPTY from everywhere; it is also where a step ends that fails
between the ledger's record and its noise. ``configure`` (noise, bound, a loaded state) changes no phase, and
is refused while clipped gradients wait for their noise.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal


class StepPhase(StrEnum):
    """Where a private step stands."""

    EMPTY = "no clipped gradient is summed"
    ACCUMULATING = "clipped gradients wait for the rest of their batch, or for noise"
    SUSPENDED = "a step was asked for before the batch was complete"
    NOISED = "recorded and noised, not yet written to the parameters"
    RELEASED = "written to the parameters; the inner optimizer may step once"


Event = Literal[
    "accumulate",
    "suspend",
    "add_noise",
    "write_gradients",
    "inner_step",
    "zero_grad",
    "discard_batch",
    "configure",
]

EMPTY, ACCUMULATING, SUSPENDED, NOISED, RELEASED = StepPhase

TRANSITIONS: Mapping[Event, Mapping[StepPhase, StepPhase]] = {
    "accumulate": dict.fromkeys((EMPTY, ACCUMULATING, SUSPENDED, RELEASED), ACCUMULATING),
    "suspend": {ACCUMULATING: SUSPENDED},
    "add_noise": dict.fromkeys((ACCUMULATING, SUSPENDED), NOISED),
    "write_gradients": {NOISED: RELEASED},
    "inner_step": {RELEASED: EMPTY},
    "zero_grad": {**dict.fromkeys(StepPhase, EMPTY), SUSPENDED: SUSPENDED},
    "discard_batch": dict.fromkeys(StepPhase, EMPTY),
    "configure": {phase: phase for phase in (EMPTY, NOISED, RELEASED)},
}
"""The phase after each event, by the phase before it; what is not in the table is refused."""

_NO_GRADIENTS = (
    "step() without captured gradients; expected a forward pass of the private module in training mode and "
    "loss.backward() since the last step()"
)

PAST_THE_NOISE = (
    "is about to step on parameters that are trained privately, past the clip and the noise; expected the "
    "optimizer that make_private returned to step alone"
)

REFUSALS: Mapping[Event, str] = {
    "accumulate": (
        "got gradients to clip between add_noise() and scale_grad(), which have no noise yet; expected "
        "scale_grad() first, or zero_grad() to drop the step"
    ),
    "suspend": _NO_GRADIENTS,
    "add_noise": _NO_GRADIENTS,
    "write_gradients": (
        "scale_grad() before add_noise(); expected clip_and_accumulate(), add_noise(), scale_grad(), or just "
        "step()"
    ),
    "inner_step": f"an optimizer {PAST_THE_NOISE}",
    "configure": (
        "noise or bound set while clipped gradients wait for their noise; expected it set between steps: the "
        "gradients must be clipped to the bound that the noise is scaled by"
    ),
}
"""What to say of an event that the table does not allow."""
