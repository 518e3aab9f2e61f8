"""The private step: one state machine that clips, sums, records, adds noise and releases gradients."""

from collections.abc import Callable
from typing import ClassVar, Generic, Literal, TypeVar

import torch

from quintain.core.errors import PrivacyError
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.release import Release
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.mixing_probe import MixingProbe
from quintain.dp.capture.unit_sums import group_pass_by_unit
from quintain.dp.guards.gradient_guard import GradientGuard
from quintain.dp.guards.loaded_weights import LoadedWeights
from quintain.dp.guards.optimizer_guard import guard_parameters
from quintain.dp.guards.row_check import RowCheck
from quintain.dp.guards.spot_checks import SpotChecks
from quintain.dp.guards.state_guard import StateGuard
from quintain.dp.per_example.precision import full_precision_without_autocast
from quintain.dp.randomness.stream import RandomStream, one_at_a_time
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.stepped_loader import SteppedLoader
from quintain.dp.step.adaptive import AdaptiveClipping
from quintain.dp.step.checks import check_optimizer_is_plain, is_mean, match_parameters
from quintain.dp.step.clipping import ClippingMethod
from quintain.dp.step.clipping_weights import clipping_weights
from quintain.dp.step.noise_and_clip import NoiseAndClip, SettingName
from quintain.dp.step.noisy_sum import NoisySum
from quintain.dp.step.pending_batch import PendingBatch
from quintain.dp.step.phase import PAST_THE_NOISE, RELEASED
from quintain.dp.step.step_account import StepAccount
from quintain.dp.write_once import WriteOnce

SAME_SETTINGS_HINT = (
    ": schedules step, settings change and states are loaded in each process, never in the first alone"
)
USED_UP_NOTE = (
    "the step was recorded in the ledger before it failed, and its batch is used up; nothing of it was "
    "released: go on with the loader's next batch"
)

O_co = TypeVar("O_co", bound=torch.optim.Optimizer, covariant=True)


class PrivateStep(WriteOnce, Generic[O_co]):
    r"""Makes the noisy mean of clipped per-example gradients, one for each logical batch.

    .. math:: \tilde g = \frac{1}{b}\Big(
        \sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\, \mathcal{N}(0, I)\Big)

    Each method that is named like an event of ``phase.TRANSITIONS`` is that event, and is refused where the
    table does not have it. Noise is drawn at every step, for every parameter: one without a gradient in this
    batch, and all of them on an empty batch, get noise alone.

    Args:
        inner: The optimizer that steps on the private gradients.
        noise_multiplier: sigma.
        clip: How one record's gradient is bounded.
        capture: What catches the gradients.
        loader: Where the batches come from.
        ledger: Where each step is recorded, before it is applied.
        stream: Where the noise comes from.
        loss_reduction: Whether losses are means over the batch of their pass, or sums.
        secure_mode: Whether noise is discrete, on a grid, so that rounding tells nothing.
        kept_key: Whether the stream's key outlives the process, so that a step may be repeated. Its noise
            then follows from the sum that it hides and from noise multiplier and bound, too: repeated for the
            same it is the same, for any other it is independent.
        budget: What may be spent; by default what the ledger says.

    Raises:
        PrivacyError: If optimizer and module do not hold the same trainable parameters.
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
            "noise_and_clip",
            "pending",
            "account",
            "sum",
        }
    )

    def __init__(
        self,
        inner: O_co,
        *,
        noise_multiplier: float,
        clip: ClippingMethod,
        capture: Capture,
        loader: SteppedLoader,
        ledger: Ledger,
        stream: RandomStream,
        loss_reduction: Literal["mean", "sum"] = "mean",
        secure_mode: bool = False,
        kept_key: bool = False,
        budget: PrivacyBudget | None = None,
    ) -> None:
        check_optimizer_is_plain(inner)
        self.inner, self.capture, self.loader, self.ledger = inner, capture, loader, ledger
        self.params_by_name = match_parameters(capture.root, inner)
        self.params = list(self.params_by_name.values())
        self.noise_and_clip = NoiseAndClip(noise_multiplier, clip, ledger)
        self.loss_reduction, self._mean = loss_reduction, is_mean(loss_reduction)
        self.account = StepAccount(ledger, loader, self.noise_and_clip, secure_mode, budget)
        self.stream, self.secure_mode, self.budget, self._key_is_kept = stream, secure_mode, budget, kept_key
        self.steps = self.examples_seen = self.examples_clipped = 0
        self.pending = PendingBatch()
        self.sum = NoisySum(
            self.params, self.noise_and_clip, loader, stream, secure_mode=secure_mode, kept_key=kept_key
        )
        self.gradient_guard = GradientGuard(capture.root, self.params_by_name)
        self.loaded_weights = LoadedWeights(capture.root, self.params_by_name)
        self.release_hooks: list[Callable[[], None]] = []
        """Called in each step, between noise and update; they may change the private gradients."""
        loader.bind_optimizer(self)
        capture.connect(current_batch=loader.current_batch, on_pass_complete=self.accumulate)
        self._state_guard = StateGuard(capture, SpotChecks(stream.derive("state")))
        # the probe is made later, since its hooks come last
        looks = SpotChecks(stream.derive("rows"))
        self._row_check = RowCheck(
            capture,
            loader,
            looks,
            lambda: self.probe.record_unknown_rows(),  # noqa: PLW0108
        )
        guard_parameters(self)
        self.probe = MixingProbe(
            capture,
            probe_fully=SpotChecks(stream.derive("probe")),
            mean=self._mean,
            batch_dim=0 if capture.batch_first else 1,
            last_batch=lambda: loader.batch,
            collation_doubt=loader.collation_doubt,
        )

    def release_gradients(self) -> bool:
        """Do everything of a step but the inner optimizer's; returns whether that is due.

        Raises:
            PrivacyError: If no gradients were captured since the last step, or some that cannot be bounded
                are there.
            BudgetExceededError: If the step would cost more than the budget; nothing has changed.
        """
        with self.loader.world.refusing_together():
            self.accumulate_passes()
            if self.pending.is_incomplete(self.loader.physical_batch):
                self.pending.move("suspend")
                return False
        self.add_noise()
        self.write_gradients()
        if self.release_hooks:
            for hook in self.release_hooks:
                hook()
            self.gradient_guard.mark_private()
        return True

    def accumulate_passes(self) -> None:
        """Clip the gradients of all pending passes and add them to the sum."""
        for captured in self.capture.pop_passes():
            self.accumulate(captured)

    def accumulate(self, captured: CapturedPass) -> None:
        """Clip the gradients of one pass and add them to the sum of their batch."""
        pending, piece = self.pending, captured.physical_batch
        # refused, before anything is summed: gradients and state that were written past the clip
        self.gradient_guard.check_all_private()
        self._state_guard.check()
        pending.require("accumulate")
        # half a batch that the loop has left is dropped: none is stepped on
        if pending.is_abandoned_for(piece):
            pending.move("discard_batch")
        if not pending.holds_gradients:
            self._row_check.reset()
            self.sum.begin()
        # counted before they are summed: an error in between cannot make a row count less
        pending.begin_pass(captured.batch_size or 0)
        self._row_check.record_pass(captured)
        mean, clip = self._mean, self.noise_and_clip.clip
        with full_precision_without_autocast(self.params[0].device):
            if piece.rows_per_unit is not None and piece.unit_weights is not None:
                captured, mean = (
                    group_pass_by_unit(captured, piece.rows_per_unit, piece.unit_weights, mean=mean),
                    False,
                )
            # the clipped sum: each example times its clip factor
            grads, weights, statistics = clipping_weights(self.params, captured, clip, mean=mean)
            self.sum.clipped.add(grads, weights)
        pending.record_pass(
            piece, clip.doubled_centered_count(statistics.norms) if isinstance(clip, AdaptiveClipping) else 0
        )
        self.examples_seen += len(statistics.norms)
        self.examples_clipped += int((statistics.clip_factors < 1).sum())

    @one_at_a_time
    def add_noise(self) -> None:
        """Record the step in the ledger, and add its noise to the clipped sum, which nobody sees before.

        An error in between leaves the step recorded, its batch used up and the sum dropped, and says so.
        """
        loader = self.loader
        with loader.world.refusing_together():
            self._check_step()
        release, batch, step = self.account.next_release, loader.batches_drawn, self.steps
        loader.world.check_same_on_all(self.settings_at_step(release), SAME_SETTINGS_HINT)
        # recorded before anything is added: a crash in between over-counts
        self.account.record(release)
        try:
            self.steps += 1
            loader.mark_consumed(batch)
            for group in self.inner.param_groups:
                if "noise_std" in group:
                    group["noise_std"] = self.noise_and_clip.sum_noise_std / loader.expected_batch_size
            self.sum.add_noise(step, self.pending.doubled_centered_count)
        except BaseException as error:
            loader.mark_consumed(batch)
            self.pending.move("discard_batch")
            self.sum.clipped.clear()
            error.add_note(USED_UP_NOTE)
            raise
        self.pending.move("add_noise")

    def write_gradients(self) -> None:
        """Write the noisy sum over the expected batch into the parameters' gradients."""
        self.pending.require("write_gradients")
        for parameter, mean in self.sum.to_gradients().items():
            parameter.grad = mean
        self.pending.move("write_gradients")
        self.gradient_guard.mark_private()

    def before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Called before any optimizer's step: refuse all but the inner one, once for each private gradient.

        Raises:
            PrivacyError: If another does.
        """
        if optimizer is self.inner and self.pending.phase is RELEASED:
            self.gradient_guard.check_all_private()
            self.pending.move("inner_step")
        elif self.capture.delivers_to(self.accumulate) and self.gradient_guard.is_held_by(optimizer):
            raise PrivacyError(f"{type(optimizer).__name__} {PAST_THE_NOISE}")

    def after_inner_step(self) -> None:
        """Use up the permission to step, also where the inner optimizer's step did not ask for it."""
        if self.pending.phase is RELEASED:
            self.pending.move("inner_step")
        self.gradient_guard.mark_private()

    def zero_grad(self) -> None:
        """Set all gradients to None, captured ones too; sums of a batch that is not complete stay."""
        self.capture.discard_passes()
        self.pending.move("zero_grad")
        self.inner.zero_grad(set_to_none=True)
        self.gradient_guard.mark_private()

    def discard_batch(self) -> None:
        """Drop everything summed of the current batch: it begins anew, or the next one does."""
        self.zero_grad()
        self.pending.move("discard_batch")

    def configure(self, name: SettingName, value: float) -> None:
        """Set noise or bound as the user asks, between steps."""
        self.pending.move("configure")
        self.noise_and_clip.set(name, value)

    def configure_by_schedule(self, name: SettingName, value: float, *, fixed_beforehand: bool) -> None:
        """Set noise or bound as a schedule says (see ``NoiseAndClip.set_by_schedule``), between steps."""
        self.pending.move("configure")
        self.noise_and_clip.set_by_schedule(name, value, fixed_beforehand=fixed_beforehand)

    @property
    def batch_is_consumed(self) -> bool:
        """Whether the current batch was stepped on, so that it must not be used again."""
        return self.loader.last_stepped_batch == self.loader.batches_drawn

    def check_weights_match_state(self) -> None:
        """Raise if the weights are not those of a state that was loaded after the latest step."""
        if self.capture.is_attached:
            self.loaded_weights.compare()

    def settings_at_step(self, release: Release) -> dict[str, object]:
        """The settings of the next step, which are compared before its noise is added."""
        return {
            "batches": self.loader.batches_drawn,
            "steps": self.steps,
            "noise_multiplier": self.noise_and_clip.noise_multiplier,
            "max_grad_norm": self.noise_and_clip.clip.sensitivity,
            "stop_at_epsilon": self.account.budget,
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
        return self.settings_at_step(self.account.next_release) | {
            "way to clip": self.noise_and_clip.clip,
            "loss_reduction": self.loss_reduction,
            "secure_mode": self.secure_mode,
            "batch_first": self.capture.batch_first,
            "copies and draws": drawn,
            "noise of a kept key": self._key_is_kept,
            "trainable parameters": [
                (name, tuple(p.shape), str(p.dtype)) for name, p in self.params_by_name.items()
            ],
        }

    def _check_step(self) -> None:
        """Raise unless one more step may be recorded."""
        self.loaded_weights.check()
        self.gradient_guard.check_holds_no_others(self.inner)
        self.gradient_guard.check_all_private()
        self.pending.check_complete(self.loader)
        self.probe.on_step()
        self.account.check_affords_one()
