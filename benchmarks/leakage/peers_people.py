"""Model inversion by gradients on ORL faces: ours and ART's ``MIFace``, on the same nets, by the same judge.

People, targets and judge are those of ``benchmarks.leakage.patient_zero``. ``MIFace`` is Fredrikson's attack
of 2015 in pixels; ours seeks among pictures like public ones, which the peer has no way to be told of, so
that ours in pixels stands beside it, and so does the peer from the mean public picture.
"""

import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Comparison
from benchmarks.leakage.patient_zero import (
    BUDGET,
    HEIGHT,
    PRIVATE,
    WIDTH,
    Tally,
    divide_people,
    one_hidden_layer,
    plain,
    softmax_regression,
)
from quintain.core.progress import Progress, no_progress
from quintain.evaluate.leaks.identity import measure_people, people_judge
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.evaluate.leaks.people import People
from quintain.leakage.attack import Candidates, Goal, Guess, LeakageAttack
from quintain.leakage.identity.gradient import InversionGradient
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.view import AttackerView

SEEDS = (0, 1, 2)
STEPS = 300
"""Of the peer, whose default is 10,000: its rule to stop earlier does not hold, see ``MIFace``."""


@dataclass(frozen=True, slots=True)
class MIFace:
    """ART's ``MIFace`` as an attack that our judge takes.

    The peer goes on while the cost, one less the probability, is below its threshold of 0.99, so that it
    stops at once where the net takes the start for the class with less than 1 %, and else makes all its
    steps.

    Args:
        net: From pictures to logits.
        start: ``zeros``, its default, or ``mean``, the mean public picture.
    """

    net: nn.Module
    start: str = "zeros"

    kind: ClassVar[str] = "leak"
    summary: ClassVar[str] = "model inversion of the Adversarial Robustness Toolbox"
    guarantee: ClassVar[str] = "a witness"
    goal: ClassVar[Goal] = "identity"
    access: ClassVar[str] = "gradients"
    needs: ClassVar[tuple[str, ...]] = ("public",)
    default_rank: ClassVar[int] = 1

    @property
    def name(self) -> str:  # type: ignore[override]
        """How lines call it."""
        return f"MIFace of ART, from {self.start}"

    def guess(
        self,
        view: AttackerView,  # noqa: ARG002
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,
        seed: int,  # noqa: ARG002
        progress: Progress = no_progress,  # noqa: ARG002
    ) -> Guess:
        """Return one picture of each class."""
        from art.attacks.inference.model_inversion import MIFace as Peer
        from art.estimators.classification import PyTorchClassifier

        assert knowledge.public is not None
        classifier = PyTorchClassifier(
            nn.Sequential(self.net, nn.Softmax(1)),
            loss=nn.NLLLoss(),
            input_shape=tuple(candidates.shape),
            nb_classes=PRIVATE,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        peer = Peer(classifier, max_iter=min(STEPS, budget), batch_size=1, verbose=False)
        mean = knowledge.public.tensors[0].mean(0).numpy()
        start = np.zeros((len(candidates), *candidates.shape), dtype=np.float32)
        found = peer.infer(start + mean if self.start == "mean" else start, candidates.y.numpy())
        return Guess(images=torch.from_numpy(found).clamp(0, 1), queries=float(min(STEPS, budget)))


def attacks(net: nn.Module, peers: Set[str]) -> Sequence[LeakageAttack]:
    """Return the attacks on a net; the peer's with its defaults first."""
    ours: list[LeakageAttack] = [InversionGradient(), InversionGradient(space="pixels", steps=STEPS)]
    if "art" not in peers:
        return ours
    return [*ours, MIFace(net), MIFace(net, "mean")]


def run(peers: Set[str]) -> Iterator[Comparison]:
    """Yield a line for each target and attack."""
    tallies: dict[tuple[str, str], Tally] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    for seed in SEEDS:
        faces = divide_people(seed)
        for title, build in (
            ("softmax regression", softmax_regression),
            ("300 hidden units", one_hidden_layer),
        ):
            model = plain(net := build(seed), faces.members, seed)
            job = LeakJob(
                LeakTarget(model, title), (), faces.members, faces.others, public=faces.public,
                budget=BUDGET, seed=seed,
            )  # fmt: skip
            people = People.of(job)
            judge = people_judge(job, people)
            x, y = faces.others.tensors
            for number, attack in enumerate(attacks(net, peers)):
                clock = time.process_time()
                found = measure_people(replace(job, attacks=(attack,)), people, judge).measurements
                name = "inversion-gradient in pixels" if number == 1 else attack.name
                seconds.setdefault((title, name), []).append(time.process_time() - clock)
                tally = tallies.setdefault((title, name), Tally())
                tally.accuracies.append(float((model.predict(x) == y).double().mean()))
                tally.queries.append(found[0].queries)
                for one in found:
                    tally.values.setdefault(one.measure, []).append(one.value)
                    tally.baselines.setdefault(one.measure, []).append(one.baseline)
    for (title, name), tally in tallies.items():
        spent = float(np.median(seconds[title, name]))
        yield Comparison(
            f"model inversion, {title}, {HEIGHT}x{WIDTH}, {name}", f"{tally.text()}; {spent:.0f} s"
        )
