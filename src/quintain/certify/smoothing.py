"""Randomized smoothing: the most frequent class under noise, with radii that are certified by sampling."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from quintain.certify.conditions import refuse_changes
from quintain.certify.noise_conditions import require_steady
from quintain.certify.noisy_votes import BATCH_ELEMENTS, fast_memory_format, noise_type
from quintain.certify.outcome import CertificateOutcome, require_labels
from quintain.certify.smoothing_certificates import NoisyExamples, certificate_outcome, draw_votes
from quintain.certify.smoothing_evidence import RadiusTest, fixed_radius
from quintain.certify.smoothing_noise import NOISES, Noise, NoiseName
from quintain.certify.smoothing_predictions import VoteTest, draw_predictions
from quintain.certify.voted_model import VotedModel
from quintain.core.errors import ModelError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.models.protocol import ClassifierLike
from quintain.threats.arguments import Array, to_inputs, to_labels, to_threat
from quintain.threats.rng import example_rng
from quintain.threats.threat import Threat, check_in_box


@dataclass(frozen=True, slots=True)
class SmoothedClassifier(VotedModel):
    r"""The classifier that predicts the class that a base model predicts most often under noise.

    .. math:: g(x) = \arg\max_c\; P[f(x + \sigma u) = c], \qquad
        u \sim N(0, I),\; u \sim U(-\sqrt 3, \sqrt 3)^d \;\text{ or }\; u \sim Laplace(1 / \sqrt 2)^d

    ``certify`` gives certified radii, ``predict`` its predictions, and ``__call__`` a differentiable
    surrogate to attack. Noise is added to the raw inputs, and nothing is clipped: the base model sees values
    outside [0, 1], as training under noise shows it. Noise is added in float32, or in the type of the inputs
    where that is wider; the base model then rounds each noisy input once to its own type, which is part of f.

    Args:
        base_classifier: f, best one trained under the same noise.
        sigma: Standard deviation of the noise, in the units of the data.
        noise_samples: Most noisy copies that are classified for one certificate.
        selection_samples: Other noisy copies, drawn before, that select the class to certify.
        alpha: Probability, for each example, that its certificate is false.
        surrogate_samples: Noisy copies over which ``__call__`` averages.
        surrogate_seed: Seed of the surrogate's noise.
        noise: ``gaussian``, which certifies L2 balls, or one that certifies L1 balls: ``uniform`` in a cube,
            or ``laplace``, which goes farther where the votes agree.

    Raises:
        SettingError: If a number is out of range, or so few ``noise_samples`` can never certify at ``alpha``.
        ModelError: If the model is a bare net.

    Source: Cohen, Rosenfeld and Kolter, 2019, arXiv:1902.02918; uniform noise: Yang et al., 2020,
    arXiv:2002.08118; Laplace noise: Teng et al., 2020; the surrogate is that of Salman et al., 2019,
    arXiv:1906.04584.
    """

    base_classifier: ClassifierLike
    sigma: float
    noise_samples: int = 10_000
    selection_samples: int = 30
    alpha: float = 0.001
    surrogate_samples: int = 32
    surrogate_seed: int = 0
    noise: NoiseName = "gaussian"

    def __post_init__(self) -> None:
        given: object = self.base_classifier
        if isinstance(given, nn.Module):
            raise ModelError(
                f"a {type(given).__name__}; expected a model: SmoothedClassifier(Classifier(net), "
                f"{self.sigma})"
            )
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise SettingError(
                f"sigma = {self.sigma}; expected a positive number in the units of the data, such as 0.25"
            )
        if self.noise not in NOISES:
            raise SettingError(f"noise = {self.noise!r}; expected {' or '.join(map(repr, NOISES))}")
        if not 0 < self.alpha < 0.5:
            raise SettingError(f"alpha = {self.alpha}; expected a chance between 0 and 0.5, such as 0.001")
        for name, number in (
            ("noise_samples", self.noise_samples),
            ("selection_samples", self.selection_samples),
            ("surrogate_samples", self.surrogate_samples),
        ):
            if number < 1:
                raise SettingError(f"{name} = {number}; expected at least 1")
        if self.max_radius <= 0:
            raise SettingError(
                f"{self.noise_samples} noise samples can never certify at alpha = {self.alpha:g}, even if "
                f"all of them agree; give at least {math.floor(math.log(self.alpha) / math.log(0.5)) + 1}"
            )

    @property
    def _law(self) -> Noise:
        return NOISES[self.noise]

    @property
    def max_radius(self) -> float:
        """The radius of an example on which all noise samples agree: no certificate is larger."""
        return fixed_radius(self.noise_samples, self.noise_samples, self.alpha, self.sigma, self._law)

    @property
    def hash(self) -> str:
        """Return the SHA-256 of the base's hash and of all that the smoothed classifier depends on."""
        parts = (
            self.base_classifier.hash,
            repr(self.sigma),
            self.noise_samples,
            self.selection_samples,
            repr(self.alpha),
            self.surrogate_samples,
            self.surrogate_seed,
            *(() if self.noise == "gaussian" else (self.noise,)),
        )
        return sha256(" ".join(map(str, ("smoothed-1", *parts))).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name in results."""
        kind = "" if self.noise == "gaussian" else f" by {self._law.title} noise"
        return f"{self.base_classifier.name} smoothed at {self.sigma:g}{kind}"

    @property
    def access(self) -> str:
        """The access that the surrogate gives: that of the base classifier."""
        return self.base_classifier.access

    def __call__(self, x: Tensor) -> Tensor:
        r"""Compute the log of the mean softmax over fixed noise samples, (B, K).

        It is a differentiable surrogate for attacks.

        .. math:: \log \frac1k \sum_{i=1}^{k} softmax(f(x + \sigma u_i))

        The same noise samples are used for every example and in every call, so that the function is
        deterministic. It only approximates the smoothed classifier: use ``predict`` for the class that the
        smoothed classifier returns.
        """
        x = x.to(noise_type(x))
        # log mean softmax = logsumexp over copies of log_softmax, minus log k (Salman et al., 2019): in logs,
        # so that nothing underflows.
        generator = torch.Generator().manual_seed(derive_seed(self.surrogate_seed, "surrogate"))
        drawn = torch.empty(self.surrogate_samples, *x.shape[1:], dtype=torch.float32)
        noise = self._law.fill(drawn, generator).to(x) * self.sigma
        chunks = []
        for block in noise.split(max(1, BATCH_ELEMENTS // max(1, x.numel()))):
            logits = self.base_classifier((x[:, None] + block).flatten(0, 1))
            chunks.append(logits.unflatten(0, (len(x), len(block))).log_softmax(2))
        return torch.cat(chunks, 1).logsumexp(1) - math.log(self.surrogate_samples)

    def certify(
        self,
        x: Array,
        y: Array,
        threat: Threat | str | None = None,
        *,
        radii: Sequence[float] = (),
        seed: int = 0,
        ids: Tensor | None = None,
        progress: Progress = no_progress,
    ) -> CertificateOutcome:
        r"""Certify radii within which the smoothed classifier predicts ``y``.

        ``selection_samples`` noisy copies select the most frequent class. If that is not ``y``, the example
        gets radius 0 and no more samples are drawn. Otherwise fresh copies are classified, and the votes are
        tested again and again, until each of the requested radii is certified or rejected, or all
        ``noise_samples`` are used up: then the certifier abstains. See ``RadiusTest`` for the proof. The
        radius is the largest that the votes so far prove; it may be larger than a requested one.

        Without ``radii``, all n = ``noise_samples`` are drawn, and

        .. math:: R = \sigma\, \Phi^{-1}(\underline{p}), \;\text{ of uniform noise }\;
            2\sqrt 3\,\sigma\,(\underline{p} - \tfrac12), \;\text{ of Laplace noise }\;
            -\tfrac{\sigma}{\sqrt 2} \ln(2 (1 - \underline{p})),
            \qquad \underline{p} = B^{-1}(\alpha;\; k,\, n - k + 1)

        where k is the number of copies that are classified as ``y`` and :math:`\underline{p}` the one-sided
        Clopper-Pearson lower limit of their probability at level ``alpha``. If
        :math:`\underline{p} \le 1/2` the certifier abstains (radius 0).

        All radii are rounded down. The noise of an example depends on ``seed`` and its id alone, not on the
        batch. Examples share batches, and those that are decided leave them.

        Guarantee: for each example, with probability at least ``1 - alpha`` over the noise samples, the
        smoothed classifier predicts ``y`` everywhere closer than the radius, whichever ``radii`` were given.
        It is a claim about the exact smoothed classifier, which ``predict`` estimates; of n certificates,
        ``n * alpha`` may be false.

        Args:
            x: Inputs (B, *S) in [0, 1], a tensor or a NumPy array.
            y: Labels (B,).
            threat: An L2 ball, for uniform and Laplace noise an L1 ball, or its text: ``certified`` and
                ``margin`` are about it, and its radius is one of the radii to decide; about x itself if not
                given.
            radii: Other radii to decide, in the units of the data.
            seed: Of the noise.
            ids: The examples' positions in the data set (B,).
            progress: Shows a bar of examples.

        Returns:
            An outcome whose ``margin`` bounds the gap between the probabilities of ``y`` and of any other
            class, over the ball; -inf where another class was selected, nothing was proved, or an output was
            no number. ``forwards`` are the noisy copies that were classified.

        Raises:
            SettingError: If the threat is not the kind of ball that the noise certifies, or a requested
                radius is negative or so large that nothing could ever be certified; or if sigma is no wider
                than the spacing of the inputs' or the model's type, which would round the noise away.
            DataError: For inputs that are no tensor or outside the data box, labels that are no classes, or
                ids that do not fit.
            ModelError: If the base model is in training mode, depends on the batch or is random (as far as
                the first examples and a noisy copy of each show, alone and in one batch), or changes while it
                is certified.
        """
        with torch.inference_mode(), refuse_changes(self.base_classifier):
            ball = None if threat is None else to_threat(threat)
            return self._certify_examples(
                to_inputs(x, self.dtype), to_labels(y), ball, tuple(radii), seed, ids, progress
            )

    @property
    def max_certifiable_radius(self) -> float:
        """The radius from which on none that is asked for is ever certified, though all samples agree."""
        return self._radius_test(()).max_certifiable_radius

    def require_certifiable(self, threat: Threat) -> None:
        """Refuse a ball of which nothing could ever be certified.

        Raises:
            SettingError: If its radius is as large as that of an example on which all noise samples agree, or
                larger, with that number and what would change it.
        """
        most = self.max_certifiable_radius
        if threat.eps >= most:
            is_capped = most >= self.sigma * self._law.unit * self._law.max_ratio * (1 - 1e-6)
            more = "" if is_capped else "more noise samples, "
            raise SettingError(
                f"eps = {threat.eps:g} can never be certified: {self.noise_samples:,} noise samples at sigma "
                f"= {self.sigma:g} and alpha = {self.alpha:g} reach {most:.4g} at most"
                + (", and no number of them more" if is_capped else "")
                + f". Give {more}a larger sigma (and a model trained under it) or a smaller eps"
            )

    def _radius_test(self, radii: Sequence[float]) -> RadiusTest:
        return RadiusTest(self.sigma, tuple(sorted(set(radii))), self.alpha, self.noise_samples, self._law)

    def _certify_examples(
        self,
        x: Tensor,
        y: Tensor,
        threat: Threat | None,
        radii: tuple[float, ...],
        seed: int,
        ids: Tensor | None,
        progress: Progress,
    ) -> CertificateOutcome:
        eps, ids = self._check_inputs(x, y, threat, radii), example_rng(x, seed, ids).ids
        test = self._radius_test(radii if threat is None else (*radii, eps))
        noisy = self._noisy(x, ids, seed)
        with progress.bar("smoothing", len(x)) as advance:
            votes = draw_votes(noisy, y.cpu().numpy(), self.selection_samples, test, advance)
        return certificate_outcome(votes, test, eps, x.device)

    @torch.inference_mode()
    def predict(
        self, x: Array, *, seed: int = 0, ids: Tensor | None = None, noise_samples: int = 1000
    ) -> Tensor:
        """Predict the smoothed classifier's class (B,), int64; -1 (abstain) where it is not certain enough.

        ``selection_samples`` noisy copies select a class, and others are drawn until it is told from every
        other class at level ``alpha``. It abstains where ``noise_samples`` of them do not suffice, or where
        the base classifier returns NaN or infinity.

        Guarantee: a prediction differs from the exact smoothed classifier's with probability at most
        ``alpha``; ``VoteTest`` has the proof.

        Raises:
            SettingError: If so few ``noise_samples`` can never decide at ``alpha``, or sigma is no wider than
                the spacing of the inputs' type.
            DataError: If the inputs are no tensor, or the ids do not match.
            ModelError: If the base model is in training mode, depends on the batch or is random, as for
                ``certify``.
        """
        test = VoteTest(self.alpha, noise_samples)
        if not test.can_decide():
            least = next(n for n in count(noise_samples) if VoteTest(self.alpha, n).can_decide())
            raise SettingError(
                f"{noise_samples} noise samples can never decide at alpha = {self.alpha:g}; give at least "
                f"{least}"
            )
        x = to_inputs(x, self.dtype)
        require_steady(self.base_classifier, x, sigma=self.sigma, seed=self.surrogate_seed)
        noisy = self._noisy(x, example_rng(x, seed, ids).ids, seed)
        return torch.from_numpy(draw_predictions(noisy, self.selection_samples, test)).to(x.device)

    @torch.inference_mode()
    def count_votes(self, x: Array, *, noise_samples: int, seed: int = 0) -> Tensor:
        """Count the classes of ``noise_samples`` noisy copies of each input (B, *S), as (B, K) on the CPU."""
        x = to_inputs(x, self.dtype)
        noisy = self._noisy(x, torch.arange(len(x)), seed)
        counts, _ = noisy.count(np.arange(len(x)), noisy.generators("votes"), noise_samples)
        return torch.from_numpy(counts)

    def _noisy(self, x: Tensor, ids: Tensor, seed: int) -> NoisyExamples:
        memory_format = fast_memory_format(self.base_classifier, x)
        return NoisyExamples(
            self.base_classifier,
            x,
            ids,
            seed=seed,
            sigma=self.sigma,
            memory_format=memory_format,
            noise=self._law,
        )

    def _check_inputs(self, x: Tensor, y: Tensor, threat: Threat | None, radii: tuple[float, ...]) -> float:
        """Check all inputs, and return the radius to certify, 0 without a threat."""
        require_steady(self.base_classifier, x, sigma=self.sigma, seed=self.surrogate_seed)
        kind = self._law.ball
        if threat is not None and not isinstance(threat, kind):
            others = "; ".join(
                f"noise={one.name!r} proves {one.ball.__name__} balls"
                for one in NOISES.values()
                if one.ball is not kind
            )
            raise SettingError(
                f"randomized smoothing with {self.noise} noise proves {kind.__name__} balls; got {threat!r}. "
                f"{others}"
            )
        eps = 0.0 if threat is None else threat.eps
        check_in_box(threat or kind(0.0), x)
        for ball in (*(kind(radius) for radius in radii), *(() if threat is None else (threat,))):
            self.require_certifiable(ball)
        if len(x):
            require_labels(x, y, self.base_classifier(x[:1]).shape[1])
        return eps
