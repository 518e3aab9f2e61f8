"""What a loader needs to know of the optimizer that steps on its batches."""

from typing import Protocol

from torch import nn


class CaptureStatus(Protocol):
    """Whether and of which module gradients are captured."""

    @property
    def is_attached(self) -> bool:
        """Whether gradients are captured."""

    @property
    def root(self) -> nn.Module:
        """The module to train."""


class BatchConsumer(Protocol):
    """An optimizer that steps on the batches of a loader."""

    @property
    def capture(self) -> CaptureStatus:
        """The capture of the gradients that it steps on."""

    @property
    def batch_is_consumed(self) -> bool:
        """Whether the current batch was stepped on."""

    def discard_batch(self) -> None:
        """Drop everything summed of the current batch."""
