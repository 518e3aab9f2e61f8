"""What may be told of the per-example gradients that a capture catches."""

from typing import Protocol

from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.trainable_layers import TrainableLayer


class CaptureObserver(Protocol):
    """Is told of gradients, not of those of a dry run."""

    def on_grads(self, layer: TrainableLayer, captured: CapturedPass) -> None:
        """Called when a pass has got gradients of a layer."""

    def before_handover(self) -> None:
        """Called before the passes are handed over; may raise."""

    def on_discard(self) -> None:
        """Called before the passes are dropped."""
