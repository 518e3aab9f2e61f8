"""The private optimizer with Opacus' manners: its settings by keyword, and the parts of a step by name."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.capture.hooks import Capture
from quintain.dp.opacus.grad_sample.grad_samples import capture_of_optimizer, pending_grad_samples
from quintain.dp.opacus.optimizers.noise_generator import noise_stream_from_generator
from quintain.dp.opacus.optimizers.unknown_sampling import UnknownSampling
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.stepped_loader import SteppedLoader
from quintain.dp.step.checks import check_optimizer_is_plain
from quintain.dp.step.clipping import ClippingMethod, as_clipping_method
from quintain.dp.step.optimizer import PrivateOptimizer
from quintain.dp.step.phase import SUSPENDED
from quintain.dp.step.private_step import PrivateStep

__all__ = ["DPOptimizer"]
__getattr__ = missing_name_getattr(__name__)


class DPOptimizer(PrivateOptimizer[torch.optim.Optimizer]):
    """A ``PrivateOptimizer`` that scripts of Opacus can drive.

    On its own, over the parameters of a ``GradSampleModule``, it does not know how batches are sampled: its
    ledger then counts each step as one on all records, the most that it can cost as long as no record is in
    two passes of one step.

    Args:
        optimizer: The optimizer to step.
        noise_multiplier: sigma.
        max_grad_norm: How one record's gradient is bounded: C over all parameters, one for each, or another
            way to clip.
        expected_batch_size: b, which the sum is divided by; a ``loader`` tells it.
        loss_reduction: Whether losses are means over the batch of their pass, or sums.
        generator: Keys the noise, which is then reproducible; never in ``secure_mode``.
        secure_mode: Whether noise is discrete, on a grid, so that rounding tells nothing.
        capture: What catches the gradients; by default that of the ``GradSampleModule`` which holds the
            parameters.
        loader: Where the batches come from.
        ledger: Where each step is recorded, before it is applied.
        stream: Where the noise comes from; by default keyed by the operating system.
        kept_key, budget: As for ``PrivateStep``.

    Raises:
        PrivacyError: If optimizer and module do not hold the same trainable parameters, or a layer cannot be
            private.
        SettingError: If a number is out of its range.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float | Sequence[float] | ClippingMethod,
        expected_batch_size: int | None = None,
        loss_reduction: Literal["mean", "sum"] = "mean",
        generator: torch.Generator | None = None,
        secure_mode: bool = False,
        capture: Capture | None = None,
        loader: SteppedLoader | None = None,
        ledger: Ledger | None = None,
        stream: RandomStream | None = None,
        kept_key: bool = False,
        budget: PrivacyBudget | None = None,
    ) -> None:
        check_optimizer_is_plain(optimizer)
        capture = capture_of_optimizer(optimizer) if capture is None else capture
        if loader is None:
            loader = UnknownSampling(
                lambda: self.private_step.pending.examples_summed,
                expected_batch_size,
                reproducible=generator is not None,
            )
        super().__init__(
            PrivateStep(
                optimizer,
                noise_multiplier=noise_multiplier,
                clip=as_clipping_method(max_grad_norm),
                capture=capture,
                loader=loader,
                ledger=Ledger() if ledger is None else ledger,
                stream=noise_stream_from_generator(generator, secure=secure_mode)
                if stream is None
                else stream,
                loss_reduction=loss_reduction,
                secure_mode=secure_mode,
                kept_key=kept_key,
                budget=budget,
            )
        )

    @classmethod
    def of(cls, private: PrivateOptimizer[torch.optim.Optimizer]) -> "DPOptimizer":
        """The same private optimizer with Opacus' manners: both step by one ``PrivateStep``."""
        made = cls.__new__(cls)
        PrivateOptimizer.__init__(made, private.private_step)
        return made

    @property
    def original_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer that steps on the private gradients."""
        return self.inner

    @property
    def params(self) -> list[nn.Parameter]:
        """The trainable parameters, in the optimizer's order."""
        return list(self.private_step.params)

    @property
    def expected_batch_size(self) -> int:
        """The expected batch size b, by which the sum is divided; public, unlike the size of the batch."""
        return self.loader.expected_batch_size

    @property
    def loss_reduction(self) -> Literal["mean", "sum"]:
        """Whether losses are means over the batch of their pass, or sums."""
        return self.private_step.loss_reduction

    @property
    def secure_mode(self) -> bool:
        """Whether noise is discrete, on a grid."""
        return self.private_step.secure_mode

    @property
    def grad_samples(self) -> list[Tensor]:
        """For each parameter the per-example gradients (B, *shape) that wait to be clipped, for a sum of
        losses.
        """
        return pending_grad_samples(self.capture.pending, self.params, mean=self.loss_reduction == "mean")

    @property
    def accumulated_iterations(self) -> int:
        """The number of logical batches in a step: one."""
        return 1

    def attach_step_hook(self, fn: "Callable[[DPOptimizer], None]") -> None:
        """Add a hook that is called with this optimizer in each step, between noise and update."""
        self.private_step.release_hooks.append(partial(fn, self))

    def signal_skip_step(self, do_skip: bool = True) -> None:
        """Make the next ``step()`` only clip and sum, or not; by default it does so until a batch is
        complete.
        """
        self.private_step.pending.skip_signals.append(do_skip)

    def pre_step(self) -> bool:
        """Do everything of a step but the inner optimizer's; returns whether that is due."""
        return self.private_step.release_gradients()

    def clip_and_accumulate(self) -> None:
        """Clip the gradients of all pending passes and add them to the sum."""
        self.private_step.accumulate_passes()

    def add_noise(self) -> None:
        """Record the step in the ledger, and add its noise to the clipped sum, which nobody sees before."""
        self.private_step.add_noise()

    def scale_grad(self) -> None:
        """Write the noisy sum over the expected batch into the parameters' gradients."""
        self.private_step.write_gradients()

    def _check_skip_next_step(self, pop_next: bool = True) -> bool:
        return self.private_step.pending.is_incomplete(self.loader.physical_batch, pop_signal=pop_next)

    @property
    def _is_last_step_skipped(self) -> bool:
        return self.private_step.pending.phase is SUSPENDED
