"""What results about robustness say of themselves."""

from quintain.results.robustness_records import AttackDiagnostics, Indicator

FOUND = Indicator("zero gradients", 1.0, 0.05, True, "the gradient is zero on 100 % of the examples")
FINE = Indicator("zero gradients", 0.0, 0.05, False, "the gradient is zero on 0 % of the examples")


def test_trust_is_high_only_where_probes_found_no_indicator():
    assert AttackDiagnostics((FINE,), 50).summary == "high"
    assert AttackDiagnostics((FOUND,), 50).summary == f"doubtful, because {FOUND.message}"


def test_trust_is_not_judged_without_a_probe_or_with_a_reason_and_doubt_comes_first():
    assert AttackDiagnostics((), 0).summary == "not judged: no example was probed"
    assert AttackDiagnostics((FINE,), 50, "19 queries").summary == "not judged: 19 queries"
    assert AttackDiagnostics((FOUND,), 0, "19 queries").summary == f"doubtful, because {FOUND.message}"
