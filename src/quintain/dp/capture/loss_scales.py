"""What each term of the means and sums over a batch counts: one over its size, or always the same."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from quintain.core.errors import PrivacyError

SCALE_TOLERANCE = 1e-5
"""Relative tolerance between scales that count as equal."""


@dataclass(frozen=True, slots=True)
class TermScale:
    """How much one term of a mean or sum over the batch counts in the loss.

    Args:
        mean: Whether the operation was a mean.
        grad: Gradient at its result.
        num_terms: Numbers that it was over.
        batch_size: Examples of the pass.
    """

    mean: bool
    grad: float
    num_terms: int
    batch_size: int

    @property
    def per_term(self) -> float:
        """The gradient at one term."""
        return self.grad / self.num_terms if self.mean else self.grad


class LossScales:
    """The scales of a loss, step by step.

    Args:
        mean: Whether losses are declared to be means over the batch, or sums.
    """

    def __init__(self, *, mean: bool) -> None:
        self._mean = mean
        self._scales: list[TermScale] = []
        self._last_step: tuple[TermScale, ...] = ()

    @property
    def were_seen(self) -> bool:
        """Whether this step had any."""
        return bool(self._scales)

    def record(self, mean: bool, num_terms: int, batch_size: int, result: Any) -> None:
        """Record how much a term counts, once its gradient arrives.

        Args:
            mean: Whether the operation was a mean, or a sum.
            num_terms: Numbers that it was over.
            batch_size: Examples of the pass.
            result: What it gave.
        """
        if not isinstance(result, Tensor) or not result.requires_grad or batch_size < 2 or not num_terms:
            return

        def keep_scale(g: Tensor) -> None:
            scales = g.detach().flatten()
            if len(scales) and bool((scales == scales[0]).all()):
                self._scales.append(TermScale(mean, float(scales[0]), num_terms, batch_size))

        result.register_hook(keep_scale)

    def finish_step(self) -> str:
        """Compare with the step before, and return what could not be checked.

        Raises:
            PrivacyError: If what was declared a mean is a sum, or the reverse.
        """
        remark = ""
        now, self._scales = tuple(self._scales), []
        earlier, self._last_step = self._last_step, now
        # the gradient at a loss itself is 1: it is a mean or a sum as such
        for scale in now:
            if scale.grad == 1 and scale.mean is not self._mean:
                self._refuse_reduction()
        if len(now) != len(earlier):
            # a loss of one call an example has as many scales as examples: all equal, they count as one
            now, earlier = _one_if_equal(now), _one_if_equal(earlier)
        if not earlier or len(now) != len(earlier):
            return ""
        for scale, other in zip(now, earlier, strict=True):
            if scale.batch_size == other.batch_size or not scale.per_term or not other.per_term:
                continue
            # over batches of other sizes, a term of a sum counts the same, and one of a mean 1 / size
            alike, each = (
                _is_close(scale.per_term, other.per_term),
                _is_close(scale.per_term * scale.batch_size, other.per_term * other.batch_size),
            )
            if (alike, each) == ((True, False) if self._mean else (False, True)):
                self._refuse_reduction()
            if not (each if self._mean else alike):
                remark = (
                    "not checked: what one example counts changes from step to step, by a schedule or by the "
                    "batch"
                )
        return remark

    def _refuse_reduction(self) -> None:
        declared, actual = ("mean", "sum") if self._mean else ("sum", "mean")
        raise PrivacyError(
            f'the loss is a {actual} over the batch where loss_reduction="{declared}" was declared: '
            f'one record then changes the scale of all others; expected loss_reduction="{actual}", or a '
            f"{declared} (a gradient at the inputs, as of an attack, is taken in evaluation mode)"
        )


def _one_if_equal(scales: tuple[TermScale, ...]) -> tuple[TermScale, ...]:
    """The first scale alone if all are equal."""
    return scales[:1] if all(_is_close(one.per_term, scales[0].per_term) for one in scales) else scales


def _is_close(one: float, other: float) -> bool:
    return abs(one - other) <= SCALE_TOLERANCE * max(abs(one), abs(other))
