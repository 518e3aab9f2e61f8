"""What results about robustness say of themselves."""

from quintain.results.robustness_records import AttackDiagnostics


def test_trust_without_signs_is_high():
    assert AttackDiagnostics((), 0).summary == "high"
