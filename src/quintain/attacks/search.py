"""What every attack shares: the questions asked, who still stands, and the best allowed point of each example."""

from collections.abc import Callable
from copy import copy
from typing import NamedTuple, Self

import torch
from torch import Tensor

from quintain.attacks.goal import Goal, Loss
from quintain.attacks.meter import Meter
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.verdict import breaks
from quintain.threats.ball import Ball, boxed
from quintain.threats.draw import Draw
from quintain.threats.family import Family, allowed, identity, rendered

OUTWARDS = (1e-6, 1e-5, 1e-4, 1e-3)
"""By how much a smallest change is lengthened where the final check, in another batch, falls on the other side of the boundary."""


class Answer(NamedTuple):
    """What a model says at n points: logits (n, K), the loss' values (n,), its gradients (n, ...)."""

    logits: Tensor
    values: Tensor
    gradient: Tensor


class Search:
    """One attack on one batch: it asks, judges every answer, and keeps what is best.

    Points ``z`` are the adversary's: images for a ball, parameters for a family. Points given to ``scores`` and ``slope`` must be
    allowed, unless the smallest change is sought: then any point is judged by its size.

    Args:
        model: Gives logits (B, K).
        x: Clean inputs (B, *S).
        goal: What counts as broken.
        threat: What may be changed.
        draw: The examples' streams of random numbers.
        name: Of the attack.
        smallest: Go on after a break, and keep the smallest change; else the first break ends an example.
        queries: How often an example may be asked about, the final check included.
        safe: Examples (B,) bool about which nothing is asked.
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        goal: Goal,
        threat: Ball,
        draw: Draw,
        *,
        name: str,
        smallest: bool = False,
        queries: int | None = None,
        safe: Tensor | None = None,
    ) -> None:
        self.x, self.goal, self.threat, self.draw, self.name, self.smallest = x, goal, threat, draw, name, smallest
        self.meter = Meter(model, goal.y, queries)
        self.family = threat if isinstance(threat, Family) else None
        self.origin = identity(threat, x)
        self.best = self.origin.clone()
        self.height = x.new_full((len(x),), -torch.inf)
        self.size = torch.full_like(self.height, torch.inf, dtype=torch.float64)
        self.broken = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        self.error, self.astray, self.unchanged = self.broken.clone(), self.broken.clone(), self.broken.clone()
        self.found = torch.zeros_like(goal.y)
        self.safe = torch.zeros_like(self.broken) if safe is None else safe
        self.clean_logits = self._clean((~self.safe).nonzero().squeeze(1))
        self.unchanged = self.broken.clone()
        self.size[self.broken] = 0
        self.settled = torch.zeros_like(self.broken)
        self.credit: dict[int, str] = {}

    @property
    def rows(self) -> Tensor:
        """The examples that still stand (n,)."""
        return self.standing(torch.arange(len(self.x), device=self.x.device)).nonzero().squeeze(1)

    def standing(self, rows: Tensor, price: int = 1) -> Tensor:
        """Which of ``rows`` go on (n,) bool: not in error, not done, and able to pay ``price`` questions beside the final check."""
        done = self.safe | self.error | (self.unchanged | self.astray if self.smallest else self.broken)
        still = ~done[rows]
        return still if self.meter.queries is None else still & (self.meter.left(rows) > price)

    def ask(self, z: Tensor, rows: Tensor) -> Tensor:
        """Logits (n, K) at points that are no candidates, such as probes; ``rows`` may repeat."""
        return self.meter.scores(self._image(z, rows), rows)

    def scores(self, z: Tensor, rows: Tensor) -> Tensor:
        """Logits (n, K) at candidates, one an example, each judged."""
        logits = self.ask(z, rows)
        self.judge(z, rows, logits)
        return logits

    def slope(self, z: Tensor, rows: Tensor, loss: Loss, through: Callable[[Tensor], Tensor] | None = None) -> Answer:
        """Logits, values and gradients at candidates, one an example, each judged.

        Args:
            z: The candidates (n, ...).
            rows: Their examples (n,).
            loss: What is differentiated.
            through: From the candidates' images to those that the model is shown instead, differentiable. Such an answer is counted,
                and is judged only where the image shown is the candidate's own, bit for bit.
        """
        if through is None:
            image = None if self.family is None else (lambda point: self._image(point, rows))
            answer = Answer(*self.meter.slope(z, rows, loss, image))
            self.judge(z, rows, answer.logits)
            return answer
        own = torch.ones_like(rows, dtype=torch.bool)

        def shown(point: Tensor) -> Tensor:
            plain = self._image(point, rows)
            other = through(plain)
            own.copy_((other == plain).flatten(1).all(1))
            return other

        answer = Answer(*self.meter.slope(z, rows, loss, shown))
        if own.any():
            self.judge(z[own], rows[own], answer.logits[own])
        return answer

    def judge(self, z: Tensor, rows: Tensor, logits: Tensor) -> None:
        """Keep what is better; ``rows`` do not repeat."""
        height = self.goal.margin(logits, rows).to(self.height.dtype)
        reached, ill = self.goal.reached(logits, rows), height.isnan()
        if self.smallest:
            self._judge_size(z, rows, reached)
            self._judge_error(z, rows, ill)
            return
        if ill.any():
            self.error[rows] |= ill
        better = (reached | (height > self.height[rows])).nonzero().squeeze(1)
        if not len(better):
            return
        kept = rows[better]
        self.best[kept], self.height[kept] = z[better], height[better]
        if reached.any():
            self._first(rows[reached])

    def rivals(self, rows: Tensor, count: int) -> Tensor:
        """The wrong classes with the largest clean logits, best first: (n, min(count, K - 1))."""
        others = self.clean_logits[rows].scatter(1, self.goal.y[rows, None], -torch.inf)
        return others.topk(min(count, others.shape[1] - 1), dim=1).indices

    def branch(self, draw: Draw, *, name: str, smallest: bool = False) -> Self:
        """A search of its own on what still stands, with this one's meter and clean answers; ``adopt`` takes in what it found.

        Args:
            draw: The examples' streams of random numbers.
            name: Of the attack that is to pursue it.
            smallest: Whether that one seeks the smallest change.
        """
        part = copy(self)
        part.draw, part.name, part.smallest, part.credit = draw, name, smallest, {}
        part.height, part.size, part.found = self.height.clone(), self.size.clone(), self.found.clone()
        part.best = self.origin.clone() if smallest else self.best.clone()
        part.broken, part.error, part.astray = self.broken.clone(), self.error.clone(), torch.zeros_like(self.astray)
        part.settled = self.broken | self.error
        part.unchanged = part.settled.clone()
        return part

    def adopt(self, part: "Search") -> None:
        """Take in what a branch found: its breaks, asked again, its errors, and its best points unless it sought the smallest change."""
        closed = part.unchanged
        part.settle()
        new = part.broken & ~closed
        taken = new if part.smallest else ~closed
        self.best[taken], self.height[taken] = part.best[taken], part.height[taken]
        self.broken, self.settled, self.error = self.broken | new, self.settled | new, self.error | part.error
        self.found[new] = part.found[new]
        self.credit.update(dict.fromkeys(new.nonzero().squeeze(1).tolist(), part.name))

    def settle(self) -> None:
        """Ask once more at the stored points of what was broken since: what cannot be reproduced is not broken."""
        if self.smallest:
            self.broken = (self.settled & self.broken) | ((self.size <= self.threat.eps) & ~self.error & ~self.settled)
            self.best[~self.broken] = self.origin[~self.broken]
        rows = (self.broken & ~self.settled).nonzero().squeeze(1)
        if len(rows):
            lost = rows[~self._holds(rows)]
            for outwards in OUTWARDS if self.smallest and self.family is None else ():
                lost = lost[self.meter.left(lost) > 0]
                if not len(lost):
                    break
                clean = self.x[lost]
                self.best[lost] = self.threat.project(clean + (1 + outwards) * (self.best[lost] - clean), clean)
                lost = lost[~self._holds(lost)]
            if self.smallest:
                self.best[lost] = self.origin[lost]
        self.settled = self.settled | self.broken

    def outcome(self) -> AttackOutcome:
        """Settle, and say what was found."""
        self.settle()
        size = self.threat.measure(self.best, self.x) if len(self.x) else self.size
        by = tuple(
            ("unchanged" if same else self.credit.get(row, self.name)) if hit else ""
            for row, (hit, same) in enumerate(zip(self.broken.tolist(), self.unchanged.tolist(), strict=True))
        )
        return AttackOutcome(
            rendered(self.threat, self.best, self.x),
            self.broken,
            torch.where(self.broken, size.double(), torch.inf),
            self.meter.forwards,
            self.meter.backwards,
            self.error,
            by,
            torch.where(self.broken, self.found, 0),
            None if self.family is None else self.best,
        )

    def _clean(self, rows: Tensor) -> Tensor:
        """The answers (B, K) to unchanged inputs, 0 for those that are not asked about."""
        if not len(rows):
            return self.x.new_zeros(len(self.x), 2)
        logits = self.scores(self.origin[rows], rows)
        return logits.new_zeros(len(self.x), logits.shape[1]).index_copy_(0, rows, logits)

    def _holds(self, rows: Tensor) -> Tensor:
        z, clean = self.best[rows], self.x[rows]
        logits = self.ask(z, rows)
        self.broken[rows] = breaks(self.goal.reached(logits, rows), z, clean, self.threat)
        self.error[rows] = logits.isnan().any(1)
        return self.broken[rows] | self.error[rows]

    def _judge_size(self, z: Tensor, rows: Tensor, reached: Tensor) -> None:
        if not reached.any():
            return
        z, rows = z[reached], rows[reached]
        size = self.threat.measure(z, self.x[rows])
        less = (size < self.size[rows]) & boxed(self.threat, self._image(z, rows))
        self.best[rows[less]], self.size[rows[less]] = z[less], size[less]
        self._first(rows[less & (size <= self.threat.eps)])

    def _judge_error(self, z: Tensor, rows: Tensor, ill: Tensor) -> None:
        """NaN ends a search; an error of this threat it is only at a point that the threat allows."""
        if ill.any():
            z, rows = z[ill], rows[ill]
            self.astray[rows] = True
            self.error[rows] |= allowed(self.threat, z, self.x[rows])

    def _first(self, rows: Tensor) -> None:
        new = rows[~self.broken[rows]]
        self.broken[new], self.found[new] = True, self.meter.forwards[new]

    def _image(self, z: Tensor, rows: Tensor) -> Tensor:
        return z if self.family is None else self.family.render(self.x[rows], z)
