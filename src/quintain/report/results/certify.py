"""Certificates: their claims say it all.

The page compares them with the attacks in ``sections.certificates``.
"""

from quintain.report.presentation import Presentation
from quintain.results.robustness_records import CertifyResult

PRESENTATION = Presentation(CertifyResult, "Certification")
