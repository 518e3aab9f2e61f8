"""The result of a certifier prints short."""

import torch

from quintain.certify.outcome import CertificateOutcome


def test_it_prints_its_counts() -> None:
    certified = torch.tensor([True, False, False])
    made = CertificateOutcome(certified, torch.zeros(3), None, torch.ones(3), ("an assumption",), ~certified)
    assert repr(made) == "CertificateOutcome(3 examples, 1 certified, 2 failed)"
