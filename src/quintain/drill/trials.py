"""Short trials of what the steps of the drill do, on the net and the machine that they are to be done on."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from quintain import training
from quintain.attacks import PGD
from quintain.certify import IntervalBounds, RandomizedSmoothing
from quintain.certify.radius_search import largest_certified_radius
from quintain.core.errors import SettingError
from quintain.core.threat_specs import threat_name
from quintain.data.dataset import Dataset
from quintain.dp import PrivatePlan
from quintain.dp import fit as fit_privately
from quintain.drill.context import DrillContext
from quintain.drill.threat_sizes import sigma_of
from quintain.evaluate.evasion.job import AttackJob
from quintain.federated import secure_sum
from quintain.harden.defense import Defense
from quintain.leakage import invert_gradient
from quintain.models.classifier import Classifier
from quintain.models.devices import device_of
from quintain.models.protocol import ClassifierLike
from quintain.threats.threat import Threat
from quintain.training import CleanCrossEntropy, Recipe
from quintain.training.objective import Objective

Clock = Callable[[], float]

system_clock: Clock = time.monotonic
"""Seconds since some moment."""

LONG_ENOUGH = 0.25
"""A trial that takes so many seconds by the clock is not repeated with more examples."""

LONGEST, SHORTEST, TOO_LONG = 4.0, 0.3, 0.01
"""A trial that would take longer than the last fraction of the drill, between these seconds, is not made: its
time is taken for that of so many forward passes.
"""

GROWTH, MOST = 4, 128
"""By how much the next trial has more examples, and how many the last has."""

MOST_TRAINED = 2_048
"""The same of a training: one of a batch alone is mostly what is done once, and the loss of a defense with a
ramp begins after its first step.
"""

PASSES = {"training": 3, "defense": 15, "attack": 800, "interval": 60, "private": 6, "inversion": 9}
"""Forward passes that one example of each kind of work takes as long as, about."""

FEW = 16
"""A trial on fewer examples is repeated with more: its time is more of a batch than of them."""

LEAST = 0.5
"""Of the time of an example in the largest trial: what more examples take may be so much less at least."""

SHORT_PGD, SHORT_PASSES = PGD(steps=3), 30
"""A short attack that tells how many examples stay unbroken, and its forward passes at three sizes."""

BROKEN_AT, FEWEST = 32, 4
"""So many examples are attacked shortly, or as there is time for; fewer than the second tell nothing."""

NOISY = 16
"""Noise samples of an example that tell whether it is classified right under noise."""

TRIED_QUERIES = 50
"""Queries on each example of an attack without gradients that is tried."""

TINY = 2.0**-20
"""Of the threat's size: no example is broken within it, so that an attack costs the most that it can."""

PRIVATE_STEPS, CHECKED_STEPS = 7, 3
"""Steps of a private training that is tried, and those of them that take longer, since they are checked."""

NOISE_SAMPLES, FEWEST_SAMPLES = 1_024, 64
"""Noise samples of the prediction that is tried, or as many as there is time for, and the fewest."""

SUMMED = 10_000
"""Coordinates of the secure sum that is tried."""


@dataclass(frozen=True)
class Trials:
    """How many seconds one example of each kind of work takes; each is tried once, when it is first asked.

    Args:
        context: The context of the drill.
        clock: Tells the processor time of this thread, or the time where an accelerator or a service works.
        wall_clock: Tells the time, which limits how long trials are.
    """

    context: DrillContext
    clock: Clock
    wall_clock: Clock

    def _time(self, seconds: Callable[[], float]) -> tuple[float, float]:
        """Return what a trial took by its own measure, and how long it was by the wall clock."""
        started = self.wall_clock()
        taken = seconds()
        return taken, max(self.wall_clock() - started, taken)

    def seconds_per_example(
        self, kind: str, work: Callable[[int], object], available: int, *, most: int = MOST
    ) -> float:
        """Time some work on more and more examples until it takes long enough to be told from noise.

        Args:
            kind: A key of ``PASSES``.
            work: Does it on so many examples.
            available: How many there are.
            most: How many the last trial has.
        """

        def seconds(count: int) -> float:
            started = self.clock()
            work(count)
            return self.clock() - started

        return self._until_long_enough(kind, seconds, min(available, most))

    def _until_long_enough(
        self, kind: str, seconds: Callable[[int], float], most: int, *, times: int = 1
    ) -> float:
        """Return the seconds of one example; each trial does everything ``times`` as often as it counts."""
        expected = PASSES[kind] * self.forward
        most = min(most, int(self.too_long / (expected * times))) if expected else most
        if most < 1:
            return expected
        count = min(2 * GROWTH, most)
        taken, long = self._time(partial(seconds, count))
        if 2 * long < self.too_long or count < most:
            # The first trial is mostly what is done once.
            taken, long = self._time(partial(seconds, count))
        before = 0, 0.0
        while (long < LONG_ENOUGH or count < FEW) and count < most:
            before, count = (count, taken), min(count * GROWTH, most)
            taken, long = self._time(partial(seconds, count))
        if 2 * long < self.too_long:
            # What disturbs a trial makes it longer, never shorter.
            taken = min(taken, seconds(count))
        # What a batch takes whatever it holds is the same in both trials.
        more = (taken - before[1]) / (count - before[0])
        return min(max(more, LEAST * taken / count), taken / count)

    @property
    def too_long(self) -> float:
        """Seconds that a trial may take."""
        return min(max(TOO_LONG * self.context.settings.seconds, SHORTEST), LONGEST)

    @cached_property
    def net(self) -> nn.Module:
        """A net to try on."""
        return self.context.net("trial")

    @property
    def model(self) -> ClassifierLike:
        """The model as the user gives it."""
        return self.context.subject.model

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        """Return test examples, with the model's own predictions as labels: none is misclassified."""
        x, _ = self.context.test.batch(np.arange(min(count, len(self.context.test))))
        return x, self.model.predict(x)

    @cached_property
    def forward(self) -> float:
        """One forward pass."""
        x, model = self.context.test.batch(np.arange(min(MOST, len(self.context.test))))[0], self.model
        model.predict(x[:1])  # the first call builds what later ones find

        def seconds(count: int) -> float:
            started = self.clock()
            model.predict(x[:count])
            return self.clock() - started

        count = 1
        while True:
            taken, long = self._time(partial(seconds, count))
            # One call alone says little of many examples: on a busy machine it may take long by itself.
            enough = long >= LONG_ENOUGH and count >= FEW
            if enough or GROWTH * long > self.too_long or count == len(x):
                return taken / count
            count = min(count * GROWTH, len(x))

    @cached_property
    def noise_sample(self) -> float:
        """One noise sample of the certificate of a smoothed model."""
        samples = min(NOISE_SAMPLES, int(self.too_long / self.forward)) if self.forward else NOISE_SAMPLES
        if samples < FEWEST_SAMPLES:
            return self.forward
        x, _ = self.examples(1)
        smooth = RandomizedSmoothing(sigma_of(self.context.threat)).derive(self.model)
        smooth.count_votes(x, noise_samples=samples)
        started = self.clock()
        # Predictions and certificates stop as soon as they are decided.
        smooth.count_votes(x, noise_samples=samples)
        return (self.clock() - started) / samples

    @cached_property
    def correct_under_noise(self) -> float:
        """Fraction of examples that a given model classifies right under noise, one of each kind added."""
        if not self.context.subject.comes_trained or not self.forward:
            return 1.0
        count = min(BROKEN_AT, len(self.context.test), int(self.too_long / (NOISY * self.forward)))
        if count < FEWEST:
            return 1.0
        x, y = self._drawn(count)
        sigma, generator = sigma_of(self.context.threat), torch.Generator().manual_seed(0)
        noise = torch.randn(NOISY, *x.shape, generator=generator).to(x)
        votes = torch.stack([self.model.predict(x + sigma * one) for one in noise])
        return (int((votes.mode(0).values == y).sum()) + 1) / (count + 2)

    @cached_property
    def correct(self) -> float:
        """Fraction of examples that a given model classifies right; one of each kind is added."""
        count = min(BROKEN_AT, len(self.context.test), int(self.too_long / max(self.forward, 1e-9)))
        if count < FEWEST:
            return 1.0
        x, y = self._drawn(count)
        return (int((self.model.predict(x) == y).sum()) + 1) / (count + 2)

    @cached_property
    def unbroken(self) -> float:
        """Fraction of examples that a short attack leaves unbroken, over all sizes; one of each is added."""
        kind = threat_name(self.context.threat.spec)
        if kind not in SHORT_PGD.supports or not self.forward:
            return 1.0
        time = 2 * self.too_long
        count = min(BROKEN_AT, len(self.context.test), int(time / (SHORT_PASSES * self.forward)))
        if count < FEWEST:
            return 1.0
        (x, y), threats, left = self._drawn(count), self.context.threats, 0
        active = self.model.predict(x) == y
        for threat in threats:
            if active.any():
                outcome = SHORT_PGD(self.model, x[active], y[active], threat, seed=0)
                active[active.clone()] = ~outcome.success
            left += int(active.sum())
        return (left + 1) / (count * len(threats) + 2)

    def _drawn(self, count: int) -> tuple[Tensor, Tensor]:
        """Return test examples of any class, with their labels."""
        drawn = self.context.test.sample(count, seed=0)
        return drawn.tensors

    @cached_property
    def attack(self) -> float:
        """All attacks by gradients at all threats, where nothing is broken: what an example costs at most."""

        def seconds(count: int) -> float:
            x, y = self.examples(count)
            started = self.clock()
            for attack in self.context.attacks.values():
                for threat in AttackJob(self.context.threats, {}, seed=0, batch_size=1).threats_for(attack):
                    attack(self.model, x, y, _tiny(threat), seed=0)
            return self.clock() - started

        return self._until_long_enough("attack", seconds, min(MOST, len(self.context.test)))

    @cached_property
    def query(self) -> float:
        """One query on one example of an attack without gradients, with the attack's own work for it."""
        job = AttackJob(self.context.threats, {}, seed=0, batch_size=1)
        short = replace(self.context.workload, black_box_queries=TRIED_QUERIES)
        attacks = replace(self.context, workload=short).attacks.values()
        queries = TRIED_QUERIES * sum(len(job.threats_for(attack)) for attack in attacks)
        most = min(MOST, int(self.too_long / (queries * self.forward))) if self.forward else MOST
        if most < 1:
            return self.forward
        x, y = self.examples(most)
        started = self.clock()
        for attack in attacks:
            for threat in job.threats_for(attack):
                attack(self.model, x, y, _tiny(threat), seed=0)
        return max((self.clock() - started) / (queries * len(x)), self.forward)

    @cached_property
    def interval(self) -> float:
        """The search for the certified radius, on a net whose every prediction counts as right."""
        model: ClassifierLike = Classifier(self.net.eval(), num_classes=self.context.test.num_classes)
        threat = self.context.threats[-1]

        def seconds(count: int) -> float:
            x, _ = self.context.test.batch(np.arange(count))
            y = model.predict(x)
            started = self.clock()
            largest_certified_radius(IntervalBounds(), model, x, y, threat)
            return self.clock() - started

        return self._until_long_enough("interval", seconds, min(MOST, len(self.context.test)))

    def training(
        self, recipe: Recipe, objective: Objective | None = None, *, kind: str = "training"
    ) -> float:
        """One example of an epoch."""
        train = self.context.train

        def work(count: int) -> None:
            training.fit(
                copy.deepcopy(self.net),
                _first(train, count),
                replace(recipe, epochs=1),
                objective=objective or CleanCrossEntropy(),
            )

        return self.seconds_per_example(kind, work, len(train), most=MOST_TRAINED)

    def defense(self, defense: Defense) -> float:
        """One example of an epoch of training with a defense."""
        return self.training(defense.recipe, defense.objective(), kind="defense")

    @cached_property
    def private(self) -> float:
        """One per-example gradient of private training.

        Time is taken from the third step on: what a training checks before and in its first steps is no part
        of it.
        """
        train = self.context.train

        def seconds(count: int) -> float:
            plan = PrivatePlan(
                noise_multiplier=1.0,
                max_grad_norm=1.0,
                expected_batch_size=count,
                steps=PRIVATE_STEPS,
                learning_rate=0.1,
            )
            ends: list[float] = []
            fit_privately(
                copy.deepcopy(self.net),
                _first(train, count),
                plan,
                on_step=lambda _step, _released: ends.append(self.clock()),
            )
            return (ends[-1] - ends[CHECKED_STEPS]) / (len(ends) - 1 - CHECKED_STEPS)

        most = min(len(train), self.context.workload.private_batch)
        return self._until_long_enough("private", seconds, most, times=PRIVATE_STEPS)

    @cached_property
    def inversion(self) -> float:
        """One step of a reconstruction from an update."""
        net = copy.deepcopy(self.net).eval().requires_grad_(True)
        x, _ = self.context.test.batch([0])
        x = x.to(device_of(net))
        logits = Classifier(net)(x)
        # a parameter that the logits do not depend on has a gradient of zeros
        loss = logits.square().mean()
        gradients = torch.autograd.grad(loss, list(net.parameters()), materialize_grads=True)
        update = torch.cat([part.flatten() for part in gradients])

        def work(count: int) -> None:
            invert_gradient(net, update, x.shape[1:], steps=count)

        return self.seconds_per_example("inversion", work, MOST)

    @cached_property
    def secure_sum(self) -> float:
        """One coordinate of one secure sum over the sites."""
        sites = self.context.settings.clients
        values = {f"site-{site}": np.full(SUMMED, 0.5) for site in range(sites)}
        started = self.clock()
        secure_sum(values, clip_value=1.0)
        return (self.clock() - started) / SUMMED

    @property
    def parameters(self) -> int:
        """Number of weights of the net."""
        return sum(parameter.numel() for parameter in self.net.parameters())


def _first(data: Dataset, count: int) -> Dataset:
    return data.subset(np.arange(count))


def _tiny(threat: Threat) -> Threat:
    """Return the threat at next to no size, or as it is where sizes cannot be so small."""
    try:
        return replace(threat, eps=threat.eps * TINY)  # type: ignore[type-var]
    except (SettingError, TypeError):
        return threat
