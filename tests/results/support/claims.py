"""Claims on robust accuracy, from the counts of both sides."""

from quintain.results import Basis, Bound, Bracket, CountEvidence, Quantity, Side
from quintain.results.quantity import Metric
from quintain.results.records import Claim


def claim(low, high, *, model="certified", threat="linf:4/255", delivered=True):
    of = Quantity(Metric.ROBUST_ACCURACY, model, "data", threat)
    lower = Bound(of, Side.LOWER, low / 1000, Basis.PROOF, CountEvidence(low, 1000))
    upper = Bound(of, Side.UPPER, high / 1000, Basis.WITNESS, CountEvidence(high, 1000))
    return Claim(f"{model}:{threat}", "Robust accuracy", model, Bracket(lower, upper), delivered)
