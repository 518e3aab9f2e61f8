"""Private training by a plan: the ordinary loop over the engine."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.core.progress import Progress, no_progress
from quintain.dp.accounting.release import Release
from quintain.dp.draws.memory import halving
from quintain.dp.draws.sampling import SamplingLoader
from quintain.dp.draws.units import augmented
from quintain.dp.engine import KEY, PrivacyEngine
from quintain.dp.record import PrivacyRecord
from quintain.dp.step.noise import Stream
from quintain.dp.step.optimizer import DPOptimizer
from quintain.dp.training.augmentation import shifted
from quintain.dp.training.ema import EMA
from quintain.dp.training.features import Records
from quintain.dp.training.plan import PrivatePlan
from quintain.dp.training.resume import Unfinished, depends_on
from quintain.models.adapters import adapt
from quintain.training.loop import isolated_rng, seed_rng


@dataclass(frozen=True, slots=True)
class PrivateFit:
    """What a private run did.

    Args:
        epsilon, delta: What it cost, for adding or removing one record, all iterates released.
        steps: Steps taken.
        noise_multiplier, sample_rate, expected_batch_size: The public constants.
        clipped_share: Examples whose gradient was clipped, of all seen; computed from the records without noise, so keep it private.
        reproducible: Whether batches and noise follow from a seed: privacy then holds only against those who do not know it.
        releases: What was released, as the run's own ledger has it.
        record: What epsilon rests on.
    """

    epsilon: float
    delta: float
    steps: int
    noise_multiplier: float
    sample_rate: float
    expected_batch_size: int
    clipped_share: float
    reproducible: bool
    releases: tuple[Release, ...]
    record: PrivacyRecord


def fit(
    net: nn.Module,
    data: Records,
    plan: PrivatePlan,
    *,
    seed: int | None = None,
    progress: Progress = no_progress,
    on_step: Callable[[int, Tensor], None] | None = None,
    resume: Unfinished | None = None,
    on_checkpoint: Callable[[int, float], None] | None = None,
) -> PrivateFit:
    """Train ``net`` in place with differential privacy, on cross-entropy, and leave it in evaluation mode.

    Args:
        net: Takes (B, *S), gives logits (B, classes) or what ``adapt`` makes logits of; its trainable layers as in
            ``PrivacyEngine.make_private``.
        data: The records to protect: a ``Dataset``, or ``Features`` of one.
        plan: All public settings.
        seed: For a run that can be repeated; by default batches and noise are secret.
        progress: Shows a bar of steps.
        on_step: Called after each step with its number and what it released: the noisy mean gradient, one flat tensor in the order of
            the trainable parameters.
        resume: Where to keep the state of a run that may be cut off, and to go on from; without it, batches are cut into smaller and
            smaller pieces when memory runs out.
        on_checkpoint: Called with the steps done and the epsilon spent, whenever they are safe in ``resume``; the net then holds what it
            would be if training ended there.

    Raises:
        PrivacyError: If a layer cannot be private.
        RunFolderError: If ``resume`` holds the state of another net, data set or plan.
        SettingError: If the plan does not fit the data.

    Guarantee: as ``PrivacyEngine``; initial weights and ``plan`` are public and do not depend on ``data``.

    Source: Abadi et al., 2016, arXiv:1607.00133.
    """
    if resume is not None:
        resume.belongs_to(depends_on(net, data, plan, seed))
    key = None if seed is not None else os.urandom(KEY) if resume is None else resume.key(plan.steps)
    done = 0 if resume is None else resume.steps
    engine = PrivacyEngine(seed=seed, key=None if resume is None else key)
    loader = engine.loader(
        data.batch, records=len(data), expected_batch_size=plan.expected_batch_size, steps_per_epoch=max(plan.steps - done, 1)
    )
    augmented(loader, plan.copies)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not parameters:
        raise PrivacyError("got a net without trainable parameters; expected at least one with requires_grad=True")
    _, optimizer, _ = engine.attach(
        module=net,
        optimizer=torch.optim.SGD(parameters, lr=plan.rate, momentum=plan.momentum),
        loader=loader,
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        loss_reduction="sum",
        allow_no_privacy=True,
    )
    device = parameters[0].device
    layers = Stream(key).child("layers") if key is not None else Stream.seeded(seed or 0, "layers")
    average = EMA(net, plan.ema) if plan.ema else None
    work = _work(net, optimizer, loader, plan, layers)
    attempt = work if resume is not None else halving(work, loader=loader, optimizer=optimizer)
    net.train()
    try:
        if resume is not None:
            resume.restore(net, optimizer, average)
        with progress.bar("private training", plan.steps) as advance, isolated_rng(device):
            advance(done)
            for batch in loader if plan.steps > done else ():
                if not attempt(batch):
                    continue
                step = optimizer.steps - 1
                if average is not None:
                    average.update()
                if on_step is not None:
                    on_step(step, torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
                if resume is not None and resume.due(step + 1, plan, len(data)):
                    resume.keep(net, optimizer, average)
                    if on_checkpoint is not None:
                        with nullcontext() if average is None else average.applied():
                            on_checkpoint(step + 1, engine.ledger.epsilon(plan.delta))
                        net.train()
                advance(1)
        if average is not None:
            average.apply()
        if resume is not None:
            resume.close()
    finally:
        optimizer.capture.remove()
        net.eval()
    return PrivateFit(
        epsilon=engine.ledger.epsilon(plan.delta),
        delta=plan.delta,
        steps=engine.ledger.steps,
        noise_multiplier=plan.noise_multiplier,
        sample_rate=loader.sample_rate,
        expected_batch_size=loader.expected_batch_size,
        clipped_share=optimizer.clipped / max(optimizer.seen, 1),
        reproducible=engine.reproducible,
        releases=engine.ledger.releases,
        record=engine.record,
    )


def _work(
    net: nn.Module, optimizer: DPOptimizer, loader: SamplingLoader, plan: PrivatePlan, layers: Stream
) -> Callable[[tuple[Tensor, Tensor]], bool]:
    """What is done with each piece of a batch; it tells whether that was the last, so that a step was made."""
    device, places = optimizer.params[0].device, loader.stream.child("shift")

    def work(batch: tuple[Tensor, Tensor]) -> bool:
        x, y = batch
        if loader.piece.first:
            layers.seek(optimizer.steps)
            seed_rng(device, int(layers.words(1)[0] >> 1))
            places.seek(loader.draws)
        optimizer.zero_grad()
        x = shifted(x, plan.shift, places)
        F.cross_entropy(adapt(net(x.to(device)), len(x)), y.to(device), reduction="sum").backward()
        optimizer.step()
        return loader.piece.last

    return work
