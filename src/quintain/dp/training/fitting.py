"""Private training of a net with DP-SGD, by a plan that holds all public settings."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import declare
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.release import Release
from quintain.dp.private import PrivacySettings, make_private
from quintain.dp.randomness.random_source import KEY_BYTES, RandomSource
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.report import PrivacyReport
from quintain.dp.sampling.augmentation import augment
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.out_of_memory import retry_on_out_of_memory
from quintain.dp.sampling.poisson_loader import PoissonLoader
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.dp.step.clipping import FlatClipping
from quintain.dp.step.optimizer import PrivateOptimizer
from quintain.dp.training.augmentation import random_shift
from quintain.dp.training.features import LabeledRecords
from quintain.dp.training.plan import PrivatePlan
from quintain.dp.training.resume import ResumableRun, run_fingerprint
from quintain.models.adapters import forward_logits
from quintain.training.ema import EMA
from quintain.training.loop import isolated_rng, seed_rng


@dataclass(frozen=True, slots=True)
class PrivateTrainingResult:
    """The result of a private training run.

    Args:
        epsilon, delta: The privacy cost of the run, for adding or removing one record, all iterates released.
        steps: Number of steps taken.
        noise_multiplier: Standard deviation of the noise in units of the clip norm.
        sample_rate: Probability of a record to be in a batch.
        expected_batch_size: Mean number of records in a batch.
        clipped_fraction: Fraction of the gradients that were clipped. It is computed from the records without
            noise, so keep it private.
        reproducible: Whether batches and noise follow from a seed; privacy then holds only against those who
            do not know the seed.
        releases: The releases in the run's ledger.
        report: What epsilon assumes, and what was checked.
    """

    epsilon: float
    delta: float
    steps: int
    noise_multiplier: float
    sample_rate: float
    expected_batch_size: int
    clipped_fraction: float
    reproducible: bool
    releases: tuple[Release, ...]
    report: PrivacyReport


@declare(
    name="dp-sgd",
    summary="per-example clipping, Gaussian noise and Poisson sampling (Abadi et al. 2016)",
    guarantee="(epsilon, delta) for adding or removing one record, by privacy loss distributions, "
    "if all that is released is the iterates; "
    "noise from a stream that is secret, up to floating-point rounding",
)
def fit(
    net: nn.Module,
    data: LabeledRecords,
    plan: PrivatePlan,
    *,
    seed: int | None = None,
    progress: Progress = no_progress,
    on_step: Callable[[int, Tensor], None] | None = None,
    resume: ResumableRun | None = None,
    on_checkpoint: Callable[[int, float], None] | None = None,
    units: PrivacyUnits | None = None,
) -> PrivateTrainingResult:
    """Train ``net`` in place with differential privacy, on cross-entropy, and leave it in evaluation mode.

    Args:
        net: Maps inputs (B, *S) to logits (B, classes), or to an output that ``adapt`` turns into logits. Its
            trainable layers are those that ``make_private`` takes.
        data: The records to protect: a ``Dataset``, or ``Features`` of one.
        plan: All public settings.
        seed: Seed of a run that can be repeated; by default batches and noise are secret.
        progress: Shows a bar of steps.
        on_step: Called after each step with its number and what it released: the noisy mean gradient, one
            flat tensor in the order of the trainable parameters.
        resume: Keeps the state of a run that may be interrupted, and continues from it. Without it, physical
            batches become smaller when memory runs out.
        on_checkpoint: Called with the steps done and the epsilon spent, whenever they are saved in
            ``resume``; the net then holds the weights that it would have if training ended there.
        units: Whom the records belong to, such as patients, if these are protected instead of records: the
            plan's batch size is then a number of them.

    Raises:
        PrivacyError: If a layer cannot be private.
        RunFolderError: If ``resume`` holds the state of another net, data set or plan.
        SettingError: If the plan does not fit the data.

    Guarantee: that of ``make_private``, provided that the initial weights and ``plan`` are public and do not
    depend on ``data``.

    Source: Abadi et al., 2016, arXiv:1607.00133.
    """
    if resume is not None:
        resume.check_same_run(run_fingerprint(net, data, plan, seed))
    secret_key = _secret_key(seed, plan, resume)
    steps_done = 0 if resume is None else resume.steps
    # batches and noise of a run that nobody will continue need no key: they come from the operating system
    random_source = _random_source(seed, None if resume is None else secret_key)
    loader = PoissonLoader(
        data.batch,
        num_units=_num_units(data, units),
        expected_batch_size=plan.expected_batch_size,
        steps_per_epoch=max(plan.steps - steps_done, 1),
        stream=random_source.issue("sampling"),
        units=units,
    )
    augment(loader, plan.augmentations_per_record)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not parameters:
        raise PrivacyError(
            "got a net without trainable parameters; expected at least one with requires_grad=True"
        )
    ledger = _ledger(resume)
    private = make_private(
        net,
        torch.optim.SGD(parameters, lr=plan.learning_rate, momentum=plan.momentum),
        loader,
        PrivacySettings(
            noise_multiplier=plan.noise_multiplier,
            clipping=FlatClipping(plan.max_grad_norm),
            loss_reduction="sum",
            allow_no_privacy=True,
        ),
        random=random_source,
        ledger=ledger,
    )
    optimizer = private.optimizer
    device = parameters[0].device
    ema = EMA(net, plan.ema_decay) if plan.ema_decay else None
    train_step = _make_train_step(net, optimizer, loader, plan, _dropout_stream(seed, secret_key))
    # a resumed run must repeat its steps bit for bit, which smaller physical batches would not
    try_step = (
        train_step
        if resume is not None
        else retry_on_out_of_memory(train_step, loader=loader, optimizer=optimizer)
    )
    net.train()
    try:
        if resume is not None:
            resume.restore(net, optimizer, ema)
        with progress.bar("private training", plan.steps) as advance, isolated_rng(device):
            advance(steps_done)
            for physical_batch in loader if plan.steps > steps_done else ():
                if not try_step(physical_batch):
                    continue  # the step has further physical batches
                step = optimizer.steps - 1
                if ema is not None:
                    ema.update()
                if on_step is not None:
                    on_step(step, torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
                if resume is not None and resume.should_save(step + 1, plan, len(data)):
                    resume.save(net, optimizer, ema)
                    if on_checkpoint is not None:
                        with nullcontext() if ema is None else ema.applied():
                            on_checkpoint(step + 1, ledger.epsilon(plan.delta))
                        net.train()
                advance(1)
        if ema is not None:
            ema.apply()
        if resume is not None:
            resume.destroy_key()
    finally:
        private.detach()
        net.eval()
    return PrivateTrainingResult(
        epsilon=ledger.epsilon(plan.delta),
        delta=plan.delta,
        steps=ledger.steps,
        noise_multiplier=plan.noise_multiplier,
        sample_rate=loader.sample_rate,
        expected_batch_size=loader.expected_batch_size,
        clipped_fraction=optimizer.examples_clipped / max(optimizer.examples_seen, 1),
        reproducible=private.report.reproducible,
        releases=ledger.releases,
        report=private.report,
    )


def _num_units(data: LabeledRecords, units: PrivacyUnits | None) -> int:
    """Return how many records, or units of them, are protected."""
    if units is None:
        return len(data)
    units.check_length(len(data))
    return units.num_units


def _ledger(resume: ResumableRun | None) -> Ledger:
    """Return the ledger of the run to continue, whose steps are counted already, or a new one."""
    ledger = Ledger()
    if resume is not None and resume.has_state:
        ledger.load_state_dict(resume.ledger)
    return ledger


def _secret_key(seed: int | None, plan: PrivatePlan, resume: ResumableRun | None) -> bytes | None:
    """Return the key of the run to continue, or a new one; None for a run with a seed."""
    if seed is not None:
        return None
    return os.urandom(KEY_BYTES) if resume is None else resume.load_or_make_key(plan.steps)


def _dropout_stream(seed: int | None, secret_key: bytes | None) -> RandomStream:
    """Return the random numbers of dropout and other random layers, from the key or the seed."""
    if secret_key is None:
        return RandomStream.from_seed(seed or 0, "layers")
    return RandomStream(secret_key).derive("layers")


def _random_source(seed: int | None, secret_key: bytes | None) -> RandomSource:
    """Return the source of batches and noise: the seed, the key, or the operating system without either."""
    if seed is not None:
        return RandomSource.from_seed(seed)
    return RandomSource.from_os_entropy() if secret_key is None else RandomSource.from_secret_key(secret_key)


def _make_train_step(
    net: nn.Module,
    optimizer: PrivateOptimizer[torch.optim.SGD],
    loader: SamplingLoader[tuple[Tensor, Tensor]],
    plan: PrivatePlan,
    dropout_stream: RandomStream,
) -> Callable[[tuple[Tensor, Tensor]], bool]:
    """Return a function that trains on a physical batch and returns whether that completed a step."""
    device, shift_stream = optimizer.private_step.params[0].device, loader.stream.derive("shift")

    def train_step(batch: tuple[Tensor, Tensor]) -> bool:
        x, y = batch
        # random layers and shifts depend on the number of the step alone, so that a resumed run repeats them
        if loader.physical_batch.is_first:
            dropout_stream.seek(optimizer.steps)
            seed_rng(device, int(dropout_stream.words(1)[0] >> 1))
            shift_stream.seek(loader.batches_drawn)
        optimizer.zero_grad()
        x = random_shift(x, plan.max_shift_pixels, shift_stream)
        F.cross_entropy(forward_logits(net, x.to(device)), y.to(device), reduction="sum").backward()
        optimizer.step()
        return loader.physical_batch.is_last

    return train_step
