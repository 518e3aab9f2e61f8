"""The inner maximization of adversarial training, within a ball or over the parameters of a change."""

from torch import Tensor, nn

from quintain.attacks.gradient.pgd import PGD
from quintain.attacks.inner_maximization import maximize_loss
from quintain.core.registry import get_entry
from quintain.core.threat_specs import threat_name
from quintain.models.adapters import forward_logits
from quintain.threats.threat import Threat


def find_worst_points(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: Threat,
    *,
    steps: int,
    rel_step_size: float,
    seed: int,
    ids: Tensor | None = None,
) -> Tensor:
    """Return points (B, *S) of a threat with a large loss of a net in evaluation mode.

    Within a norm ball all examples take all steps. Of a sticker, thrown light, a change of color or a
    distortion the parameters are searched by ``PGD``, from a random place, which stops at an example's first
    success and leaves those alone that are misclassified.

    Args:
        net: The net in training, in evaluation mode.
        x: Inputs (B, *S).
        y: True classes (B,).
        threat: What may be changed.
        steps: Gradients per example.
        rel_step_size: Length of the first step relative to the threat's ``eps``, within a ball.
        seed: Of the random starts.
        ids: The examples' numbers in their data set (B,).
    """
    if is_parametric(threat):
        attacked = PGD(steps=steps)(lambda z: forward_logits(net, z), x, y, threat, seed=seed, ids=ids)
        return attacked.adversarial
    return maximize_loss(
        lambda z: forward_logits(net, z),
        x,
        y,
        threat,
        steps=steps,
        rel_step_size=rel_step_size,
        seed=seed,
        ids=ids,
    )


def is_parametric(threat: Threat) -> bool:
    """Return whether a threat is a change with parameters, and no ball of a norm."""
    return get_entry("threat", threat_name(threat.spec)).is_true("parametric")
