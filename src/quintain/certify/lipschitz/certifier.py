"""The certifier by Lipschitz constants: one number for each net, and a radius from the margin alone."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from quintain.certify.interval.certifier import LayerCertifier, cast_input
from quintain.certify.interval.domain import Interval, input_interval
from quintain.certify.interval.graph import TracedNetwork
from quintain.certify.interval.recording import Operation, Recording
from quintain.certify.interval.traced_bounds import MarginBounds, radii
from quintain.certify.lipschitz.growth import SLACK, Growth
from quintain.certify.lipschitz.norms import norm_bound
from quintain.certify.rounding import FLOAT64_SAFETY_FACTOR, RoundingModel
from quintain.core.errors import SettingError
from quintain.results.literals import LIPSCHITZ_BOUNDS
from quintain.threats.l2 import L2
from quintain.threats.threat import Threat


@dataclass(frozen=True, slots=True)
class Lipschitz(LayerCertifier):
    r"""Global Lipschitz constants in L2, of the model *that runs*.

    .. math:: certified \iff \min_{j \ne y}\; z_y(x) - z_j(x) - \|w_y - w_j\|_2\, L\, \varepsilon - err > 0

    L bounds the constant of all layers before the last linear one, as a product over layers and a sum over
    branches of norms that are never below the exact ones (``spectral_norm_bound``, ``conv_norm_bound``); err
    is what the model's rounding may change anywhere in the ball, and float64 in the bound itself.

    It certifies nets that were trained for it (``LipschitzTraining``), and next to nothing of others: of
    several layers the product is far above what one input sees.

    Guarantee: as of ``IntervalBounds``, within L2 balls.

    Raises:
        ModelError, DataError, ContradictionError: As of ``IntervalBounds``; ModelError also for layers
            without a constant, by name.
        SettingError: For a threat that is not ``L2``.

    Source: Tsuzuku, Sato and Sugiyama, 2018, arXiv:1802.04034; Delattre et al., 2023, arXiv:2305.16173.
    """

    name: ClassVar[str] = "lipschitz"
    summary: ClassVar[str] = "global Lipschitz constants, for L2 and nets that were trained for them"
    guarantee: ClassVar[str] = (
        "deterministic: no input of the ball changes the answer of the model that runs, its float32 rounding "
        "and the bound's own in float64 included"
    )
    title: ClassVar[str] = LIPSCHITZ_BOUNDS
    supports: ClassVar[tuple[str, ...]] = ("l2",)
    example: ClassVar[str] = "l2:0.5"
    default_rank: ClassVar[int] = 7

    def _margins(self) -> MarginBounds:
        return _LipschitzMargins()


@dataclass(frozen=True, slots=True, eq=False)
class _LipschitzMargins:
    """Bounds of margins, as ``MarginBounds`` says.

    Args:
        norms: Of operations, by the shape of an example.
    """

    norms: dict[torch.Size, dict[int, tuple[float, ...]]] = field(default_factory=dict)

    def __call__(
        self,
        traced: TracedNetwork,
        x: Tensor,
        y: Tensor,
        threat: Threat,
        eps: Tensor | None,
        rounding: RoundingModel,
        *,
        correct: Tensor,  # noqa: ARG002
        points: Tensor | None = None,
    ) -> Tensor:
        if not isinstance(threat, L2):
            raise SettingError(f"Lipschitz constants certify L2 balls; got {threat!r}")
        # a change is measured in float64, by a sum of as many terms as there are coordinates
        radius = radii(x, threat, eps) * (1 + FLOAT64_SAFETY_FACTOR * (x[0].numel() + 4) * 2.0**-53)
        box, recording = input_interval(x, threat, radius), Recording()
        growth = Growth(recording, x, radius, self.norms.setdefault(x.shape[1:], {}), rounding)
        recording.refine = growth.narrow
        interval = Interval(box.center, box.radius, box.ellipsoid, recording.add_input(box.magnitude))
        logits = traced.logit_bounds(
            cast_input(interval, rounding),
            rounding,
            observed=None if points is None else traced.observe(points),
        )
        assert logits.operation is not None
        return _margins(logits.operation, traced, growth, y)


def _margins(last: Operation, traced: TracedNetwork, growth: Growth, y: Tensor) -> Tensor:
    """Return lower bounds (B, K) on the true logit minus each, with 0 at the true class."""
    logits = growth.of(last).reference
    if traced.head is not None and last.affine is not None:
        # the last linear layer's rows are subtracted first, and its own rounding is that of two logits
        rows, source = traced.head.weight.detach().to(logits.dtype), last.sources[0]
        products = rows.shape[1] + 4
        error = last.error + FLOAT64_SAFETY_FACTOR * products * 2.0**-53 * last.terms
    else:
        rows, source = torch.eye(logits.shape[1], dtype=logits.dtype, device=logits.device), last
        error = torch.zeros_like(logits)
    if logits.shape[1] == 1:  # one logit z stands for (0, z)
        logits, error, rows = F.pad(logits, (1, 0)), F.pad(error, (1, 0)), F.pad(rows, (0, 0, 1, 0))
    reach = growth.radius(source)[:, None]
    distances = torch.stack([norm_bound(rows[y] - row, 1) for row in rows], 1) * SLACK
    bound = logits.gather(1, y[:, None]) - logits - distances * reach - error - error.gather(1, y[:, None])
    # the sums above round each by a unit of their terms
    sizes = logits.abs() + logits.gather(1, y[:, None]).abs() + distances * reach
    bound = bound - FLOAT64_SAFETY_FACTOR * 2.0**-53 * sizes
    return bound.masked_fill(F.one_hot(y, logits.shape[1]).bool(), 0.0)
