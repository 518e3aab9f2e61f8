"""What an attack calls, and what it returns."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from quintain.core.notebook import html_table

Model = Callable[[Tensor], Tensor]
"""Anything that gives logits (B, K), K at least 2, for inputs (B, *S): a ``Classifier``, a smoothed model, a
plain function.
"""


@dataclass(frozen=True, slots=True, eq=False)
class AttackOutcome:
    """The result of an attack on each example of a batch; an example is broken, in error, or neither.

    Args:
        adversarial: The allowed image of the largest margin found (B, *S), the clean one included; the
            successful one where there is one.
        success: Whether that image, as it is stored, is allowed by the threat and was confirmed as
            adversarial (B,) bool.
        size: Size of the perturbation (B,) float64, as the threat measures it; 0 where the clean prediction
            is wrong, infinite without success.
        forwards: Forward passes (B,) long.
        backwards: Backward passes (B,) long.
        error: Whether the model returned NaN on the way (B,) bool: no claim is made about such an example.
        found_by: The attack that succeeded on each example, B names; empty without success, ``unchanged``
            where the clean prediction is wrong.
        queries_to_success: ``forwards`` at the first success (B,) long; 0 without one.
        params: For a parametric threat, the parameters (B, P) that ``adversarial`` is rendered from.
        threat: Spec of the threat, for people; empty where it was not said.
        smallest_sizes: Size of the smallest change that breaks the model, beyond the threat too, after half
            of the queries and after all (2, B) float64; infinite where none was found. Only attacks that use
            labels alone say it.
    """

    adversarial: Tensor
    success: Tensor
    size: Tensor
    forwards: Tensor
    backwards: Tensor
    error: Tensor
    found_by: tuple[str, ...]
    queries_to_success: Tensor
    params: Tensor | None = None
    threat: str = ""
    smallest_sizes: Tensor | None = None

    def __repr__(self) -> str:
        facts = [f"{len(self.success)} examples", f"{int(self.success.sum())} broken"]
        facts += [f"{int(self.error.sum())} invalid"] * bool(self.error.any())
        return f"AttackOutcome({', '.join([*facts, self.threat] if self.threat else facts)})"

    def _repr_html_(self) -> str:
        counts = Counter(name for name in self.found_by if name).most_common()
        sizes = self.size[self.success]
        rows = [
            ("examples", f"{len(self.success):,}"),
            ("broken", f"{int(self.success.sum()):,}"),
            *((f"\N{NO-BREAK SPACE}\N{NO-BREAK SPACE}by {name}", f"{many:,}") for name, many in counts),
            ("unbroken", f"{int((~self.success & ~self.error).sum()):,}"),
            ("invalid output (NaN)", f"{int((self.error & ~self.success).sum()):,}"),
        ]
        if len(sizes):
            rows.append(("median size of a break", f"{float(sizes.median()):.4g}"))
        if len(self.success):
            rows.append(("forward passes per example", f"{float(self.forwards.double().mean()):.1f}"))
            rows.append(("gradients per example", f"{float(self.backwards.double().mean()):.1f}"))
        return html_table(f"Attack {self.threat}".strip(), rows)
