"""Train a model with a defense, then attack and certify it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from quintain.certify.outcome import Certifier
from quintain.core.errors import DivergedError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import Entry, get_entry
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.evaluate.brackets import attack_and_certify, clean_accuracy_claim
from quintain.evaluate.certify import refusal_reason
from quintain.evaluate.evasion.defaults import reference_attacks
from quintain.evaluate.evasion.job import AttackFn
from quintain.evaluate.front import front_settings, try_settings
from quintain.evaluate.model import EvaluatedModel
from quintain.evaluate.smoothing import SmoothingSettings, certify_smoothed, smoothed_sample_notes
from quintain.evaluate.step import StepOutput
from quintain.evaluate.steps.certify import ablated_model
from quintain.evaluate.training import train_and_test, unseen_class_notes
from quintain.harden import fit
from quintain.harden.defense import Defense
from quintain.models.classifier import Classifier
from quintain.models.weights import save_tensors, save_weights
from quintain.results.robustness_records import FrontPoint, HardenResult, TrainingPoint, TrainingRun
from quintain.results.run_layout import MODELS
from quintain.threats import parse
from quintain.threats.threat import Threat
from quintain.training import FitResult

TRAINING_FILE = "training.safetensors"
"""The state of an unfinished training."""


def with_epochs(defense: Defense, epochs: int) -> Defense:
    """Return the same defense over another number of epochs."""
    recipe = replace(defense.recipe, epochs=epochs)
    changed: Defense = replace(defense, recipe=recipe)  # type: ignore[type-var]
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
    ema_decay: float = 0.0,
    validation: Dataset | None = None,
    progress: Progress = no_progress,
) -> tuple[EvaluatedModel, TrainingRun, tuple[str, ...]]:
    """Train a net with a defense, save it and test it; the last of what is returned are notes.

    Where ``validation`` chose other weights than the last, those are saved beside, as ``NAME-last``; weights
    of before a loss that is no number, as ``NAME-before``.

    Raises:
        ModelError: If the loss is no finite number.
    """
    done: list[FitResult] = []

    def work() -> tuple[float, ...]:
        try:
            result = fit(
                net,
                train,
                defense,
                seed=seed,
                checkpoint=checkpoint,
                ema_decay=ema_decay,
                validation=validation,
                progress=progress,
            )
        except DivergedError as error:
            path = folder / MODELS / f"{name}-before.safetensors"
            save_weights(net, path)
            raise DivergedError(f"{error}, in {path}") from None
        done.append(result)
        return result.losses

    subject, training = train_and_test(net, work, folder, test, name=name, title=title, settings=defense)
    result = done[0]
    kept = result.best.step if result.best else result.steps
    points = tuple(
        TrainingPoint(
            step=one.step,
            clean=one.clean,
            robust=one.robust,
            certified=one.certified,
            is_kept=one.step == kept,
        )
        for one in result.points
    )
    notes = [result.stopped] if result.stopped else []
    if result.best and result.last is not None:
        path = folder / MODELS / f"{name}-last.safetensors"
        save_tensors(result.last, path)
        notes.append(
            f"of {len(points)} looks at validation examples the one after step {result.best.step:,} found "
            f"the best weights; the last are in {path.name}"
        )
    return subject, replace(training, points=points), tuple(notes)


def run_harden(
    net: nn.Module,
    train: Dataset,
    test: Dataset,
    defense_name: str,
    *,
    threat: Threat | None = None,
    sigma: float,
    band_width: int = 4,
    band_shape: str = "column",
    attacks: Mapping[str, AttackFn] | None = None,
    epochs: int = 0,
    inner: str = "",
    also: tuple[Threat, ...] = (),
    ema_decay: float = 0.0,
    validation: Dataset | None = None,
    early_stopping: bool = False,
    front: bool = False,
    seed: int = 0,
    folder: Path,
    unfinished: Path | None = None,
    progress: Progress = no_progress,
) -> StepOutput:
    """Train a net with a defense, then attack and certify it.

    What is attacked and certified is the model that the defense's certifier makes of it, if it makes one.

    Args:
        net: A net with its first weights; trained in place.
        train, test: Examples to train on, and to evaluate on.
        defense_name: From ``quintain list defense``.
        threat: What to train against, and to attack and certify; what the defense is for if not given.
        sigma: Standard deviation of the noise, for a defense that takes noise.
        band_width, band_shape: Of the bands, for a defense that takes them.
        attacks: Attacks by name; the reference attack if not given.
        epochs: Instead of the defense's own number; 0 keeps that.
        inner: Attack inside adversarial training; the defense's own if empty.
        also: Further threats to train against, for a defense that takes several; the model is attacked in
            each of them, too.
        ema_decay: Decay of a moving average of the weights; 0 for none.
        validation: Examples for what follows.
        early_stopping: Whether to keep the best weights instead of the last.
        front: Whether to train with each setting of the defense's trade-off, and choose.
        seed: Seed of all random numbers.
        folder: Run folder for the weights.
        unfinished: Where the state of training, attack and certificates is kept, so that the same call
            resumes; to be deleted once the record is written.
        progress: Shows bars.

    Raises:
        SettingError: If something is to be chosen without ``validation``; if the threat is none that the
            defense takes and the trained model can be certified for.
    """
    entry = get_entry("defense", defense_name)
    certifier = get_entry("certifier", entry.fact("certifier"))
    _require_supported(entry, "--threat", () if threat is None else (threat,))
    _require_supported(entry, "--also", also)
    settings = {
        "sigma": sigma,
        "band_width": band_width,
        "band_shape": band_shape,
        "inner": inner,
        "also": also,
    }
    defense = entry.build(threat=threat or parse(entry.fact("example")), **settings)
    if inner and not hasattr(defense, "inner"):
        raise SettingError(f"--inner {inner}: {entry.name} has no inner attack; use it with pgd-at")
    if also and not hasattr(defense, "also"):
        raise SettingError(f"--also {also[0].spec}: {entry.name} takes one threat; use it with union-at")
    if (front or early_stopping) and validation is None:
        raise SettingError(
            "validation is None; expected examples that are neither trained nor tested on, by which a "
            "setting or weights are chosen"
        )
    ball: Threat = threat or defense.threat
    defense = with_epochs(defense, epochs) if epochs else defense
    method, certified = certifier.build(**settings), certifier.fact("subject")
    certifiers: dict[str, Certifier] = {}
    notes: tuple[str, ...] = ()
    if certified == "smoothed":
        method.derive(Classifier(net)).require_certifiable(ball)
    elif certified == "ablated":
        certifiers = {method.title: method}
    else:
        certifiers, notes = _certifiers(certifier, method, net, test, ball)
    points: tuple[FrontPoint, ...] = ()
    checkpoint = None if unfinished is None else unfinished / TRAINING_FILE
    if front and validation is not None:
        tried = front_settings(defense, unfinished)
        points = try_settings(
            net,
            train,
            validation,
            ball,
            tried,
            certifiers,
            seed=seed,
            ema_decay=ema_decay,
            early_stopping=early_stopping,
            progress=progress,
        )
        chosen = tried[[point.is_chosen for point in points].index(True)]
        defense, checkpoint = chosen.defense, chosen.checkpoint  # that training is not done again
        notes = (*notes, _front_note(points, ball))
    subject, training, training_notes = train_defense(
        net,
        train,
        test,
        defense,
        name="model",
        title=f"{entry.name} model",
        seed=seed,
        folder=folder,
        checkpoint=checkpoint,
        ema_decay=ema_decay,
        validation=validation if early_stopping else None,
        progress=progress,
    )
    if certified == "ablated":
        subject = ablated_model(subject, method)
    clean = clean_accuracy_claim(subject, test, primary=True)
    if certified == "smoothed":
        smoothing = SmoothingSettings(method)
        notes = smoothed_sample_notes(test, smoothing, seed=seed)
        attacked, _, claims = certify_smoothed(
            subject,
            test,
            [ball],
            smoothing,
            seed=seed,
            primary=True,
            checkpoint_dir=unfinished,
            progress=progress,
        )
    else:
        attacked, _, claims = attack_and_certify(
            subject,
            test,
            [ball],
            attacks=attacks or reference_attacks(threat_name(ball.spec)),
            certifiers=certifiers,
            seed=seed,
            checkpoint_dir=unfinished,
            progress=progress,
        )
    more = []
    for number, one in enumerate(also):
        certifiers, why = _certifiers(certifier, method, net, test, one)
        notes = (*notes, *why)
        more.append(
            attack_and_certify(
                subject,
                test,
                [one],
                attacks=reference_attacks(threat_name(one.spec)),
                certifiers=certifiers,
                seed=seed,
                checkpoint_dir=unfinished and unfinished / f"also-{number}",
                progress=progress,
            )
        )
    return StepOutput(
        HardenResult((training,), (attacked, *(one[0] for one in more)), points),
        (clean, *claims, *(claim for one in more for claim in one[2])),
        (*unseen_class_notes(train, test), *training_notes, *notes),
    )


def _front_note(points: tuple[FrontPoint, ...], threat: Threat) -> str:
    """Say which setting was chosen, among how many, and by what."""
    chosen = next(point for point in points if point.is_chosen)
    certified = "" if chosen.certified is None else f", {chosen.certified:.1%} certified"
    return (
        f"{chosen.setting} was chosen among {len(points)} settings on {chosen.num_examples} validation "
        f"examples: {chosen.clean:.1%} clean, {chosen.unbroken:.1%} under attack{certified} at {threat.spec}"
    )


def _require_supported(defense: Entry, option: str, threats: Sequence[Threat]) -> None:
    """Raise for a threat that the defense does not take, by the option that named it."""
    supported = defense.words("supports")
    for threat in threats:
        if threat_name(threat.spec) not in supported:
            raise SettingError(
                f"{option} {threat.spec}: {defense.name} trains against {', '.join(supported)}; give a size "
                f"such as {option} {defense.fact('example')}, or leave {option} out"
            )


def _certifiers(
    entry: Entry, certifier: Certifier, net: nn.Module, data: Dataset, threat: Threat
) -> tuple[dict[str, Certifier], tuple[str, ...]]:
    """Return the certifier under its title where it can certify the net in the threat; else none, and why."""
    title, supported = getattr(certifier, "title", entry.name), entry.words("supports")
    if threat_name(threat.spec) not in supported:
        return {}, (f"{title} certify {', '.join(supported)} alone: nothing is certified in {threat.spec}",)
    model = Classifier(copy.deepcopy(net).eval(), num_classes=data.num_classes)
    reason = refusal_reason(certifier, model, data, threat)
    return ({}, (f"{title} cannot certify this net: {reason}",)) if reason else ({title: certifier}, ())
