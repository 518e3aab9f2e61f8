"""The loop that every gradient attack shares: it owns the active set, the cost and the best point."""

from collections.abc import Callable

import torch
from torch import Tensor

from quintain.attacks.meter import Loss, Meter
from quintain.attacks.outcome import AttackOutcome, Model
from quintain.attacks.verdict import breaks, fooled
from quintain.core.errors import DataError
from quintain.losses.margin import margin
from quintain.threats.ball import Ball, Room, require_inside
from quintain.threats.draw import Draw

Start = Callable[[Tensor, Draw, Room], Tensor]
"""First points (n, *S) for clean ones (n, *S), from their streams of random numbers and the threat's room."""

Rule = Callable[[int, Tensor, Tensor, Tensor, Room], Tensor]
"""Next points from (step, points, gradient, clean points, the threat's room)."""


@torch.inference_mode(False)
@torch.no_grad()
def climb(
    model: Model,
    x: Tensor,
    y: Tensor,
    threat: Ball,
    *,
    draw: Draw,
    start: Start,
    rule: Rule,
    steps: int,
    restarts: int = 1,
    loss: Loss = margin,
) -> AttackOutcome:
    """Gradient ascent on the examples still standing; each keeps its best point, the clean one included.

    An example is asked once as it is, then ``steps`` times with a gradient and once without for each restart, until it breaks;
    from then on it costs nothing but the final check of the stored point.

    Args:
        model: Gives logits (B, K); left as it was, also after an error.
        x: Inputs (B, *S) in the threat's box.
        y: True classes (B,) long.
        threat: What may be changed; the rule must stay inside, or its points count for nothing.
        draw: The examples' streams of random numbers; restart r uses ``draw.at(r)``.
        start: Gives the first points.
        rule: Gives the next points.
        steps: Gradients per example and restart.
        restarts: How often to start.
        loss: What is ascended; the best point is always the one of the largest margin.

    Raises:
        DataError: If inputs lie outside the box, or labels do not fit them.
        ModelError: If the model does not answer with logits, or has no gradient.
    """
    require_inside(threat, x)
    if y.shape != x.shape[:1] or y.dtype != torch.long:
        raise DataError(f"labels of shape {tuple(y.shape)} and {y.dtype}; expected ({len(x)},) torch.int64, one class per input")
    x = x.detach().clone()
    meter, record = Meter(model, y), _Record(x, y)
    standing = torch.arange(len(x), device=x.device)
    if len(standing):
        standing = standing[record.see(standing, x, meter.scores(x, standing))]
    for restart in range(restarts):
        rows, streams = standing, draw.at(restart)
        clean = x[rows]
        room = threat.room(clean)
        z = start(clean, streams.of(rows), room)
        for step in range(steps):
            if not len(rows):
                break
            logits, gradient = meter.slope(z, y[rows], rows, loss)
            still = record.see(rows, z, logits)
            if not still.all():
                rows, z, gradient, clean, *rest = (part[still] for part in (rows, z, gradient, clean, *room))
                room = tuple(rest)
            z = rule(step, z, gradient, clean, room)
        if len(rows):
            rows = rows[record.see(rows, z, meter.scores(z, rows))]
        standing = rows
    return record.outcome(meter, threat)


class _Record:
    """The best point of each example so far."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y, self.best = x, y, x.clone()
        self.height = x.new_full((len(x),), -torch.inf)
        self.broken = torch.zeros_like(y, dtype=torch.bool)
        self.error = torch.zeros_like(self.broken)

    def see(self, rows: Tensor, z: Tensor, logits: Tensor) -> Tensor:
        """Judge points of ``rows``, keep what is better, and say which rows still stand."""
        height = margin(logits, self.y[rows]).to(self.height.dtype)
        broken, error = fooled(logits, self.y[rows]), height.isnan()
        better = broken | (height > self.height[rows])
        kept = rows[better]
        self.best[kept], self.height[kept] = z[better], height[better]
        self.broken[rows], self.error[rows] = broken, error
        return ~(broken | error)

    def outcome(self, meter: Meter, threat: Ball) -> AttackOutcome:
        """Ask once more at the stored points: what cannot be reproduced is not broken."""
        rows = self.broken.nonzero().squeeze(1)
        if len(rows):
            z = self.best[rows]
            logits = meter.scores(z, rows)
            self.broken[rows] = breaks(logits, z, self.x[rows], self.y[rows], threat)
            self.error[rows] = logits.isnan().any(1)
        size = threat.measure(self.best, self.x) if len(self.x) else self.height.double()
        size = torch.where(self.broken, size, torch.inf)
        return AttackOutcome(self.best, self.broken, size, meter.forwards, meter.backwards, self.error)
