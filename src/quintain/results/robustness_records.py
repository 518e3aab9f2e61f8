"""Results of checking, training, attacking and certifying models."""

from dataclasses import dataclass
from typing import Literal

from quintain.results.artifacts import AdversarialFile, Gallery, ModelFile
from quintain.results.class_counts import ClassCounts
from quintain.results.per_example import PerExample


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check of the data or the model looked at, and what it found."""

    name: str
    level: Literal["ok", "note", "warning", "error"]
    message: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check of the data and the model found, before any claim is made on them.

    Args:
        findings: What was looked at.
        class_counts: Images of each class in each split, as (split, counts).
        class_names: What the classes are called.
        shape: (C, H, W).
    """

    findings: tuple[Finding, ...]
    class_counts: tuple[tuple[str, tuple[int, ...]], ...]
    class_names: tuple[str, ...]
    shape: tuple[int, ...]
    kind: Literal["check"] = "check"


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """What one look at a model in training found, on validation examples.

    Args:
        step: Steps taken before.
        clean: Accuracy on the examples as they are.
        robust: Accuracy under a short attack; None where none was run.
        certified: Accuracy that bounds prove; None where none were computed.
        is_kept: Whether the model has these weights.
    """

    step: int
    clean: float
    robust: float | None = None
    certified: float | None = None
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One of several settings of a defense, measured on validation examples.

    Args:
        setting: What it is, for people: ``beta 3``.
        value: Its value.
        clean: Accuracy on the examples as they are.
        unbroken: Accuracy under attack.
        certified: Accuracy that is proved; None where nothing proves.
        num_examples: Of how many examples.
        is_chosen: Whether the model was trained with this one.
    """

    setting: str
    value: float
    clean: float
    unbroken: float
    certified: float | None
    num_examples: int
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """One training run and the accuracy of the model that came out; or a model that came trained.

    Args:
        model: What came out.
        clean_counts: Correct predictions on the unchanged test examples, class by class.
        losses: Mean loss of each epoch; none of a model that came trained.
        seconds: Wall time; 0 of a model that came trained.
        settings: Its settings, for people.
        points: What looks at it on the way found.
    """

    model: ModelFile
    clean_counts: ClassCounts
    losses: tuple[float, ...]
    seconds: float
    settings: str
    points: tuple[TrainingPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class AttackRow:
    """What one attack did at one size of change.

    Args:
        attack: Its name.
        threat: Spec of what the adversary may change.
        unbroken_counts: Examples still classified correctly, class by class.
        forwards, backwards: Forward and backward passes, on average an example.
        seconds: Wall time.
        eps: The size that the spec stands for.
        num_broken: Of the correctly classified examples, how many it broke.
        correct_by_queries: Rising pairs (queries an example, examples still classified correctly once each
            has had so many).
    """

    attack: str
    threat: str
    unbroken_counts: ClassCounts
    forwards: float
    backwards: float
    seconds: float
    eps: float = 0.0
    num_broken: int = 0
    correct_by_queries: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class BreakLog:
    """What broke each example and after how many queries, in the order of the examples.

    It is empty where that was not recorded.

    Args:
        found_by: The first attack that broke it, with the member's name where that is an ensemble;
            ``unchanged`` where it is wrong as it is, empty where it is unbroken.
        queries_to_success: Queries that the attack had made about it when it broke; 0 where nothing was
            needed or found.
        forwards, backwards: Forward and backward passes of all attacks together.
        skipped_certified: Whether it was left alone, at the largest size, because a proof was given.
    """

    found_by: tuple[str, ...] = ()
    queries_to_success: tuple[int, ...] = ()
    forwards: tuple[int, ...] = ()
    backwards: tuple[int, ...] = ()
    skipped_certified: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Indicator:
    """One sign that an attack was weak rather than the model strong.

    Such signs are the indicators of attack failure of Pintor et al., 2022.

    Args:
        name: What would be wrong.
        value: As measured.
        threshold: Beyond it the indicator is triggered.
        triggered: Whether it is.
        message: In words.
    """

    name: str
    value: float
    threshold: float
    triggered: bool
    message: str


@dataclass(frozen=True, slots=True)
class AttackDiagnostics:
    """How far the attacks can be trusted: whether what they left unbroken may be due to weak attacks.

    Args:
        indicators: All that were looked for; one that could not be measured is missing.
        num_probed: How many examples were probed.
        not_judged: Why too little was measured to trust the attacks, such as too few queries; empty where
            enough was.
    """

    indicators: tuple[Indicator, ...]
    num_probed: int
    not_judged: str = ""

    @property
    def triggered(self) -> tuple[Indicator, ...]:
        """The indicators that are triggered."""
        return tuple(one for one in self.indicators if one.triggered)

    @property
    def summary(self) -> str:
        """``high``, ``doubtful, because ...``, or ``not judged: ...``.

        What was measured and is wrong comes before what was not measured. Without a probed example nothing is
        judged, in records of earlier versions, too.
        """
        if self.triggered:
            return f"doubtful, because {'; '.join(one.message for one in self.triggered)}"
        reason = self.not_judged or ("" if self.num_probed else "no example was probed")
        return f"not judged: {reason}" if reason else "high"


@dataclass(frozen=True, slots=True)
class AttackedModel:
    """One model under all attacks, example by example.

    Args:
        model: The model's name.
        title: For people.
        rows: Attack by attack and size by size.
        examples: The smallest change found for each example; nothing proved.
        threat_type: Such as ``linf``, ``l2`` or ``mask:eyeglasses``.
        gallery: Rows of clean picture, change, adversarial picture.
        break_log: How each example was broken.
        diagnostics: Indicators of weak attacks; None where none were looked for.
        target_class: The class that the attacks aimed at; any wrong class if None.
        stop_reason: Why the run broke off; empty where it is whole.
        num_unattacked: Examples that some attack has not met, since the run broke off: they count as unbroken
            there.
        adversarial: The file with every adversarial example that was found; None where none was kept.
        max_queries: Limit of queries for each example, attack and size; None if there was none.
    """

    model: str
    title: str
    rows: tuple[AttackRow, ...]
    examples: PerExample
    threat_type: str
    gallery: Gallery = ()
    break_log: BreakLog = BreakLog()
    diagnostics: AttackDiagnostics | None = None
    target_class: int | None = None
    stop_reason: str = ""
    num_unattacked: int = 0
    adversarial: AdversarialFile | None = None
    max_queries: int | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes of the model; without any row, of those that the examples show."""
        return max(
            (len(row.unbroken_counts.total) for row in self.rows),
            default=max(self.examples.labels, default=-1) + 1,
        )

    def unbroken_counts(self, eps: float) -> ClassCounts:
        """Return the correctly classified examples that no attack has broken at ``eps``, class by class."""
        return self.examples.unbroken_counts(eps, self.num_classes)


@dataclass(frozen=True, slots=True)
class StickerResult:
    """What one sticker does on pictures that it was not fitted on, beside a random pattern of the same area.

    Args:
        model: The model's name.
        description: What it is, such as ``a side marker of metal``.
        area: The largest fraction of the picture that it covers.
        target_class: The class that the sticker aims at.
        eligible: Pictures of other classes that were classified correctly without it.
        successes: Those of them that are classified as the target class.
        control_successes: Those of them that are, with a random pattern.
        gallery: Rows of clean picture, picture with the sticker, picture with the random pattern.
    """

    model: str
    description: str
    area: float
    target_class: str
    eligible: int
    successes: int
    control_successes: int
    gallery: Gallery = ()


@dataclass(frozen=True, slots=True)
class CertifiedModel:
    """One model with what is proved and what attacks broke, example by example.

    Args:
        model: The model's name.
        title: For people.
        certifier: What proved the lower side.
        threat_type: Such as ``linf``, ``l2`` or ``mask:eyeglasses``.
        examples: Both radii of each example.
        requested_eps: The sizes that were requested.
        num_classes: How many classes there are.
        curve_eps: Sizes at which to draw the curves.
        seconds: Wall time of the proofs.
        noise_samples: Noisy copies of each example, in their order, that were classified for its certificate;
            empty where it rests on none.
    """

    model: str
    title: str
    certifier: str
    threat_type: str
    examples: PerExample
    requested_eps: tuple[float, ...]
    num_classes: int
    curve_eps: tuple[float, ...]
    seconds: float
    noise_samples: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What ordinary training gave."""

    training: TrainingRun
    kind: Literal["train"] = "train"


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What attacks did to each model; ``stickers`` are changes that are the same for all pictures."""

    models: tuple[AttackedModel, ...]
    stickers: tuple[StickerResult, ...] = ()
    kind: Literal["attack"] = "attack"


@dataclass(frozen=True, slots=True)
class HardenResult:
    """What training against attacks gave, and what the same attacks do to these models.

    Args:
        trainings: The trainings.
        models: What attacks did to the models that came out.
        front: The settings that were tried, where the model's was chosen among several.
    """

    trainings: tuple[TrainingRun, ...]
    models: tuple[AttackedModel, ...]
    front: tuple[FrontPoint, ...] = ()
    kind: Literal["harden"] = "harden"


@dataclass(frozen=True, slots=True)
class CertifyResult:
    """What is proved of each model, beside what attacks broke."""

    models: tuple[CertifiedModel, ...]
    kind: Literal["certify"] = "certify"


@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """What is proved of a model, and what attacks did to the examples of which nothing is proved.

    Args:
        attacked: The model under attack; examples that are certified at a size were not attacked there.
        certified: Both sides; None where nothing was certified.
    """

    attacked: AttackedModel
    certified: CertifiedModel | None
    kind: Literal["evaluate"] = "evaluate"


@dataclass(frozen=True, slots=True)
class ReplayRow:
    """What the stored adversarial examples of one attack at one threat do to another model.

    Args:
        attack: The attack that made them.
        threat: Spec of what it might change.
        num_stored: How many it left: each broke the model that it was made on.
        num_correct: Those of them whose unchanged input the other model classifies correctly.
        num_broken: Those of these that break the other model.
    """

    attack: str
    threat: str
    num_stored: int
    num_correct: int
    num_broken: int


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What adversarial examples that were made on one model do to another; nothing is attacked anew.

    Args:
        source: The run folder that they come from.
        source_title: The model that they were made on.
        source_model_hash: Its hash.
        rows: Attack by attack and threat by threat.
        attacked: The other model, example by example: the smallest stored change that breaks it.
        broken_ids: Examples that both models classify correctly unchanged, and that were broken on the first
            and are broken on the other as well.
        unbroken_ids: Those that were broken on the first and that no stored change breaks on the other.
    """

    source: str
    source_title: str
    source_model_hash: str
    rows: tuple[ReplayRow, ...]
    attacked: AttackedModel
    broken_ids: tuple[int, ...] = ()
    unbroken_ids: tuple[int, ...] = ()
    kind: Literal["replay"] = "replay"
