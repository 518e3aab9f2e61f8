"""The part of an optimizer that the loader of its batches uses."""

from typing import Protocol

from torch import nn


class CaptureStatus(Protocol):
    """Whether gradients are captured, and of which module."""

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
        """State of the capture of the gradients that it steps on."""

    @property
    def batch_is_consumed(self) -> bool:
        """Whether the current batch was stepped on."""

    def discard_batch(self) -> None:
        """Discard the gradients that are summed so far for the current batch."""
