"""Softmax, its logarithm or a sigmoid as the last operation of a net: what it makes of margins of logits."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from quintain.certify.interval.smooth import LIBRARY_ROUNDINGS
from quintain.certify.rounding import RoundingModel

Kind = Literal["softmax", "log_softmax"]

LAYERS: dict[type[nn.Module], Kind] = {nn.Softmax: "softmax", nn.LogSoftmax: "log_softmax"}
FUNCTIONS: dict[object, Kind] = {
    **dict.fromkeys((F.softmax, torch.softmax, "softmax"), "softmax"),
    **dict.fromkeys((F.log_softmax, torch.log_softmax, "log_softmax"), "log_softmax"),
}

SIGMOIDS: frozenset[object] = frozenset((nn.Sigmoid, torch.sigmoid, "sigmoid", "sigmoid_"))
RESHAPES: frozenset[object] = frozenset(
    (
        *(nn.Flatten, nn.Identity, torch.flatten, torch.squeeze, torch.reshape),
        *("flatten", "squeeze", "reshape", "view", "contiguous"),
    )
)
"""Operations that give the same numbers in another shape."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    r"""What a net makes of logits z at last.

    With :math:`m_j \le z_y - z_j`, :math:`S = \sum_k e^{-m_k}` and :math:`p = softmax(z)`,

    .. math:: p_y \ge 1/S, \qquad
        p_y - p_j = p_y (1 - e^{-(z_y - z_j)}) \ge (1 - e^{-m_j}) / S \text{ where } m_j \ge 0,
        \text{ else } \ge e^{m_j} - 1

    and :math:`\log p_y - \log p_j = z_y - z_j \ge m_j`; less what the model rounds.

    Args:
        node: The operation.
        kind: Which one it is.
    """

    node: fx.Node
    kind: Kind

    def margins(self, bounds: Tensor, y: Tensor, rounding: RoundingModel) -> Tensor:
        """Return lower bounds (B, K) on the true score minus each, with 0 at the true class.

        Args:
            bounds: Those of the logits (B, K), with 0 at the true class.
            y: True classes (B,).
            rounding: How the net rounds.
        """
        roundings = bounds.shape[1] + 2 * LIBRARY_ROUNDINGS
        # both scores are off by up to so much; of logarithms, which are 0 or less, log S bounds the true one
        total = (-bounds).exp().sum(1, keepdim=True)
        if self.kind == "softmax":
            found, sizes = (
                torch.where(bounds >= 0, -torch.expm1(-bounds) / total, bounds.expm1()),
                total * 0 + 1,
            )
        else:
            found, sizes = bounds, bounds.abs() + 2 * total.log() + 1
        slack = 2 * rounding.error_bound(roundings, sizes, torch.ones_like(bounds))
        return (found - slack).scatter(1, y[:, None], 0.0)


def scores_of(answer: fx.Node, root: nn.Module) -> Scores | None:
    """Return what the operation ``answer`` of a net makes of logits, if it is one of these over classes."""
    # what else uses the scores may write into them
    if len(answer.all_input_nodes) != 1 or len(answer.users) != 1:
        return None
    if answer.op == "call_module":
        layer = root.get_submodule(str(answer.target))
        kind, dim = LAYERS.get(type(layer)), getattr(layer, "dim", None)
    else:
        kind = FUNCTIONS.get(answer.target)
        dim = answer.args[1] if len(answer.args) > 1 else answer.kwargs.get("dim")
        others = [value for key, value in answer.kwargs.items() if key not in {"dim", "_stacklevel"}]
        if len(answer.args) > 2 or any(value is not None for value in others):
            return None
    return Scores(answer, kind) if kind is not None and dim in (1, -1) else None


def ends_in_sigmoid(answer: fx.Node, root: nn.Module) -> bool:
    """Tell whether the last operation of a net, up to the shape of its result, is a sigmoid."""
    node: object = answer
    while isinstance(node, fx.Node) and node.op in {"call_module", "call_function", "call_method"}:
        kind = type(root.get_submodule(str(node.target))) if node.op == "call_module" else node.target
        if kind in SIGMOIDS:
            return True
        if kind not in RESHAPES:
            return False
        node = node.args[0] if node.args else None
    return False
