"""Model inversion by labels alone: away from the boundary of a class, as far as its inside reaches."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import READ_BATCH_SIZE
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.identity.prior import BOX, PicturePrior
from quintain.leakage.identity.start import Inversion
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView, ModelView

MAX_STEP = 0.2
"""Most that a center moves at once, in units of a draw's usual distance from the mean; a third of the radius
where that is less.
"""

MAX_COORDINATE = 1.5
"""Centers stay within these many units of the prior: their spheres reach further out."""


@dataclass(frozen=True, slots=True)
class InversionLabels:
    r"""Model inversion by labels alone: the center of the largest sphere that lies in the class (BREP-MI).

    Around a center w in the coordinates of a prior, labels are queried at points :math:`w + R u_i` for unit
    vectors in pairs :math:`\pm u`. If nearly all have the label of the class, the sphere grows; else w moves
    away from the mean direction of those outside, as long as it keeps the label. A face in the middle of its
    class is more typical of it than one at the boundary.

    In the paper all points must be inside, and directions are not paired. The search starts at the mean of
    those draws of the prior that have the label, which are queried once for all classes; at the mean
    picture where there is none.

    Args:
        components: Coordinates of the prior.
        points: Points of a sphere; even.
        radius: Radius of the first sphere, in units of a draw's usual distance from the mean,
            :math:`\sqrt d`.
        growth: By which a sphere grows.
        inside: Fraction of the points that must have the label for it to grow.
        pool: Fraction of the budget that goes into the draws.

    Source: Kahla, Chen, Just, Jia, 2022, arXiv:2203.01925.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "inversion-labels"
    summary: ClassVar[str] = (
        "the face of a class (model inversion), by labels alone: the middle of its region"
    )
    guarantee: ClassVar[str] = (
        "a witness: a person that a judge knows again has leaked; what it does not find may leak all the same"
    )
    goal: ClassVar[Goal] = "identity"
    access: ClassVar[str] = "labels"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 3

    components: int = 200
    points: int = 32
    radius: float = 0.4
    growth: float = 1.3
    inside: float = 0.9
    pool: float = 0.25

    def __post_init__(self) -> None:
        require_at_least(1, components=self.components)
        require_at_least(2, points=self.points)
        if self.points % 2 or not (self.radius > 0 and self.growth > 1):
            raise SettingError(
                f"points = {self.points}, radius = {self.radius}, growth = {self.growth}; expected an even "
                "number, a positive one, and one above 1"
            )
        if not (0 < self.inside <= 1 and 0 < self.pool < 1):
            raise SettingError(
                f"inside = {self.inside}, pool = {self.pool}; expected fractions: up to 1, and below 1"
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
        generator = torch.Generator().manual_seed(derive_seed(seed, "inversion", "draws"))
        count = max(1, int(self.pool * budget))
        drawn = torch.randn(count, prior.dimension, generator=generator, dtype=torch.float64).clamp(-BOX, BOX)
        labels = torch.cat([model.labels(prior.render(part)) for part in drawn.split(READ_BATCH_SIZE)])
        images = []
        with progress.bar(self.name, len(candidates) * (budget - count)) as advance:
            for y, one in zip(candidates.y.tolist(), candidates.ids.tolist(), strict=True):
                own = drawn[labels == y]
                start = own.mean(0) if len(own) else drawn.new_zeros(prior.dimension)
                region = _Region(self, model, prior, y, derive_seed(seed, "inversion", "labels", one))
                images.append(prior.render(region.center(start, budget - count, advance)[None])[0])
        return inversion.guess(images)


@dataclass(frozen=True, slots=True)
class _Region:
    """The pictures of a prior that a model gives one label."""

    settings: InversionLabels
    model: ModelView
    prior: PicturePrior
    y: int
    seed: int

    def center(self, w: Tensor, budget: int, advance: Callable[[int], None]) -> Tensor:
        """Return the center (d,) of the largest sphere found inside, from a first one."""
        settings, dimension = self.settings, self.prior.dimension
        generator = torch.Generator().manual_seed(self.seed)
        # Beyond this radius all points are at the faces of the box.
        largest = BOX * math.sqrt(dimension)
        radius = first = settings.radius * math.sqrt(dimension)
        spent = 1
        if budget < 1:
            return w
        is_inside = self.contains(w[None]).item()
        while spent + settings.points + 1 <= budget:
            half = torch.randn(settings.points // 2, dimension, generator=generator, dtype=torch.float64)
            half = half / half.norm(dim=1, keepdim=True)
            directions = torch.cat([half, -half])
            hits = self.contains(w + radius * directions)
            spent += settings.points
            advance(settings.points)
            fraction = float(hits.double().mean())
            if fraction >= settings.inside:
                radius = min(radius * settings.growth, largest)
                continue
            if fraction == 0:
                # The class lies further out, or inside the sphere where that has grown too large.
                radius = first if radius >= largest else min(radius * settings.growth, largest)
                continue
            # Pairs cancel, so that away from those outside is towards those inside.
            direction = -directions[~hits].mean(0)
            if not bool(direction.any()):
                continue
            direction = direction / direction.norm()
            step = min(radius / 3, MAX_STEP * math.sqrt(dimension))
            moved = (w + step * direction).clamp(-MAX_COORDINATE, MAX_COORDINATE)
            reaches = self.contains(moved[None]).item()
            spent += 1
            advance(1)
            # A start outside may move anywhere; from inside, no move leaves the class.
            if reaches or not is_inside:
                w, is_inside = moved, bool(reaches)
        return w

    def contains(self, w: Tensor) -> Tensor:
        """Return whether the pictures of coordinates (n, d) have the label (n,)."""
        return self.model.labels(self.prior.render(w.clamp(-BOX, BOX))) == self.y
