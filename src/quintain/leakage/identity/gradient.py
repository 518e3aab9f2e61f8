"""Model inversion by gradients: the picture that a model takes most surely for a class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.identity.prior import BOX, PicturePrior
from quintain.leakage.identity.start import Inversion, lead, spread
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.updates.gradient_matching import total_variation
from quintain.leakage.view import AttackerView, ModelView


@dataclass(frozen=True, slots=True)
class InversionGradient:
    r"""Model inversion by gradient ascent, in the coordinates of a prior or in pixels.

    .. math:: \max_w\; z_y(x) - \max_{j \ne y} z_j(x) - \frac{\lambda}{d} \|w\|^2 - \tau\,\mathrm{TV}(x),
        \qquad x = \mu + w B

    by Adam from the mean picture, with w in a box; in pixels x itself is sought, without the second term. The
    lead of the class's logit takes the place of its probability, whose gradient vanishes where the model is
    sure.

    Args:
        space: ``prior``, the coordinates of public pictures (Zhang et al., 2020, with principal components in
            the place of a generator), or ``pixels``.
        components: Coordinates of the prior.
        penalty: :math:`\lambda`, in units of the logits' spread over public pictures.
        tv_weight: :math:`\tau`, in the same units.
        pool: Public pictures that are queried first, once for all classes, for that spread.
        steps: Gradients of each candidate, at most; its budget is the limit otherwise.
        learning_rate: Of Adam, in standard deviations, or in tenths of the range of pixels.

    Source: Fredrikson, Jha, Ristenpart, 2015, CCS; the lead of the logit: Nguyen et al., 2023,
    arXiv:2304.01669.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "inversion-gradient"
    summary: ClassVar[str] = (
        "the face of a class (model inversion), by gradient ascent among pictures like public ones"
    )
    guarantee: ClassVar[str] = (
        "a witness: a person that a judge knows again has leaked; what it does not find may leak all the same"
    )
    goal: ClassVar[Goal] = "identity"
    access: ClassVar[str] = "gradients"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 1

    space: Literal["prior", "pixels"] = "prior"
    components: int = 200
    penalty: float = 0.3
    tv_weight: float = 0.0
    pool: int = 100
    steps: int = 150
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        if self.space not in ("prior", "pixels"):
            raise SettingError(f"space = {self.space!r}; expected 'prior' or 'pixels'")
        require_at_least(1, components=self.components, pool=self.pool, steps=self.steps)
        if not (self.penalty >= 0 and self.tv_weight >= 0 and self.learning_rate > 0):
            raise SettingError(
                f"penalty = {self.penalty}, tv_weight = {self.tv_weight}, learning_rate = "
                f"{self.learning_rate}; expected weights of at least 0 and a positive rate"
            )

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,
        seed: int,
        progress: Progress = no_progress,
    ) -> Guess:
        """Return one picture of each class, see ``LeakageAttack``."""
        inversion = Inversion.begin(
            view, knowledge, candidates, attack=self.name, components=self.components, budget=budget
        )
        model, prior = inversion.model, inversion.prior
        logits = inversion.public_scores(self.pool, seed=seed)
        steps, images = min(self.steps, budget - len(logits)), []
        with progress.bar(self.name, len(candidates) * steps) as advance:
            # Each candidate on its own, so that a split of them changes no matrix product.
            for y in candidates.y.tolist():
                objective = _Objective(self, model, prior, y, spread(lead(logits, y)))
                images.append(objective.ascend(steps, advance))
        return inversion.guess(images)


@dataclass(frozen=True, slots=True)
class _Objective:
    """What is maximized for one class; ``scale`` is the spread of its lead over public pictures."""

    settings: InversionGradient
    model: ModelView
    prior: PicturePrior
    y: int
    scale: float

    def ascend(self, steps: int, advance: Callable[[int], None]) -> Tensor:
        """Return the picture (*S) that some steps of Adam reach from the mean picture."""
        settings, in_pixels = self.settings, self.settings.space == "pixels"
        start = self.prior.mean.new_zeros(1, self.prior.dimension)
        z = (self.prior.render(start) if in_pixels else start).requires_grad_()
        rate = settings.learning_rate * (0.1 if in_pixels else 1.0)
        optimizer = torch.optim.Adam([z], lr=rate)
        low, high = (0.0, 1.0) if in_pixels else (-BOX, BOX)
        for _ in range(steps):
            with torch.enable_grad():
                x = z if in_pixels else self.prior.render(z)
                cost = settings.tv_weight * total_variation(x).double()
                cost = cost - lead(self.model.differentiable(x), self.y).sum() / self.scale
                if not in_pixels:
                    cost = cost + settings.penalty * z.square().mean()
                z.grad = torch.autograd.grad(cost, z)[0]
            optimizer.step()
            with torch.no_grad():
                z.clamp_(low, high)
            advance(1)
        return (z if in_pixels else self.prior.render(z)).detach()[0]
