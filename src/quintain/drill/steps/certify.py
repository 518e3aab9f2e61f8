"""Prove what can be proved, and put it beside what attacks refuted."""

from quintain.certify import IntervalBounds
from quintain.drill.stage import HEADLINE, Stage
from quintain.drill.steps.harden import SIGMA
from quintain.evaluate.brackets import bracket_claims
from quintain.evaluate.outcome import Outcome
from quintain.evaluate.proved import prove
from quintain.evaluate.smoothing import Smoothing, smoothed_bracket
from quintain.results.records import Claim
from quintain.results.robustness_records import CertifiedModel, CertifyResult
from quintain.threats import L2

SMOOTHED_SIZES = (0.25, 0.5)


def run(stage: Stage) -> Outcome:
    """Interval bounds on the plain and the two hardened models, randomized smoothing on the noise-trained one."""
    attacked = stage.attacks()
    files = {file.name: file for file in (stage.trained().training.model, *(one.model for one in stage.hardened().trainings))}
    robustness: list[CertifiedModel] = []
    claims: list[Claim] = []
    for name in attacked:
        subject = stage.subject(files[name])
        proved = prove(subject, stage.test, stage.threats, IntervalBounds(), method="interval bounds", progress=stage.progress)
        both, found = bracket_claims(subject, stage.test, stage.threats, proved=proved, attacked=attacked[name], delivered=name == HEADLINE)
        robustness.append(both)
        claims.extend(found)
    _, smooth, found = smoothed_bracket(
        stage.subject(files["noise"]),
        stage.test,
        [L2(size) for size in SMOOTHED_SIZES],
        Smoothing(SIGMA, stage.scale.noise_samples, stage.scale.smoothed),
        seed=stage.seed("smoothing"),
        delivered=True,
        progress=stage.progress,
    )
    return Outcome(CertifyResult((*robustness, smooth)), (*claims, *found))
