"""Private training by a plan: the ordinary loop over the engine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.core.progress import Progress, silent
from quintain.dp.engine import PrivacyEngine
from quintain.dp.plan import PrivatePlan

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset


@dataclass(frozen=True, slots=True)
class PrivateFit:
    """What a private run did.

    Args:
        epsilon, delta: What it cost, for adding or removing one record, all iterates released.
        steps: Steps taken.
        noise_multiplier, sample_rate, expected_batch_size: The public constants.
        clipped_share: Examples whose gradient was clipped, of all seen; computed from the records without noise, so keep it private.
        reproducible: Whether batches and noise follow from a seed: privacy then holds only against those who do not know it.
    """

    epsilon: float
    delta: float
    steps: int
    noise_multiplier: float
    sample_rate: float
    expected_batch_size: int
    clipped_share: float
    reproducible: bool


def fit(
    net: nn.Module,
    data: "Dataset",
    plan: PrivatePlan,
    *,
    seed: int | None = None,
    progress: Progress = silent,
    on_step: Callable[[int, Tensor], None] | None = None,
) -> PrivateFit:
    """Train ``net`` in place with differential privacy, on cross-entropy, and leave it in evaluation mode.

    Args:
        net: Takes (B, *S) in [0, 1], gives logits (B, K); its trainable layers as in ``PrivacyEngine.make_private``.
        data: The records to protect.
        plan: All public settings.
        seed: For a run that can be repeated; by default batches and noise are secret.
        progress: Shows a bar of steps.
        on_step: Called after each step with its number and what it released: the noisy mean gradient, one flat tensor in the order of
            the trainable parameters.

    Raises:
        PrivacyError: If a layer cannot be private.
        SettingError: If the plan does not fit the data.

    Guarantee: as ``PrivacyEngine``; initial weights and ``plan`` are public and do not depend on ``data``.

    Source: Abadi et al., 2016, arXiv:1607.00133.
    """
    engine = PrivacyEngine(seed=seed)
    loader = engine.loader(data.batch, records=len(data), expected_batch_size=plan.expected_batch_size, steps_per_epoch=plan.steps or 1)
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
    net.train()
    try:
        with progress.loop("private training", plan.steps) as advance:
            for step, (x, y) in enumerate(loader if plan.steps else ()):
                optimizer.zero_grad()
                F.cross_entropy(net(x.to(device)), y.to(device), reduction="sum").backward()
                optimizer.step()
                if on_step is not None:
                    on_step(step, torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
                advance(1)
    finally:
        optimizer.capture.remove()
        net.eval()
    return PrivateFit(
        epsilon=engine.get_epsilon(plan.delta),
        delta=plan.delta,
        steps=engine.ledger.steps,
        noise_multiplier=plan.noise_multiplier,
        sample_rate=loader.sample_rate,
        expected_batch_size=loader.expected_batch_size,
        clipped_share=optimizer.clipped / max(optimizer.seen, 1),
        reproducible=engine.reproducible,
    )
