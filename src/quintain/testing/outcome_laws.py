"""The laws of what an attack returns: points that are allowed, replayable and never worse than clean."""

import torch
from torch import Tensor

from quintain.attacks.outcome import AttackOutcome, Model
from quintain.losses import margin
from quintain.testing.checking import require, require_equal
from quintain.threats import ParametricThreat, Threat
from quintain.threats.parametric import is_allowed, to_image

OUTCOME_FIELDS = ("adversarial", "success", "size", "forwards", "backwards", "error", "queries_to_success")
"""The tensors of an outcome that every attack fills."""


def chosen_points(outcome: AttackOutcome) -> Tensor:
    """Return what the adversary chose: the images, or a parametric threat's parameters."""
    return outcome.adversarial if outcome.params is None else outcome.params


def check_points_allowed(outcome: AttackOutcome, x: Tensor, threat: Threat) -> None:
    """Every returned point is allowed, renders its image, and a success is measured as the threat measures.

    Args:
        outcome: What the attack returned.
        x: The clean inputs (B, *S).
        threat: The threat that it was given.

    Raises:
        AssertionError: If not.
    """
    z, adversarial = chosen_points(outcome), outcome.adversarial
    parametric = isinstance(threat, ParametricThreat)
    require((outcome.params is not None) == parametric, "parameters exactly in a parametric threat")
    require(adversarial.shape == x.shape, f"points of shape {tuple(x.shape)}", f"{tuple(adversarial.shape)}")
    require(adversarial.dtype == x.dtype, f"points of {x.dtype}, as the inputs", f"{adversarial.dtype}")
    require(is_allowed(threat, z, x), f"every returned point within {threat.spec}, without tolerance")
    require_equal(to_image(threat, z, x), adversarial, "each image to be what its point renders")
    require(outcome.size.dtype == torch.float64, "sizes in float64", f"{outcome.size.dtype}")
    success = outcome.success
    measured = threat.measure(z, x).double()[success]
    require_equal(outcome.size[success], measured, "the size of a success to be what the threat measures")
    require(outcome.size[~success].isinf(), "an infinite size without success")


def check_replayable(outcome: AttackOutcome, model: Model, x: Tensor, y: Tensor, threat: Threat) -> None:
    """A success is misclassified when it is queried again, and says by what and at which query it was found.

    Args:
        outcome: What the attack returned.
        model: The model that it attacked.
        x, y: The clean inputs (B, *S) and their classes (B,).
        threat: The threat that it was given.

    Raises:
        AssertionError: If not.
    """
    with torch.no_grad():
        wrong = model(outcome.adversarial).argmax(1) != y
    success = outcome.success
    require(~success | wrong, "every success to be misclassified again")
    require(~success | is_allowed(threat, chosen_points(outcome), x), f"every success within {threat.spec}")
    require(~(success & outcome.error), "no success where the model returned NaN")
    named = [bool(name) for name in outcome.found_by]
    require(named == success.tolist(), "the name of an attack exactly for a success", f"{outcome.found_by}")
    require_equal(outcome.queries_to_success > 0, success, "a query of the success exactly for a success")
    require(outcome.queries_to_success <= outcome.forwards, "a success among the queries that were counted")


def check_never_worse(outcome: AttackOutcome, model: Model, x: Tensor, y: Tensor) -> None:
    """A returned point has at least the clean margin, and a misclassified clean input is a success of size 0.

    Args:
        outcome: What the attack returned.
        model: The model that it attacked.
        x, y: The clean inputs (B, *S) and their classes (B,).

    Raises:
        AssertionError: If not.
    """
    with torch.no_grad():
        clean, found = model(x), model(outcome.adversarial)
    require(margin(found, y) >= margin(clean, y) - 1e-12, "a margin at least that of the clean input")
    wrong = clean.argmax(1) != y
    require(outcome.success[wrong], "a misclassified clean input to count as a success")
    require(outcome.size[wrong] == 0, "a success of size 0 where the clean input is misclassified")
