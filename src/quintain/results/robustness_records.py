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
        eps: The size that the token stands for.
        broken: Of the right answers, how many it turned.
        queries: Rising pairs (questions an example, right answers left once each example has had so many).
    """

    attack: str
    threat: str
    standing: Tally
    forwards: float
    backwards: float
    seconds: float
    eps: float = 0.0
    broken: int = 0
    queries: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Breaks:
    """How each example fell, in the order of the record's examples; no entries where that was not written down.

    Args:
        by: The first attack that broke it, with the member's name where that is an ensemble; ``unchanged`` where it is wrong as it is,
            empty where it stands.
        found: Questions that the attack had asked about it when it broke; 0 where nothing was needed or found.
        forwards, backwards: Questions and gradients of all attacks together.
        proved: Whether it was left alone, at the largest size, because a proof was given.
    """

    by: tuple[str, ...] = ()
    found: tuple[int, ...] = ()
    forwards: tuple[int, ...] = ()
    backwards: tuple[int, ...] = ()
    proved: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing that would show that an attack was weak and not the model strong.

    Args:
        name: What would be wrong.
        value: As measured.
        threshold: Beyond it the sign fires.
        fired: Whether it did.
        evidence: In words.
    """

    name: str
    value: float
    threshold: float
    fired: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Trust:
    """How far to trust what attacks left standing.

    Args:
        signs: All that were looked for; one that could not be measured is missing.
        examples: How many examples were probed.
    """

    signs: tuple[Sign, ...]
    examples: int

    @property
    def doubts(self) -> tuple[Sign, ...]:
        """The signs that fired."""
        return tuple(sign for sign in self.signs if sign.fired)

    @property
    def verdict(self) -> str:
        """``high``, or ``doubtful, because ...``."""
        return f"doubtful, because {'; '.join(sign.evidence for sign in self.doubts)}" if self.doubts else "high"


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
        breaks: How each example fell.
        trust: Signs of weak attacks.
        target: The class that was to be answered; any wrong class if not given.
        halted: Why the run broke off; empty where it is whole.
        unfinished: Examples that some attack has not met, since the run broke off: they count as standing there.
    """

    model: str
    title: str
    rows: tuple[AttackRow, ...]
    examples: PerExample
    ball: str
    gallery: Gallery = ()
    breaks: Breaks = Breaks()
    trust: Trust | None = None
    target: int | None = None
    halted: str = ""
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class Stuck:
    """One sticker on many pictures, none of which it was fitted on, beside the same area of random pattern.

    Args:
        model: The model's name.
        what: What it is, such as ``a side marker of metal``.
        area: The largest share of the picture that it covers.
        target: The class to be answered.
        eligible: Pictures of other classes that were answered rightly without it.
        reached: Those of them that are answered with the target.
        control: Those of them that are, with a random pattern.
        gallery: Rows of clean picture, picture with the sticker, picture with the random pattern.
    """

    model: str
    what: str
    area: float
    target: str
    eligible: int
    reached: int
    control: int
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
    """Models under attack; ``stickers`` are changes of one kind for all pictures."""

    attacks: tuple[Attacks, ...]
    stickers: tuple[Stuck, ...] = ()
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
