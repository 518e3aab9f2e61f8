"""How far branch and bound closes the brackets of the drill's nets that CROWN and attacks leave open.

It reads the models of a drill's folder, ``drill`` here or what ``QUINTAIN_DRILL`` names: ``quintain drill``.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file

import quintain as q
from benchmarks.certify.crown import MODELS, SIZES
from benchmarks.harness import Comparison
from quintain.evaluate.brackets import known_examples, robustness_claims
from quintain.evaluate.certify import best_certification, certify_examples
from quintain.evaluate.model import named_model
from quintain.evaluate.open_examples import certify_open
from quintain.models.nets import xray_cnn

SECONDS = (2.0, 8.0)
"""For an example, first few for all of them, then more."""


def run() -> Iterator[Comparison]:
    """Attack each model and certify what is left, at all sizes together, by one certifier after the other."""
    folder = Path(os.environ.get("QUINTAIN_DRILL", "drill")) / "models"
    data, threats = q.load_data("xrays").split("test"), [q.Linf(size / 255) for size in SIZES]
    for name in MODELS:
        net = xray_cnn()
        net.load_state_dict(load_file(folder / f"{name}.safetensors"))
        subject = named_model(q.Classifier(net.eval(), num_classes=2), name, name)
        attacked = q.evaluate.run_attacks(subject, data, threats, {"quick": q.attacks.Quick()})
        interval = q.certify.IntervalBounds()
        proofs = [certify_examples(subject, data, threats, interval, method=interval.title)]
        searches = [q.certify.BranchAndBound(seconds=seconds) for seconds in SECONDS]
        way_left: tuple[float, ...] = ()
        for certifier in (q.certify.CROWN(), *searches):
            clock, processor = time.perf_counter(), time.process_time()
            found, _ = certify_open(
                subject,
                data,
                threats,
                certifier,
                known_examples(best_certification(proofs), attacked),
                method=certifier.title,
                way_left=way_left,
            )
            seconds, processor = time.perf_counter() - clock, time.process_time() - processor
            way_left = way_left or found.way_left
            proofs.append(found)
            _, claims = robustness_claims(
                subject, data, threats, certification=best_certification(proofs), attacked=attacked
            )
            brackets = ", ".join(
                f"[{claim.bracket.lower.value:.1%}, {claim.bracket.upper.value:.1%}] at {threat.spec}"
                for threat, claim in zip(threats, claims, strict=True)
            )
            crossed = sum(claim.bracket.num_contradictory for claim in claims)
            yield Comparison(
                f"the drill's {name} net, {len(data)} X-rays, {certifier!r}",
                f"robust accuracy in {brackets} after {seconds:.1f} s more, {processor:.1f} s of processors; "
                f"{crossed} both certified and broken",
            )
