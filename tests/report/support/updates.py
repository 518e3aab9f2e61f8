"""What an update leaks, and a federation."""

from pathlib import Path

import numpy as np

from quintain.results.class_counts import ClassCounts
from quintain.results.privacy_records import (
    FederateResult,
    LeakResult,
    Reconstruction,
    RoundResult,
    SiteResult,
)
from tests.report.support.claims import model_file
from tests.report.support.pictures import store, xray

_MEAN = "no attack: the mean image"


_NEAR = "no attack: the nearest of 1024 public pictures"


def leaked(folder: Path) -> LeakResult:
    """One hospital's X-ray, and what is rebuilt of it."""
    image = xray(3)
    noise = np.random.default_rng(4)
    mean = np.mean([xray(seed) for seed in range(40)], axis=0)
    attempts = []
    for number, (setting, grain, quality, mark) in enumerate(
        (
            ("a plain update", 0.015, 33.1, "bad"),
            ("a securely aggregated sum of 5", 0.17, 14.2, "good"),
            ("a privatized update (noise 1 C)", 0.4, 7.8, "good"),
        )
    ):
        picture = store(
            folder,
            f"leak-{number}",
            image + grain * noise.standard_normal(image.shape),
            f"from {setting}, {quality} dB",
            mark,
        )
        attempts.append(Reconstruction(setting, quality, picture, mark == "bad", 1, 22.0, (quality,)))
    floor = Reconstruction(
        _MEAN, 19.4, store(folder, "leak-mean", mean, f"{_MEAN}, 19.4 dB", "reference"), False
    )
    near = Reconstruction(
        _NEAR, 22.0, store(folder, "leak-nearest", xray(5), f"{_NEAR}, 22.0 dB", "reference"), False
    )
    return LeakResult(
        store(folder, "leak-original", image, "the X-ray", ""),
        tuple(attempts),
        floor,
        1.0,
        12.3,
        near,
        (22.0,),
    )


def federated() -> FederateResult:
    names = ("St. Anna", "Charité", "Lakeside", "Mercy", "Oakwood")
    sites = tuple(
        SiteResult(name, (220 + 17 * k, 640 + 31 * k), ClassCounts((140 - 3 * k, 366 - 5 * k), (234, 390)))
        for k, name in enumerate(names)
    )
    rounds = []
    for number, right in enumerate(((31, 386), (96, 372), (128, 370), (143, 371), (147, 375), (150, 377)), 1):
        dropped = ("Lakeside",) if number == 3 else ()
        survivors = tuple(name for name in names if name not in dropped)
        rounds.append(
            RoundResult(
                number,
                ClassCounts(right, (234, 390)),
                survivors,
                dropped,
                True,
                len(survivors),
                448_260,
                0.021 + 0.01 * len(dropped),
            )
        )
    return FederateResult(
        model_file("federated"),
        sites,
        tuple(rounds),
        ClassCounts((157, 380), (234, 390)),
        "Bonawitz et al. 2017, 5 clients, threshold 4",
    )
