"""Derandomized smoothing: the class that most bands of an image vote for, with certificates for stickers."""

from dataclasses import dataclass
from hashlib import sha256
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from quintain.certify.band_votes import Bands, smallest_gap
from quintain.certify.conditions import refuse_changes
from quintain.certify.noisy_votes import BATCH_ELEMENTS
from quintain.certify.outcome import CertificateOutcome, require_labels
from quintain.certify.voted_model import VotedModel
from quintain.core.errors import DataError, ModelError, SettingError
from quintain.models.protocol import Access, ClassifierLike
from quintain.results.literals import ABLATION
from quintain.threats.arguments import Array, to_inputs, to_labels, to_threat
from quintain.threats.mask import Mask
from quintain.threats.patch import Patch
from quintain.threats.threat import Threat, check_in_box

ASSUMPTIONS = (
    "changes stay on one sticker inside the data box; check that inputs are clipped to it before the model "
    "sees them",
    "the bands of each image are classified in batches of their own, in one order and one size, as here: "
    "deployed answers are those of predict of the same library, device and number of threads",
    "a band's answer does not depend on what else is in its batch, as was seen on the first image; check "
    "that no answer changes with the rest of its batch (quintain check)",
)


@dataclass(frozen=True, slots=True)
class AblatedClassifier(VotedModel):
    r"""The classifier that predicts the class that most bands of an image vote for.

    .. math:: g(x) = \arg\max_c\; \#\{b : softmax(f(ablate_b(x)))_c > \theta\}

    Band b shows ``band_width`` neighboring columns, or a block of that side; all other pixels are ``fill``, a
    value that no pixel has. Bands wrap around the edges, and one begins at each column (and row, of blocks).
    A band votes for every class above the threshold, so for none where it shows nothing; of equally many
    votes the smaller class wins. Of a base that gives labels alone, each band votes for its label.

    It is a model like any other, with logits: of each class the fraction of bands that vote for it, less the
    fraction that do not. Their gradients are those of the bands' mean log-probabilities (straight through),
    so that attacks fit it.

    Args:
        base_classifier: f, best one trained on such bands (``AblationTraining``).
        band_width: Columns that a band shows, or side of a block, in pixels.
        band_shape: ``column`` or ``block``.
        threshold: Probability above which a band votes for a class.
        fill: What hides pixels.

    Raises:
        SettingError: If a number is out of range.
        ModelError: If the model is a bare net.

    Source: Levine and Feizi, 2020, arXiv:2002.10733.
    """

    base_classifier: ClassifierLike
    band_width: int = 4
    band_shape: Literal["column", "block"] = "column"
    threshold: float = 0.5
    fill: float = -1.0

    def __post_init__(self) -> None:
        given: object = self.base_classifier
        if isinstance(given, nn.Module):
            raise ModelError(
                f"a {type(given).__name__}; expected a model: AblatedClassifier(Classifier(net))"
            )
        check_ablation(self.band_width, self.band_shape, self.threshold)

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the base's hash and of all that the ablated classifier depends on."""
        parts = (
            self.base_classifier.hash,
            self.band_width,
            self.band_shape,
            repr(self.threshold),
            repr(self.fill),
        )
        return sha256(" ".join(map(str, ("ablated-1", *parts))).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name in results."""
        return f"{self.base_classifier.name} on {self.band_shape}s of {self.band_width}"

    @property
    def access(self) -> Access:
        """The access that the base classifier gives; of one that gives labels, counts of them are scores."""
        return "scores" if self.base_classifier.access == "labels" else self.base_classifier.access

    def __call__(self, x: Array) -> Tensor:
        """Return the fraction of bands for less that against each class (B, K); NaN where none has an answer.

        A band whose output is no number votes for no class. Gradients are those of the bands' mean
        log-probabilities.
        """
        x = to_inputs(x, self.dtype)
        found = [self._logits_of_one(image) for image in self._images(x)]
        return torch.stack(found) if found else x.new_zeros(0, self.num_classes)

    @torch.inference_mode()
    def predict(self, x: Array) -> Tensor:
        """Return the classes (B,) with most votes, int64; of a tie the smallest."""
        return self(x).argmax(1)

    @torch.inference_mode()
    def votes(self, x: Array) -> Tensor:
        """Return whether each band votes for each class (B, bands, K)."""
        return torch.stack([self._votes(self._band_logits(image)) for image in self._images(to_inputs(x))])

    def certify(
        self, x: Array, y: Array, threat: Threat | str, *, eps: Tensor | None = None
    ) -> CertificateOutcome:
        """Certify that no sticker changes the prediction ``y``.

        A sticker touches the bands that show one of its pixels; for each of its places, and each other
        class, it is assumed that all of them vote for that class and none for ``y``. Where ``y`` still wins
        the count, it is certified. See ``smallest_gap``.

        Guarantee: deterministic: ``predict`` returns ``y`` for every image of the threat. It is a claim about
        the ablated classifier, not about its base.

        Args:
            x: Images (B, C, H, W) in the data box.
            y: Labels (B,).
            threat: ``Patch`` or ``Mask``, or its text.
            eps: 0 for an example (B,) of which the unchanged image alone is meant, else as the threat.

        Returns:
            An outcome whose ``margin`` counts votes, with half a vote for a tie that is won.

        Raises:
            SettingError: For another threat.
            DataError: For what are no images in the data box, or labels that are no classes.
            ModelError: If a band's answer depends on the rest of its batch, or the model changes.
        """
        threat, x, y = to_threat(threat), to_inputs(x, self.dtype), to_labels(y)
        check_in_box(threat, x)
        if not isinstance(threat, Patch | Mask):
            raise SettingError(
                f"derandomized smoothing certifies stickers (patch) and masks; got {threat.spec}"
            )
        with torch.inference_mode(), refuse_changes(self.base_classifier):
            if len(x):
                require_labels(x, y, self(x[:1]).shape[1])
                self._require_apart(x[0])
            gaps, failed = [], []
            for row, image in enumerate(self._images(x)):
                logits = self._band_logits(image)
                votes = self._votes(logits)[None]
                one, label = x[row : row + 1], y[row : row + 1].to(votes.device)
                bands = Bands.of(x.shape, self.band_shape, self.band_width)
                changes = eps is None or bool(eps[row] > 0)
                clean = _gap_of_all(votes, label)
                gaps.append(
                    clean.minimum(smallest_gap(votes, label, bands, threat, one)) if changes else clean
                )
                failed.append(~logits.isfinite().all())
        none = torch.zeros(0, dtype=torch.float64)
        gap = torch.cat([none, *(gap.cpu() for gap in gaps)]).to(x.device)
        lost = torch.tensor([bool(one) for one in failed], dtype=torch.bool, device=x.device)
        gap = torch.where(lost, -torch.inf, gap)
        return CertificateOutcome(
            certified=gap > 0,
            margin=gap,
            radius=None,
            forwards=torch.full_like(y, Bands.of(x.shape, self.band_shape, self.band_width).count),
            assumptions=ASSUMPTIONS,
            failed=lost,
        )

    def _images(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.ndim != 4:
            raise DataError(
                f"inputs of shape {tuple(x.shape)}; bands are of images (B, C, H, W): add the missing axes"
            )
        return x.unbind()

    def _band_logits(self, image: Tensor) -> Tensor:
        """Return the base's logits (bands, K) of an image (C, H, W), in batches of fixed sizes."""
        bands = Bands.of(image.shape, self.band_shape, self.band_width)
        size = max(1, BATCH_ELEMENTS // image.numel())
        parts = []
        for numbers in torch.arange(bands.count, device=image.device).split(size):
            is_visible = bands.visible(numbers)[:, None]
            parts.append(self.base_classifier(torch.where(is_visible, image, self.fill)))
        return torch.cat(parts)

    def _votes(self, logits: Tensor) -> Tensor:
        if self.base_classifier.access == "labels":
            return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).bool()
        return logits.detach().softmax(1) > self.threshold

    def _logits_of_one(self, image: Tensor) -> Tensor:
        logits = self._band_logits(image)
        # float32 at least, in which numbers of bands are exact
        kind = torch.promote_types(logits.dtype, torch.float32)
        votes = 2 * self._votes(logits).sum(0).to(kind) / len(logits) - 1
        finite = logits.detach().isfinite().all(1)
        if (
            not finite.any()
        ):  # of a few bands without an answer, as a sticker may cause, the others' votes count
            return torch.full_like(votes, torch.nan)
        if not logits.requires_grad:
            return votes
        soft = logits[finite].to(kind).log_softmax(1).sum(0) / len(logits)
        # the value is that of the votes, bit for bit: soft - soft is 0
        return votes + (soft - soft.detach())

    def _require_apart(self, image: Tensor) -> None:
        """Refuse a base whose answer to a band changes with the rest of its batch, seen on half the bands.

        Raises:
            ModelError: If one does.
        """
        before = self._band_logits(image)
        # one column changes, whatever it shows, and with it the bands that show it
        changed = image.clone()
        changed[..., 0] = (changed[..., 0] < 0.5).to(changed.dtype)
        bands = Bands.of(image.shape, self.band_shape, self.band_width)
        mask = torch.zeros(image.shape[-2:], dtype=torch.bool, device=image.device)
        mask[:, 0] = True
        untouched = ~bands.overlapping(mask).flatten()
        after = self._band_logits(changed)
        if not torch.equal(before[untouched].nan_to_num(), after[untouched].nan_to_num()):
            raise ModelError(
                f"{self.base_classifier.name} answers a band otherwise where others of its batch change, so "
                "that a sticker reaches bands that do not show it. Look for sums, means and extremes over "
                "the batch, random numbers, and layers in training mode"
            )


def _gap_of_all(votes: Tensor, y: Tensor) -> Tensor:
    """Return how many votes the label is ahead of every other class (B,), with half a vote for a tie won."""
    counts, classes = votes.sum(1), torch.arange(votes.shape[2], device=y.device)
    gap = (counts.gather(1, y[:, None]) - counts).double() + (y[:, None] < classes).double() / 2
    return gap.masked_fill(y[:, None] == classes, torch.inf).amin(1)


def check_ablation(band_width: int, band_shape: str, threshold: float) -> None:
    """Refuse settings of bands that are out of range.

    Raises:
        SettingError: With what was expected.
    """
    if band_width < 1:
        raise SettingError(f"band_width = {band_width}; expected at least 1 column")
    if band_shape not in {"column", "block"}:
        raise SettingError(f"band_shape = {band_shape!r}; expected 'column' or 'block'")
    if not 0 <= threshold < 1:
        raise SettingError(f"threshold = {threshold}; expected a probability from 0 to below 1, such as 0.5")


@dataclass(frozen=True, slots=True)
class Ablation:
    """Certify the ablated classifier of a model, which is a model of its own, against stickers.

    Guarantee: as of ``AblatedClassifier.certify``.

    Args:
        band_width: Columns that a band shows, or side of a block, in pixels.
        band_shape: ``column`` or ``block``.
        threshold: Probability above which a band votes for a class.

    Source: Levine and Feizi, 2020, arXiv:2002.10733.
    """

    name: ClassVar[str] = "ablation"
    summary: ClassVar[str] = "derandomized smoothing: the class that most bands vote for, for stickers"
    guarantee: ClassVar[str] = (
        "deterministic: no sticker changes the prediction of the ablated model, whose bands are classified "
        "image by image, as they were here"
    )
    title: ClassVar[str] = ABLATION
    supports: ClassVar[tuple[str, ...]] = ("patch", "mask")
    example: ClassVar[str] = "patch:area=3%"
    default_rank: ClassVar[int] = 5
    subject: ClassVar[str] = "ablated"
    cost: ClassVar[str] = "expensive"

    band_width: int = 4
    band_shape: Literal["column", "block"] = "column"
    threshold: float = 0.5

    def derive(self, model: ClassifierLike, *, surrogate_seed: int = 0) -> AblatedClassifier:  # noqa: ARG002
        """Return the ablated classifier of a model; nothing of it is random."""
        return AblatedClassifier(model, self.band_width, self.band_shape, self.threshold)

    def __call__(
        self, model: ClassifierLike, x: Array, y: Array, threat: Threat | str, *, eps: Tensor | None = None
    ) -> CertificateOutcome:
        """Certify an ablated classifier, or that of a model, at inputs ``x`` with labels ``y``."""
        ablated = model if isinstance(model, AblatedClassifier) else self.derive(model)
        return ablated.certify(x, y, threat, eps=eps)
