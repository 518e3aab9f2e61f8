"""The one call for an engineer in a hurry."""

from torch import Tensor

from quintain.attacks.outcome import AttackOutcome, Model
from quintain.core.registry import get_entry
from quintain.threats import parse
from quintain.threats.threat import Threat


def attack(model: Model, x: Tensor, y: Tensor, threat: Threat | str, *, seed: int = 0, ids: Tensor | None = None) -> AttackOutcome:
    """Attack a batch with the quick ensemble, the one to begin with.

    Args:
        model: Gives logits (B, K), with gradients.
        x: Inputs (B, *S), in the threat's box.
        y: True classes (B,) long.
        threat: What may be changed, or its token, such as ``"linf:8/255"``.
        seed: Of all draws.
        ids: The examples' numbers in their data set (B,); 0, 1, 2 ... if not given.

    Guarantee:
        Each success is allowed by the threat (float64, no tolerance) and was confirmed by a second forward
        pass on the stored point. A failure does not show robustness.
    """
    ball = parse(threat) if isinstance(threat, str) else threat
    outcome: AttackOutcome = get_entry("attack", "quick").load()()(model, x, y, ball, seed=seed, ids=ids)
    return outcome
