"""What models have in common whose class is voted for by a base model's answers."""

import torch

from quintain.models.protocol import ClassifierLike


class VotedModel:
    """A model that asks a base classifier about variants of an input; its classes and type are the base's.

    Args:
        base_classifier: Whose answers are counted.
    """

    __slots__ = ()

    base_classifier: ClassifierLike

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.base_classifier.num_classes

    @property
    def num_parameters(self) -> int:
        """Number of weights of the base classifier."""
        return self.base_classifier.num_parameters

    @property
    def device(self) -> torch.device:
        """The device of the base classifier."""
        return self.base_classifier.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the base classifier."""
        return self.base_classifier.dtype
