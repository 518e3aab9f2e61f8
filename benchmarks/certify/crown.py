"""How much of the drill's nets CROWN certifies: brackets of 624 X-rays, seconds, attacks on the certified.

It reads the models of a drill's folder, ``drill`` here or what ``QUINTAIN_DRILL`` names: ``quintain drill``.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file

import quintain as q
from benchmarks.harness import Comparison
from quintain.models.nets import xray_cnn

MODELS = ("plain", "adversarial")
SIZES = (2, 4)
"""Of Linf, in 255ths."""


def run() -> Iterator[Comparison]:
    """Certify and attack each model at each size."""
    folder = Path(os.environ.get("QUINTAIN_DRILL", "drill")) / "models"
    x, y = q.load_data("xrays").split("test").batch(torch.arange(624))
    for name in MODELS:
        net = xray_cnn()
        net.load_state_dict(load_file(folder / f"{name}.safetensors"))
        model = q.Classifier(net.eval(), num_classes=2)
        for size in SIZES:
            threat, counts, seconds = q.Linf(size / 255), {}, {}
            for certifier in (q.certify.IntervalBounds(), q.certify.CROWNIBP(), q.certify.CROWN()):
                clock = time.perf_counter()
                certified = certifier(model, x, y, threat).certified
                seconds[certifier.name] = time.perf_counter() - clock
                counts[certifier.name] = int(certified.sum())
            broken = q.attacks.PGD(steps=40)(model, x, y, threat, seed=0).success
            proved, allowed = counts["crown"] / len(x), float((~broken).double().mean())
            by = ", ".join(f"{count} by {one} in {seconds[one]:.1f} s" for one, count in counts.items())
            yield Comparison(
                f"the drill's {name} net at linf:{size}/255, {len(x)} X-rays",
                f"robust accuracy in [{proved:.1%}, {allowed:.1%}] (CROWN, PGD-40); certified {by}; "
                f"{int((certified & broken).sum())} of those that CROWN certified are broken",
            )
