"""Train a model with a defense, then attack and certify it."""

import copy
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from torch import nn

from quintain.certify import IntervalBounds
from quintain.certify.outcome import Certifier
from quintain.certify.smoothing import SmoothedClassifier
from quintain.core.errors import ModelError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import get_entry
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import attack_and_certify, clean_accuracy_claim
from quintain.evaluate.evasion.shard import AttackFn
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed
from quintain.evaluate.step import StepOutput
from quintain.evaluate.training import train_and_test
from quintain.harden import fit
from quintain.harden.defense import Defense
from quintain.models.classifier import Classifier
from quintain.results.literals import INTERVAL_BOUNDS
from quintain.results.robustness_records import HardenResult, TrainingRun
from quintain.threats import L2, Linf
from quintain.threats.threat import Threat


def build_defense(name: str, *, threat: Threat, sigma: float, epochs: int = 0) -> Defense:
    """Build a registered defense, against a threat or under noise.

    Args:
        name: From ``quintain list defense``.
        threat: The threat to train against.
        sigma: Standard deviation of the noise, for a defense that takes noise.
        epochs: Instead of the defense's own number; 0 keeps that.
    """
    kind = get_entry("defense", name).load()
    offered = {"threat": threat, "sigma": sigma}
    defense: Defense = kind(
        **{field.name: offered[field.name] for field in fields(kind) if field.name in offered}
    )
    return with_epochs(defense, epochs) if epochs else defense


def with_epochs(defense: Defense, epochs: int) -> Defense:
    """Return the same defense over another number of epochs."""
    changed: Defense = replace(defense, recipe=replace(defense.recipe, epochs=epochs))  # type: ignore[type-var]
    return changed


def train_defense(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    defense: Defense,
    *,
    name: str,
    title: str,
    seed: int = 0,
    folder: Path,
    checkpoint: Path | None = None,
    progress: Progress = no_progress,
) -> tuple[EvaluatedModel, TrainingRun]:
    """Train a net with a defense, save it and test it."""

    def work() -> tuple[float, ...]:
        return fit(net, train, defense, seed=seed, checkpoint=checkpoint, progress=progress).losses

    return train_and_test(net, work, folder, test, name=name, title=title, settings=defense)


def run_harden(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    defense_name: str,
    *,
    threat: Threat | None = None,
    sigma: float,
    attacks: Mapping[str, AttackFn],
    epochs: int = 0,
    seed: int = 0,
    folder: Path,
    progress: Progress = no_progress,
) -> StepOutput:
    """Train a net with a defense, then attack and certify it, as a smoothed model where it was trained under
    noise.

    Args:
        net: A net with its first weights; trained in place.
        train, test: Examples to train on, and to evaluate on.
        defense_name: From ``quintain list defense``.
        threat: What to train against, and to attack and certify. By default Linf 4/255; under noise, L2 of
            twice ``sigma``.
        sigma: Standard deviation of the noise, for a defense that takes noise.
        attacks: Attacks by name.
        epochs: Instead of the defense's own number; 0 keeps that.
        seed: Seed of all random numbers.
        folder: Run folder for the weights.
        progress: Shows bars.

    Raises:
        SettingError: If the threat is none that the trained model can be certified for.
    """
    if defense_name == "gaussian" and not (threat is None or isinstance(threat, L2)):
        raise SettingError(
            f"--threat {threat.spec}: a model trained under noise is certified by randomized smoothing, "
            "which handles l2; give a size such as --threat l2:0.5, or leave --threat out"
        )
    ball = threat if isinstance(threat, L2) else L2(2 * sigma)
    threat = threat or Linf(4 / 255)
    defense = build_defense(defense_name, threat=threat, sigma=sigma, epochs=epochs)
    smooth = SmoothingSettings(sigma)
    if defense_name == "gaussian":
        SmoothedClassifier(Classifier(net), sigma, noise_samples=smooth.noise_samples).require_certifiable(
            ball
        )
    certifiers, notes = ({}, ()) if defense_name == "gaussian" else _certifiers(net, test, threat)
    subject, training = train_defense(
        net,
        train,
        test,
        defense,
        name="model",
        title=f"{defense_name} model",
        seed=seed,
        folder=folder,
        progress=progress,
    )
    clean = clean_accuracy_claim(subject, test, primary=True)
    if defense_name == "gaussian":
        attacked, _, claims = certify_smoothed(
            subject, test, [ball], smooth, seed=seed, primary=True, progress=progress
        )
    else:
        attacked, _, claims = attack_and_certify(
            subject, test, [threat], attacks=attacks, certifiers=certifiers, seed=seed, progress=progress
        )
    return StepOutput(HardenResult((training,), (attacked,)), (clean, *claims), notes)


def _certifiers(
    net: nn.Module, data: Dataset, threat: Threat
) -> tuple[dict[str, Certifier], tuple[str, ...]]:
    """Return interval bounds where the net has a rule for each layer; else none, and why."""
    x, y = data.batch([0])
    try:
        IntervalBounds()(Classifier(copy.deepcopy(net).eval(), num_classes=data.num_classes), x, y, threat)
    except ModelError as error:
        return {}, (f"interval bounds cannot certify this net: {error}",)
    return {INTERVAL_BOUNDS: IntervalBounds()}, ()
