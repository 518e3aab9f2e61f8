"""The laws of certifiers: no radius above the exact one, nothing proven of what is wrong, model untouched."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from quintain.certify import CertificateOutcome, largest_certified_radius
from quintain.models import Classifier
from quintain.testing.checking import Law, require, require_equal, run_laws
from quintain.testing.closed_forms import half_space
from quintain.testing.sticker_laws import check_sticker_edge_cases, check_stickers_break_nothing_certified
from quintain.threats import L1, L2, Linf, Threat

Certify = Callable[[Classifier, Tensor, Tensor], Tensor]
"""What a certifier proves, as a function: model, inputs (B, *S) and classes (B,) to radii (B,)."""

BALLS: dict[str, type[Threat]] = {"linf": Linf, "l2": L2, "l1": L1}
"""The threats in which the exact radius of a half-space is known."""


def check_certifier(certifier: Any, *, alpha: float = 0.0) -> None:
    """Check all laws of certifiers on one, in those of ``linf``, ``l2``, ``l1``, ``patch`` that it supports.

    A certifier of the model is asked for its largest radii. One that makes a model of its own and certifies
    that (``derive``) is asked for the radii of that, under a fixed seed.

    Args:
        certifier: A certifier, such as ``MyBounds()``, that says in ``supports`` what threats it proves.
        alpha: The probability that a certificate is false; 0 for a proof. Where it is given, radii above the
            exact ones break the law only if there are too many of them.

    Raises:
        AssertionError: If it breaks any law; the message names each, with what was seen.
    """
    kinds = [kind for kind in BALLS if kind in getattr(certifier, "supports", ("l2",))]
    stickers = "patch" in getattr(certifier, "supports", ())
    known = ", ".join((*BALLS, "patch"))
    laws: list[Law] = [
        ("a supported threat", lambda: require(bool(kinds) or stickers, f"one of {known} in supports"))
    ]
    if stickers:
        laws += [
            ("no sticker breaks", partial(check_stickers_break_nothing_certified, certifier)),
            ("edge cases of stickers", partial(check_sticker_edge_cases, certifier)),
        ]
    for kind in kinds:
        radii = partial(certified_radii, certifier, kind=kind)
        laws += [(f"{name} in {kind}", check) for name, check in _laws_of(radii, kind, alpha)]
    name = getattr(certifier, "name", type(certifier).__name__)
    run_laws(f"the certifier {name}", laws, getattr(certifier, "exemptions", ()))


def certified_radii(
    certifier: Any, model: Classifier, x: Tensor, y: Tensor, *, kind: str = "l2", asked: Sequence[float] = ()
) -> Tensor:
    """Return what a certifier proves: largest radii (B,), of the model or of the model that it makes of it.

    Args:
        certifier: A ``Certifier``, or one with ``derive(model)``, whose result has ``certify(x, y, seed=)``.
        model: The model.
        x, y: Inputs (B, *S) and their classes (B,).
        kind: One of ``BALLS``.
        asked: Radii that a certifier with ``derive`` is asked to decide, by ``certify(..., radii=)``.

    Raises:
        AssertionError: If the outcome holds no radii.
    """
    outcome: CertificateOutcome
    if hasattr(certifier, "derive"):
        outcome = certifier.derive(model).certify(x, y, seed=3, **({"radii": asked} if asked else {}))
    else:
        threat: Threat = BALLS[kind](0.1)  # type: ignore[call-arg]
        outcome = largest_certified_radius(certifier, model, x, y, threat)
    require(outcome.radius is not None, "a radius for each example", "None")
    return outcome.radius if outcome.radius is not None else x.new_zeros(len(x))


def check_radius_at_most_exact(
    certify: Certify, *, kind: str = "l2", alpha: float = 0.0, copies: int = 1
) -> None:
    """A certified radius lies at or below the exact one of a half-space, or above as rarely as ``alpha``.

    Args:
        certify: What the certifier proves.
        kind: One of ``BALLS``, the norm of the radii.
        alpha: The probability that a radius is false; with it, up to three standard deviations more.
        copies: Of each example.

    Raises:
        AssertionError: If more are above.
    """
    space = half_space(copies)
    exact = space.distance(kind)
    above = int((certify(space.model, space.x, space.y) > exact).sum())
    allowed = alpha * len(exact) + 3 * math.sqrt(alpha * (1 - alpha) * len(exact))
    require(
        above <= allowed,
        f"at most {allowed:.1f} of {len(exact)} certified radii above the exact distance",
        f"{above}",
    )


def check_halfspace_certified(certify: Certify, *, kind: str = "l2") -> None:
    """A half-space, which is easy, is certified up to four fifths of its exact radius, less 0.025.

    In L1 its boundary is across one coordinate: noise that proves L1 balls is least good along a diagonal.

    Args:
        certify: What the certifier proves.
        kind: One of ``BALLS``, the norm of the radii.

    Raises:
        AssertionError: If not.
    """
    space = half_space(normal=(1.0, 0.0)) if kind == "l1" else half_space()
    exact, found = space.distance(kind), certify(space.model, space.x, space.y)
    require(
        found > 0.8 * exact - 0.025,
        "radii above four fifths of the exact ones, less 0.025",
        f"{found.tolist()}",
    )


def check_wrong_not_certified(certify: Certify) -> None:
    """An example that is misclassified is not certified.

    Args:
        certify: What the certifier proves.

    Raises:
        AssertionError: If one is.
    """
    space = half_space()
    radii = certify(space.model, space.x, 1 - space.y)
    require(radii == 0, "radius 0 for what is misclassified", f"{radii.tolist()}")


def check_certified_alone(certify: Certify) -> None:
    """Each example is certified by itself, whatever the rest of the batch.

    Args:
        certify: What the certifier proves.

    Raises:
        AssertionError: If not.
    """
    space = half_space()
    whole = certify(space.model, space.x, space.y)
    part = certify(space.model, space.x[:2], space.y[:2])
    require_equal(part, whole[:2], "the same radii without the rest of the batch")


def check_certified_model_untouched(certify: Certify) -> None:
    """Weights, gradients and modes of the model are as before, and so is torch's global generator.

    Args:
        certify: What the certifier proves.

    Raises:
        AssertionError: If not.
    """
    space = half_space()
    weights, state = space.model.hash, torch.random.get_rng_state()
    certify(space.model, space.x, space.y)
    require(space.model.hash == weights, "the same weights as before")
    require(
        all(weight.grad is None for weight in space.model.net.parameters()), "no gradients on the weights"
    )
    require(not any(part.training for part in space.model.net.modules()), "every module in evaluation mode")
    require_equal(torch.random.get_rng_state(), state, "the same state of torch's global generator as before")


def check_nan_not_certified(certify: Certify) -> None:
    """A model that returns NaN proves nothing.

    Args:
        certify: What the certifier proves.

    Raises:
        AssertionError: If it does.
    """
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.fill_(math.nan)
    model = Classifier(nn.Sequential(nn.Flatten(), linear).eval())
    x = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    radii = certify(model, x, torch.zeros(3, dtype=torch.long))
    require(radii == 0, "radius 0 where the model returns NaN", f"{radii.tolist()}")


def _laws_of(certify: Certify, kind: str, alpha: float) -> list[Law]:
    """The laws of one certifier in one kind of threat."""
    at_most = partial(check_radius_at_most_exact, certify, kind=kind, alpha=alpha, copies=20 if alpha else 1)
    return [
        ("no radius above the exact one", at_most),
        ("a half-space is certified", partial(check_halfspace_certified, certify, kind=kind)),
        ("what is wrong is not certified", partial(check_wrong_not_certified, certify)),
        ("each example by itself", partial(check_certified_alone, certify)),
        ("the model is untouched", partial(check_certified_model_untouched, certify)),
        ("NaN proves nothing", partial(check_nan_not_certified, certify)),
    ]
