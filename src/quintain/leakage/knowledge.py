"""What an attacker knows beside the view of the model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.data.dataset import Dataset
from quintain.leakage.hidden_attribute import HiddenAttribute


class Shadows(Protocol):
    """Models like the target, trained on known halves of known examples (see ``ShadowModels``)."""

    @property
    def models(self) -> Sequence[Callable[[Tensor], Tensor]]:
        """Each from inputs (B, *S) to logits (B, K), without gradients."""

    @property
    def included(self) -> NDArray[np.bool_]:
        """Whether each shadow (rows) was trained on each candidate (columns), by the candidates' ids."""

    def confidences(self, number: int = 0) -> NDArray[np.float64]:
        """Return the log odds (S, N) that each gives the label of copy ``number`` of each candidate."""

    def columns(self, ids: Tensor, y: Tensor, *, attack: str) -> NDArray[np.int64]:
        """Return the columns (n,) of candidates by their ids, or raise SettingError if they have none."""


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What an attacker knows; what an attack ``needs`` must be there.

    Args:
        public: Examples of the same kind that the target never saw.
        shadows: Models like the target.
        architecture: Builds a fresh net of the target's architecture from a seed.
        attribute: The part of each example that is hidden, and its possible values; public examples have it.
    """

    public: Dataset | None = None
    shadows: Shadows | None = None
    architecture: Callable[[int], nn.Module] | None = None
    attribute: HiddenAttribute | None = None

    def require(self, needs: Sequence[str], *, attack: str) -> None:
        """Raise SettingError if something is missing of what an attack needs."""
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise SettingError(
                f"{attack} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
                "given; give them, or take another attack (quintain list leak)"
            )


def require_shadows(knowledge: Knowledge, *, attack: str) -> Shadows:
    """Return the shadow models that an attack needs.

    Raises:
        SettingError: If there are none.
    """
    knowledge.require(("shadows",), attack=attack)
    assert knowledge.shadows is not None
    return knowledge.shadows


def require_attribute(knowledge: Knowledge, *, attack: str) -> HiddenAttribute:
    """Return the hidden attribute that an attack needs.

    Raises:
        SettingError: If there is none.
    """
    knowledge.require(("attribute",), attack=attack)
    assert knowledge.attribute is not None
    return knowledge.attribute


def require_public(knowledge: Knowledge, *, attack: str) -> Dataset:
    """Return the public examples that an attack needs.

    Raises:
        SettingError: If there are none.
    """
    knowledge.require(("public",), attack=attack)
    assert knowledge.public is not None
    return knowledge.public
