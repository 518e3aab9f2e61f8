"""The private optimizer: clip, sum, add noise, divide, and only then the user's own step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from quintain.core.errors import BudgetExceededError, PrivacyError
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.ledger import Ledger, SpendingLimit
from quintain.dp.accounting.release import Release
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.grad_sample import GradSampleCapture, pending_grad_samples
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.mixing_probe import MixingProbe
from quintain.dp.capture.unit_sums import group_pass_by_unit
from quintain.dp.per_example.precision import full_precision_without_autocast
from quintain.dp.randomness.stream import RandomStream, one_at_a_time
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.physical_batch import NO_BATCH, PhysicalBatch
from quintain.dp.step import guards
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.clipped_sum import FloatClippedSum
from quintain.dp.step.clipping import ClippingMethod, as_clipping_method, clipping_weights
from quintain.dp.step.discrete_sum import DiscreteClippedSum
from quintain.dp.step.gradient_guard import GradientGuard
from quintain.dp.step.loaded_weights import LoadedWeights
from quintain.dp.step.noise import discrete_sum_for, noisy_count, release_for_step
from quintain.dp.step.optimizer_proxy import OptimizerProxy
from quintain.dp.step.row_check import RowCheck
from quintain.dp.step.saved_state import SavedState
from quintain.dp.step.spot_checks import SpotChecks
from quintain.dp.step.state_guard import StateGuard
from quintain.dp.step.step_state import StepState
from quintain.dp.step.unknown_sampling import UnknownSampling
from quintain.dp.write_once import WriteOnce

SAME_SETTINGS_HINT = (
    ": schedules step, settings change and states are loaded in each process, never in the first alone"
)


class DPOptimizer(WriteOnce, SavedState, OptimizerProxy):
    r"""A user's optimizer whose gradients are noisy sums of clipped per-example gradients.

    .. math:: \tilde g = \frac{1}{b}\Big(
        \sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\, \mathcal{N}(0, I)\Big)

    Noise is drawn at every step, for every parameter: one without a gradient in this batch, and all of them
    on an empty batch, get noise alone. One batch may be cut into several passes, each with its backward,
    before one step; their clipped sums add up (do not divide the loss by their number).

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
        kept_key: Whether the stream's key outlives the process, so that a step may be repeated. Its noise
            then follows from the sum that it hides and from noise multiplier and bound, too: repeated for the
            same it is the same, for any other it is independent.
        budget: What may be spent; by default what the ledger says.

    Raises:
        PrivacyError: If optimizer and module do not hold the same trainable parameters, or a layer cannot be
            private.
        SettingError: If a number is out of its range.
    """

    WRITE_ONCE: ClassVar = frozenset(
        {
            "inner",
            "capture",
            "params_by_name",
            "loader",
            "ledger",
            "stream",
            "secure_mode",
            "budget",
            "step_state",
        }
    )

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
        loader: SamplingLoader | None = None,
        ledger: Ledger | None = None,
        stream: RandomStream | None = None,
        kept_key: bool = False,
        budget: PrivacyBudget | None = None,
    ) -> None:
        guards.check_optimizer_is_plain(optimizer)
        self.inner = optimizer
        self.capture = GradSampleCapture.of_optimizer(optimizer) if capture is None else capture
        self.params_by_name = guards.match_parameters(self.capture.root, optimizer)
        self._clip = as_clipping_method(max_grad_norm)
        guards.check_settings(noise_multiplier, self._clip)
        self.user_settings = float(noise_multiplier), self._clip.sensitivity
        self._noise_multiplier, self._mean = float(noise_multiplier), guards.is_mean(loss_reduction)
        self.loader = (
            UnknownSampling(
                lambda: self.step_state.examples_summed or 0,
                expected_batch_size,
                reproducible=generator is not None,
            )
            if loader is None
            else loader
        )
        self.ledger = Ledger() if ledger is None else ledger
        self._new_choice()
        self.stream = (
            guards.noise_stream_from_generator(generator, secure=secure_mode) if stream is None else stream
        )
        self.secure_mode, self.budget, self._key_is_kept = secure_mode, budget, kept_key
        self.examples_seen = self.examples_clipped = 0
        self._steps = 0
        self._float_sums = FloatClippedSum(self.params)
        self._sums: FloatClippedSum | DiscreteClippedSum = self._new_sum()
        self.step_state = StepState()
        self._gradient_guard = GradientGuard(self.capture.root, self.params_by_name)
        self._weights = LoadedWeights(self.capture.root, self.params_by_name)
        self._is_noised = self._is_released = self._is_last_step_skipped = False
        self._skip_signals: list[bool] = []
        self._hooks: list[Callable[[DPOptimizer], None]] = []
        self.loader.bind_optimizer(self)
        self.capture.connect(current_batch=self._current_batch, on_pass_complete=self._accumulate)
        self._state = StateGuard(self.capture, SpotChecks(self.stream.derive("state")))
        # the probe is made later, since its hooks come last
        looks = SpotChecks(self.stream.derive("rows"))
        self._rows = RowCheck(self.capture, self.loader, looks, lambda: self.probe.strange_rows())  # noqa: PLW0108
        guards.guard_parameters(self)
        self.probe = MixingProbe(
            self.capture,
            probe_fully=SpotChecks(self.stream.derive("probe")),
            mean=self._mean,
            batch_dim=0 if self.capture.batch_first else 1,
            last_batch=lambda: self.loader.batch if isinstance(self.loader, SamplingLoader) else None,
        )

    def __repr__(self) -> str:
        return (
            f"DPOptimizer({self.inner!r}, noise_multiplier={self.noise_multiplier}, "
            f"max_grad_norm={self.max_grad_norm})"
        )

    @property
    def params(self) -> list[nn.Parameter]:
        """The trainable parameters, in the optimizer's order."""
        return list(self.params_by_name.values())

    @property
    def steps(self) -> int:
        """The number of steps taken, each with noise of its own."""
        return self._steps

    @property
    def expected_batch_size(self) -> int:
        """The expected batch size b, by which the sum is divided; public, unlike the size of the batch."""
        return self.loader.expected_batch_size

    @property
    def loss_reduction(self) -> Literal["mean", "sum"]:
        """Whether losses are means over the batch of their pass, or sums."""
        return "mean" if self._mean else "sum"

    @property
    def grad_samples(self) -> list[Tensor]:
        """For each parameter the per-example gradients (B, *shape) that wait to be clipped, for a sum of
        losses.
        """
        return pending_grad_samples(self.capture.pending, self.params, mean=self._mean)

    @property
    def accumulated_iterations(self) -> int:
        """The number of logical batches in a step: one."""
        return 1

    def attach_step_hook(self, fn: "Callable[[DPOptimizer], None]") -> None:
        """Add a hook that is called with this optimizer in each step, between noise and update."""
        self._hooks.append(fn)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one private step: recorded first, then applied.

        Raises:
            PrivacyError: If no gradients were captured since the last step, or some that cannot be bounded
                are there.
            BudgetExceededError: If the step would cost more than the budget; nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.pre_step():
            self.inner.step()
            self._is_released = False
            self._gradient_guard.mark_private()
        return loss

    def signal_skip_step(self, do_skip: bool = True) -> None:
        """Make the next ``step()`` only clip and sum, or not; by default it does so until a batch is
        complete.
        """
        self._skip_signals.append(do_skip)

    def pre_step(self) -> bool:
        """Do everything of a step but the inner optimizer's; returns whether that is due."""
        with self.loader.world.refusing_together():
            self.clip_and_accumulate()
        self._is_last_step_skipped = self._check_skip_next_step()
        if self._is_last_step_skipped:
            self.step_state.examples_protected = self.step_state.examples_summed
            return False
        self.add_noise()
        self.scale_grad()
        for hook in self._hooks:
            hook(self)
        self._gradient_guard.mark_private()
        return True

    def clip_and_accumulate(self) -> None:
        """Clip the gradients of all pending passes and add them to the sum."""
        for captured in self.capture.pop_passes():
            self._accumulate(captured)

    @one_at_a_time
    def add_noise(self) -> None:
        """Record the step in the ledger, and add its noise to the clipped sum, which nobody sees before."""
        with self.loader.world.refusing_together():
            self._check_step()
        release = self.next_release
        self.loader.world.check_same_on_all(self.settings_at_step(release), SAME_SETTINGS_HINT)
        # recorded before anything is added: a crash in between over-counts
        self.ledger.step(release, self.loader.epoch_position(self.loader.batches_drawn))
        self.loader.mark_consumed(self.loader.batches_drawn)
        for group in self.inner.param_groups:
            if "noise_std" in group:
                group["noise_std"] = self.sum_noise_std / self.loader.expected_batch_size
        self._add_noise_to_sum()
        self.step_state.reset()
        self._is_noised = True

    def _check_step(self) -> None:
        """Raise unless one more step may be recorded."""
        self._weights.check()
        self._gradient_guard.check_holds_no_others(self.inner)
        self._gradient_guard.check_all_private()
        self.step_state.check_complete(self.loader)
        self.probe.on_step()
        if self.budget_is_spent and (limit := self.active_budget) is not None:
            raise BudgetExceededError(
                f"one more step would cost more than epsilon = {limit.epsilon} at delta = {limit.delta} "
                f"({self.ledger.steps} steps are spent); expected training to end here, with the weights of "
                "the last step"
            )

    def scale_grad(self) -> None:
        """Write the noisy sum over the expected batch into the parameters' gradients."""
        if not self._is_noised:
            raise PrivacyError(
                "scale_grad() before add_noise(); expected clip_and_accumulate(), add_noise(), scale_grad(), "
                "or just step()"
            )
        for parameter, mean in self._sums.to_gradients().items():
            parameter.grad = mean
        self._is_noised, self._is_released = False, True
        self._gradient_guard.mark_private()

    @property
    def next_release(self) -> Release:
        """The release that the next step will record in the ledger."""
        return release_for_step(
            self.loader, self.ledger, self.noise_multiplier, choice=self.choice, secure=self.secure_mode
        )

    def record_skipped_batches(self, ledger: Ledger) -> int:
        """Record in ``ledger`` the batches that training skipped, as if they had been stepped on."""
        passed = range(self.loader.last_stepped_batch + 1, self.loader.last_passed_batch + 1)
        for batch in passed:
            place = self.loader.epoch_position(batch)
            ledger.step(replace(self.next_release, epoch=ledger.epoch_at(place)), place)
        return len(passed)

    @property
    def budget_is_spent(self) -> bool:
        """Whether one more step would cost more than the budget."""
        limit = self.active_budget
        return limit is not None and not limit.affords(self.ledger, self.next_release)

    @property
    def active_budget(self) -> SpendingLimit | None:
        """The privacy budget of its steps: its own, else the latest of its engine."""
        return self.budget or self.ledger.budget

    def before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Called before any optimizer's step: refuse all but the inner one, once for each private gradient.

        Raises:
            PrivacyError: If another does.
        """
        if optimizer is self.inner and self._is_released:
            self._gradient_guard.check_all_private()
            self._is_released = False
            return
        if self.capture.delivers_to(self._accumulate) and self._gradient_guard.is_held_by(optimizer):
            raise PrivacyError(
                f"{type(optimizer).__name__} is about to step on parameters that are trained privately, past "
                "the clip and the noise; expected the optimizer that make_private returned to step alone"
            )

    def settings_at_step(self, release: Release) -> dict[str, object]:
        """The settings of the next step, which are compared before its noise is added."""
        return {
            "batches": self.loader.batches_drawn,
            "steps": self.steps,
            "noise_multiplier": self.noise_multiplier,
            "max_grad_norm": self.max_grad_norm,
            "stop_at_epsilon": self.active_budget,
            "steps spent": self.ledger.steps,
            "release": release,
        }

    def settings_at_start(self) -> dict[str, object]:
        """All settings that clipping, noise and accounting depend on."""
        loader = self.loader
        drawn = (
            (loader.augmentations_per_record, loader.stream.key_id.hex())
            if isinstance(loader, SamplingLoader)
            else ()
        )
        return self.settings_at_step(self.next_release) | {
            "way to clip": self.clip,
            "loss_reduction": self.loss_reduction,
            "secure_mode": self.secure_mode,
            "batch_first": self.capture.batch_first,
            "copies and draws": drawn,
            "noise of a kept key": self._key_is_kept,
            "trainable parameters": [
                (name, tuple(p.shape), str(p.dtype)) for name, p in self.params_by_name.items()
            ],
        }

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Set all gradients to None, captured ones too; sums of a batch that is not complete stay."""
        if isinstance(self.capture, GradSampleCapture):
            self.capture.clear_grad_sample()
        self.capture.pop_passes()
        if self.step_state.examples_summed != self.step_state.examples_protected:
            self.step_state.reset()
        self._is_noised = self._is_released = False
        self.inner.zero_grad(set_to_none=True)
        self._gradient_guard.mark_private()

    @property
    def batch_is_consumed(self) -> bool:
        """Whether the current batch was stepped on, so that it must not be used again."""
        return self.loader.last_stepped_batch == self.loader.batches_drawn

    def discard_batch(self) -> None:
        """Drop everything summed of the current batch: it begins anew, or the next one does."""
        self.zero_grad()
        self.step_state.reset()

    def _accumulate(self, captured: CapturedPass) -> None:
        self._gradient_guard.check_all_private()
        self._state.check()
        if self._is_noised:
            raise PrivacyError(
                "got gradients to clip between add_noise() and scale_grad(), which have no noise yet; "
                "expected scale_grad() first, or zero_grad() to drop the step"
            )
        piece = captured.physical_batch
        if self.step_state.is_abandoned_for(piece):
            self.step_state.reset()
        if self.step_state.examples_summed is None:
            self._rows.reset()
            self._sums = self._new_sum()
            self._sums.clear()
        self.step_state.count_examples(captured.batch_size or 0)
        self._rows.record_pass(captured)
        mean = self._mean
        with full_precision_without_autocast(self.params[0].device):
            if piece.rows_per_unit is not None and piece.unit_weights is not None:
                captured, mean = (
                    group_pass_by_unit(captured, piece.rows_per_unit, piece.unit_weights, mean=mean),
                    False,
                )
            grads, weights, statistics = clipping_weights(self.params, captured, self._clip, mean=mean)
            self._sums.add(grads, weights)
        self.step_state.record_pass(
            piece,
            self._clip.doubled_centered_count(statistics.norms)
            if isinstance(self._clip, AdaptiveClipping)
            else 0,
        )
        self.examples_seen += len(statistics.norms)
        self.examples_clipped += int((statistics.clip_factors < 1).sum())

    def _add_noise_to_sum(self) -> None:
        """Add the noise of this step to the sum, once for all processes."""
        # the first process alone adds noise; the sum over processes then carries it once
        world, step = self.loader.world, self._steps
        self._steps += 1
        stream = self._noise_stream(step)
        self._sums.add_noise(
            stream if self.sum_noise_std and not world.rank else None,
            self.sum_noise_std,
            self.expected_batch_size,
        )
        world.all_reduce_sum(self._sums.flat)
        if isinstance(self._clip, AdaptiveClipping):
            count_tensor = torch.tensor(
                self.step_state.doubled_centered_count, dtype=torch.int64, device=world.device
            )
            world.all_reduce_sum(count_tensor)
            count_stream = stream.derive("count")
            count_stream.seek(step)
            noisy: float = int(count_tensor)
            if self.noise_multiplier:
                noisy = noisy_count(
                    int(count_tensor), self._clip.unclipped_count_std, count_stream, secure=self.secure_mode
                )
            self._clip = self._clip.updated(noisy, self.loader.expected_batch_size)

    def _noise_stream(self, step: int) -> RandomStream:
        """The noise stream of this step; with a kept key it depends on the sums and the scale, too."""
        stream = self.stream
        if self._key_is_kept:
            settings = step, self.step_state.doubled_centered_count, self.noise_multiplier, self._clip
            tag = self.loader.world.all_gather_bytes(stream.tag(self._sums.flat, *settings))
            stream = stream.derive("sums", tag.hex())
        stream.seek(step)
        return stream

    def _new_sum(self) -> "FloatClippedSum | DiscreteClippedSum":
        """A new clipped sum for a step."""
        return (
            discrete_sum_for(self.params, self._clip, self.noise_multiplier)
            if self.secure_mode
            else self._float_sums
        )

    def _check_skip_next_step(self, pop_next: bool = True) -> bool:
        if self._skip_signals:
            return self._skip_signals.pop(0) if pop_next else self._skip_signals[0]
        return not self.loader.physical_batch.is_last

    def _current_batch(self) -> PhysicalBatch:
        if isinstance(self.loader, UnknownSampling):
            self.loader.batches_drawn = self.loader.last_stepped_batch + 1
            return replace(NO_BATCH, batch_number=self.loader.batches_drawn)
        return self.loader.physical_batch


PrivateOptimizer = DPOptimizer
