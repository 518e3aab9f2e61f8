"""The trade-off of a defense: a training for each of several settings, measured on validation data."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from quintain.attacks.gradient.pgd import PGD
from quintain.certify.outcome import Certifier
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import get_entry
from quintain.core.seeds import derive_seed
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.harden import fit
from quintain.harden.defense import Defense
from quintain.models.classifier import Classifier
from quintain.results.robustness_records import FrontPoint
from quintain.threats.threat import Threat

EPS_RATIO = "eps ratio"
"""The setting that is the eps that is trained against, relative to the threat's."""

MAX_EXAMPLES = 1000
"""Most validation examples that are attacked and certified for each setting."""

BATCH_SIZE = 256
"""Examples that are measured at once."""


@dataclass(frozen=True, slots=True)
class FrontSetting:
    """One of the settings that are tried.

    Args:
        text: The setting, for people.
        value: Its value.
        defense: The defense that has it.
        checkpoint: Where its training is kept; None for nowhere.
    """

    text: str
    value: float
    defense: Defense
    checkpoint: Path | None


def front_settings(defense: Defense, folder: Path | None) -> tuple[FrontSetting, ...]:
    """Return the settings of a defense's trade-off, as its class says them in ``front``.

    Args:
        defense: Its other settings are kept.
        folder: Where trainings are kept.

    Raises:
        SettingError: If it has no trade-off.
    """
    name, values = getattr(defense, "front", ("", ()))
    if not name:
        raise SettingError(
            f"{type(defense).__name__} has no setting that trades accuracy for robustness; leave --front "
            "out, or choose another defense"
        )
    return tuple(
        FrontSetting(
            f"{name.replace('_', ' ')} {value:g}",
            value,
            _with_setting(defense, name, value),
            None if folder is None else folder / f"front-{number}.safetensors",
        )
        for number, value in enumerate(values, start=1)
    )


def _with_setting(defense: Any, name: str, value: float) -> Defense:
    """Return a defense with another setting; ``eps`` is that of its threat, relative to what it is."""
    changes = {"threat": _rescale(defense.threat, value)} if name == EPS_RATIO else {name: value}
    changed: Defense = replace(defense, **changes)
    return changed


def _rescale(threat: Any, ratio: float) -> Threat:
    """Return a ball of another eps, in whole pixels where it counts them.

    Raises:
        SettingError: For a threat that has no eps, such as a sticker.
    """
    entry = get_entry("threat", threat_name(threat.spec))
    if entry.is_true("parametric"):
        raise SettingError(
            f"--front tries several eps, which {threat.spec} does not have; leave --front out, or train "
            "against a ball such as linf:4/255"
        )
    eps = ratio * threat.eps
    scaled: Threat = replace(threat, eps=max(1, round(eps)) if entry.is_true("whole_sizes") else eps)
    return scaled


def try_settings(
    net: nn.Module,
    train: Dataset,
    validation: Dataset,
    threat: Threat,
    settings: tuple[FrontSetting, ...],
    certifiers: Mapping[str, Certifier],
    *,
    seed: int,
    ema_decay: float = 0.0,
    early_stopping: bool = False,
    progress: Progress = no_progress,
) -> tuple[FrontPoint, ...]:
    """Train a copy of a net with each setting, and measure each on validation examples.

    The chosen one is that of which most is certified, where the defense trains bounds, or else unbroken; of
    equal ones, that of the largest clean accuracy, then the first.

    Args:
        net: With its first weights; left as it is.
        train, validation: Examples to train on, and to measure on.
        threat: What is attacked and certified at every setting.
        settings: What to try.
        certifiers: What certifies, by title; may be empty.
        seed: Of each training, and of attacks.
        ema_decay, early_stopping: As of the training.
        progress: Shows bars.
    """
    examples = validation.sample(MAX_EXAMPLES, seed=derive_seed(seed, "front"))
    points = []
    for one in settings:
        trained = copy.deepcopy(net)
        fit(
            trained,
            train,
            one.defense,
            seed=seed,
            checkpoint=one.checkpoint,
            ema_decay=ema_decay,
            validation=validation if early_stopping else None,
            progress=progress,
        )
        points.append(_measure(trained, examples, threat, one, certifiers, seed))
    by_bounds = getattr(settings[0].defense, "trains_bounds", False) and points[0].certified is not None
    best = max(
        range(len(points)),
        key=lambda i: (
            (points[i].certified if by_bounds else points[i].unbroken) or 0.0,
            points[i].clean,
            -i,
        ),
    )
    return tuple(replace(point, is_chosen=number == best) for number, point in enumerate(points))


def _measure(
    net: nn.Module,
    examples: Dataset,
    threat: Threat,
    setting: FrontSetting,
    certifiers: Mapping[str, Certifier],
    seed: int,
) -> FrontPoint:
    """Measure one trained net."""
    model = Classifier(net, num_classes=examples.num_classes)
    clean = unbroken = certified = 0
    for x, y, ids in examples.batches(BATCH_SIZE):
        correct = model.predict(x) == y
        proven = correct.clone().fill_(False)
        for certifier in certifiers.values():
            proven |= certifier(model, x, y, threat).certified
        broken = PGD()(model, x, y, threat, seed=seed, ids=ids, certified=proven).success
        clean += int(correct.sum())
        unbroken += int((correct & ~broken).sum())
        certified += int(proven.sum())
    count = len(examples)
    return FrontPoint(
        setting=setting.text,
        value=setting.value,
        clean=clean / count,
        unbroken=unbroken / count,
        certified=certified / count if certifiers else None,
        num_examples=count,
    )
