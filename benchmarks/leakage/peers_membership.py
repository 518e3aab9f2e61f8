"""Tell mislabeled X-rays that a net was trained on: ours, ART and Privacy Meter, with the same shadow models.

Target, candidates and shadow models are those of ``benchmarks.leakage.membership``. Of Privacy Meter, what
the index has is version 1.0.1: its population and its reference attack, whose reference models must not
have been trained on a record. Half of our shadow models were not, another half for each record, and each
record is given its own. ART trains a classifier on what the shadow models say of their members and others.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

import quintain as q
from benchmarks.harness import Comparison
from benchmarks.leakage.membership import CANARIES, FOLDER, SEEDS, SHADOWS, trainings
from quintain.core.registry import declared_entries
from quintain.evaluate.leaks.membership_trial import MembershipTrial, own_target
from quintain.leakage.attack import Candidates
from quintain.leakage.judges.membership import judge_membership
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.shadow_models import ShadowModels
from quintain.leakage.view import ModelView

Scores = NDArray[np.float64]

NETS_OF_ART = 4
"""Shadow models whose answers ART's net is trained on; its other models take those of all."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One target and what attackers know.

    Args:
        trial: Target, candidates and answer.
        shadows: Of the candidates.
    """

    trial: MembershipTrial
    shadows: ShadowModels

    def answers(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the probabilities that the target (N, K) and each shadow (S, N, K) give the candidates."""
        x, _ = self.trial.pool.tensors
        with torch.no_grad():
            target = self.trial.target.model(x).softmax(1)
            shadows = torch.stack([model(x).softmax(1) for model in self.shadows.models])
        return target.numpy(), shadows.numpy()


def run(peers: Set[str], seeds: Sequence[int] = SEEDS) -> Iterator[Comparison]:
    """Yield a line for each attack on mislabeled canaries, with the values of each seed."""
    found: dict[str, list[tuple[str, float]]] = {}
    for seed in seeds:
        with TemporaryDirectory() as scratch:
            scene = set_scene(seed, Path(os.environ.get(FOLDER, scratch)))
        for name, attack in attacks(scene, peers, seed).items():
            clock = time.process_time()
            scores = attack()
            spent = time.process_time() - clock
            rows = scene.trial.groups["mislabeled canaries"]
            judged = judge_membership(
                scores[rows], scene.trial.is_member[rows], ids=rows, max_tpr=None, unit="image", seed=seed
            )
            text = "; ".join(
                f"{one.measure} {one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in judged
            )
            found.setdefault(name, []).append((text, spent))
    for name, each in found.items():
        seconds = ", ".join(f"{spent:.1f}" for _, spent in each)
        yield Comparison(
            f"membership of {CANARIES} mislabeled X-rays, {name}",
            f"{' | '.join(text for text, _ in each)}; {seconds} s of the processor, after {SHADOWS} shadow "
            "models",
        )


def set_scene(seed: int, folder: Path) -> Scene:
    """Train the target and its shadow models, or read them."""
    data = q.load_data("xrays")
    plain, _ = trainings(len(data.split("train")) // 2)
    trial = own_target(
        plain, data.split("train"), data.split("val"), canaries=CANARIES, seed=seed, folder=folder
    )
    return Scene(trial, trial.train_shadows(count=SHADOWS, seed=seed, folder=folder))


def attacks(scene: Scene, peers: Set[str], seed: int) -> dict[str, Callable[[], Scores]]:
    """Return the attacks by name; each gives scores (N,) of the candidates, larger for members."""
    found: dict[str, Callable[[], Scores]] = {}
    for name, entry in declared_entries("leak").items():
        if entry.fact("goal") == "membership":
            found[f"{name}, ours"] = partial(_ours, scene, entry.load()(), seed)
    if "art" in peers:
        found["black-box attack of ART, random forest"] = lambda: _art(scene, "rf", SHADOWS)
        found["black-box attack of ART, gradient boosting"] = lambda: _art(scene, "gb", SHADOWS)
        found[f"black-box attack of ART, its net, {NETS_OF_ART} shadow models"] = lambda: _art(
            scene, "nn", NETS_OF_ART
        )
        found["rule-based attack of ART"] = lambda: _rule_of_art(scene)
    if "privacy_meter" in peers:
        found["population attack of Privacy Meter"] = lambda: _privacy_meter(scene, None)
        found["reference attack of Privacy Meter, quantiles"] = lambda: _privacy_meter(
            scene, "linear_itp_threshold_func"
        )
        found["reference attack of Privacy Meter, Gaussian of log odds"] = lambda: _privacy_meter(
            scene, "logit_rescale_threshold_func"
        )
    return found


def _ours(scene: Scene, attack, seed: int) -> Scores:  # type: ignore[no-untyped-def]
    trial = scene.trial
    x, y = trial.pool.tensors
    guess = attack.guess(
        ModelView(trial.target.model, access=attack.access),
        Knowledge(public=trial.public, shadows=scene.shadows, architecture=trial.target.build),
        Candidates(y=y, ids=torch.arange(len(y)), shape=trial.pool.shape, x=x),
        budget=1000,
        seed=seed,
    )
    return guess.scores.double().numpy()


def _classifier(scene: Scene):  # type: ignore[no-untyped-def]
    """Return the target as ART takes it, giving probabilities."""
    from art.estimators.classification import PyTorchClassifier
    from torch import nn

    target = scene.trial.target.model
    assert isinstance(target, q.Classifier)
    net = nn.Sequential(target.net, nn.Softmax(1)).eval()
    shape = tuple(scene.trial.pool.shape)
    return PyTorchClassifier(
        net, loss=nn.NLLLoss(), input_shape=shape, nb_classes=2, clip_values=(0.0, 1.0), device_type="cpu"
    )


def _art(scene: Scene, kind: str, count: int) -> Scores:
    """Train ART's attack on the shadow models' answers, and ask it about the target's."""
    from art.attacks.inference.membership_inference import MembershipInferenceBlackBox

    target, shadows = scene.answers()
    labels, included = scene.trial.pool.labels, scene.shadows.included[:count]
    attack = MembershipInferenceBlackBox(_classifier(scene), attack_model_type=kind)
    every = np.broadcast_to(labels, included.shape)
    attack.fit(
        pred=shadows[:count][included], y=every[included],
        test_pred=shadows[:count][~included], test_y=every[~included],
        x=None, test_x=None,
    )  # fmt: skip
    told = attack.infer(None, labels, pred=target, probabilities=True)
    return np.asarray(told, dtype=np.float64).reshape(len(labels), -1)[:, -1]


def _rule_of_art(scene: Scene) -> Scores:
    from art.attacks.inference.membership_inference import MembershipInferenceBlackBoxRuleBased

    x, y = scene.trial.pool.tensors
    attack = MembershipInferenceBlackBoxRuleBased(_classifier(scene))
    return np.asarray(attack.infer(x.numpy(), y.numpy()), dtype=np.float64).reshape(-1)


def _privacy_meter(scene: Scene, test: str | None) -> Scores:
    """Return how many of the peer's thresholds take each candidate for a member.

    Args:
        scene: Target, candidates and shadow models.
        test: The function that makes thresholds of each record's reference models; the population attack,
            with thresholds of public examples, if None.
    """
    from privacy_meter import hypothesis_test
    from privacy_meter.dataset import Dataset
    from privacy_meter.information_source import InformationSource
    from privacy_meter.information_source_signal import ModelLoss
    from privacy_meter.metric import PopulationMetric, ReferenceMetric

    trial = scene.trial
    target, shadows = scene.answers()
    rows, labels = np.arange(len(trial.pool)), trial.pool.labels
    losses = -np.log(np.maximum(target[rows, labels], 1e-12))
    apart = np.argsort(scene.shadows.included, axis=0, kind="stable")[: SHADOWS // 2]
    references = -np.log(np.maximum(shadows[apart, rows, labels], 1e-12))
    member, other = trial.is_member, ~trial.is_member

    def source(
        models: Sequence[NDArray[np.float32]], splits: dict[str, NDArray[np.int64]]
    ) -> InformationSource:
        data = {name: {"x": which, "y": which} for name, which in splits.items()}
        return InformationSource([_Losses(one) for one in models], [Dataset(data, "x", "y")])

    splits = {"train": rows[member], "test": rows[other]}
    if test is None:
        assert trial.public is not None
        x, y = trial.public.tensors
        with torch.no_grad():
            known = torch.nn.functional.cross_entropy(trial.target.model(x), y, reduction="none").numpy()
        metric = PopulationMetric(
            source([losses], splits),
            source([known], {"train": np.arange(len(known))}),
            [ModelLoss()],
            hypothesis_test.linear_itp_threshold_func,
        )
    else:
        metric = ReferenceMetric(
            source([losses], splits),
            source(list(references), splits),
            [ModelLoss()],
            getattr(hypothesis_test, test),
        )
    metric.prepare_metric()
    told = np.asarray(metric.run_metric()[0].predicted_labels, dtype=np.float64).sum(axis=0)
    scores = np.empty(len(rows))
    scores[np.concatenate([rows[member], rows[other]])] = told
    return scores


@dataclass(frozen=True, slots=True)
class _Losses:
    """A model of Privacy Meter whose losses are known; it is asked by rows."""

    losses: NDArray[np.float32]

    def get_loss(self, rows: NDArray[np.int64], _labels: object) -> NDArray[np.float32]:
        """Return the losses of some rows."""
        return self.losses[rows]
