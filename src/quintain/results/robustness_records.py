"""Results of checking, training, attacking and certifying models."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.artefacts import Gallery, ModelFile
from quintain.results.states import PerExample
from quintain.results.tally import Tally


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check looked at."""

    name: str
    level: Literal["ok", "note", "warning", "error"]
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    """Data and model, before anything is believed.

    Args:
        findings: What was looked at.
        classes: Images of each class in each split, as (split, counts).
        class_names: What the classes are called.
        shape: (C, H, W).
    """

    findings: tuple[Finding, ...]
    classes: tuple[tuple[str, tuple[int, ...]], ...]
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    kind: Literal["check"] = "check"


@dataclass(frozen=True, slots=True)
class Training:
    """One training run.

    Args:
        model: What came out.
        clean: Right answers on the unchanged test examples.
        losses: Mean loss of each epoch.
        seconds: Wall time.
        plan: Its settings, for people.
    """

    model: ModelFile
    clean: Tally
    losses: tuple[float, ...]
    seconds: float
    plan: str


@dataclass(frozen=True, slots=True)
class AttackRow:
    """One attack at one size.

    Args:
        attack: Its name.
        threat: Token.
        standing: Right answers left, class by class.
        forwards, backwards: Mean calls an example.
        seconds: Wall time.
    """

    attack: str
    threat: str
    standing: Tally
    forwards: float
    backwards: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Attacks:
    """What attacks did to one model.

    Args:
        model: The model's name.
        title: For people.
        rows: Attack by attack and size by size.
        examples: The smallest change found for each example; nothing proved.
        ball: ``linf`` or ``l2``.
        gallery: Rows of clean picture, change, adversarial picture.
    """

    model: str
    title: str
    rows: tuple[AttackRow, ...]
    examples: PerExample
    ball: str
    gallery: Gallery = ()


@dataclass(frozen=True, slots=True)
class Robustness:
    """Both sides of one model, example by example.

    Args:
        model: The model's name.
        title: For people.
        certifier: What proved the lower side.
        ball: ``linf`` or ``l2``.
        examples: Both radii of each example.
        asked: The sizes that were asked about.
        classes: How many classes there are.
        curve: Sizes at which to draw the curves.
        seconds: Wall time of the proofs.
    """

    model: str
    title: str
    certifier: str
    ball: str
    examples: PerExample
    asked: tuple[float, ...]
    classes: int
    curve: tuple[float, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A plainly trained model."""

    training: Training
    kind: Literal["train"] = "train"


@dataclass(frozen=True, slots=True)
class Attacked:
    """Models under attack."""

    attacks: tuple[Attacks, ...]
    kind: Literal["attack"] = "attack"


@dataclass(frozen=True, slots=True)
class Hardened:
    """Models trained to stand, and what the same attacks do to them."""

    trainings: tuple[Training, ...]
    attacks: tuple[Attacks, ...]
    kind: Literal["harden"] = "harden"


@dataclass(frozen=True, slots=True)
class Certified:
    """What is proved of each model."""

    robustness: tuple[Robustness, ...]
    kind: Literal["certify"] = "certify"
