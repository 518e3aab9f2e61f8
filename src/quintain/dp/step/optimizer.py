"""The optimizer's step made private: clip, sum, noise, divide, and only then the user's own step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from quintain.core.errors import BudgetExceededError, PrivacyError
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.release import Release
from quintain.dp.capture.captured_pass import CapturedPass
from quintain.dp.capture.grad_sample import GradSampleCapture, pending_grad_samples
from quintain.dp.capture.hooks import Capture
from quintain.dp.capture.mixing_probe import MixingProbe
from quintain.dp.capture.unit_sums import group_pass_by_unit
from quintain.dp.draws.pieces import NOTHING, Piece
from quintain.dp.draws.sampling import SamplingLoader
from quintain.dp.per_example.precision import full_precision_without_autocast
from quintain.dp.step import guards, together
from quintain.dp.step.adaptive import Adaptive
from quintain.dp.step.clipping import Clip, clip_of, weighed
from quintain.dp.step.discrete import DiscreteSums
from quintain.dp.step.fixed import Fixed
from quintain.dp.step.gathered import Gathered
from quintain.dp.step.noise import Stream, one_at_a_time
from quintain.dp.step.noising import noisy_votes, release_of, whole_sums
from quintain.dp.step.rows import Rows
from quintain.dp.step.saved import Saved
from quintain.dp.step.spot_checks import SpotChecks
from quintain.dp.step.standing import Standing
from quintain.dp.step.state import StateGuard
from quintain.dp.step.sums import FloatSums
from quintain.dp.step.unsampled import Unsampled
from quintain.dp.step.weights import Weights
from quintain.dp.step.written import Written


class DPOptimizer(Fixed, Saved, Standing):
    r"""A user's optimizer whose gradients are noisy sums of clipped ones.

    .. math:: \tilde g = \frac{1}{b}\Big(\sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\, \mathcal{N}(0, I)\Big)

    Noise is drawn at every step, for every parameter: one without a gradient in this batch, and all of them on an empty batch, get noise
    alone. One batch may be cut into several passes, each with its backward, before one step; their clipped sums add up (do not divide the
    loss by their number).

    On its own, over the parameters of a ``GradSampleModule``, it does not know how batches are drawn: its ledger then counts each step as
    one on all records, the most that it can cost as long as no record is in two passes of one step.

    Args:
        optimizer: The optimizer to step.
        noise_multiplier: sigma.
        max_grad_norm: How one record's gradient is bounded: C over all parameters, one for each, or another way to clip.
        expected_batch_size: b, which the sum is divided by; a ``loader`` tells it.
        loss_reduction: Whether losses are means over the batch of their pass, or sums.
        generator: Keys the noise, which is then reproducible; never in ``secure_mode``.
        secure_mode: Whether noise is discrete, on a grid, so that rounding tells nothing.
        capture: What catches the gradients; by default that of the ``GradSampleModule`` which holds the parameters.
        loader: Where the batches come from.
        ledger: Where each step is recorded, before it is applied.
        stream: Where the noise comes from; by default keyed by the operating system.
        kept_key: Whether the stream's key outlives the process, so that a step may be repeated. Its noise then follows from the sum that it
            hides and from noise multiplier and bound, too: repeated for the same it is the same, for any other it is independent.
        budget: What may be spent; by default what the ledger says.

    Raises:
        PrivacyError: If optimizer and module do not hold the same trainable parameters, or a layer cannot be private.
        SettingError: If a number is out of its range.
    """

    FIXED: ClassVar = frozenset({"inner", "capture", "parameters", "loader", "ledger", "stream", "secure_mode", "budget", "gathered"})

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float | Sequence[float] | Clip,
        expected_batch_size: int | None = None,
        loss_reduction: Literal["mean", "sum"] = "mean",
        generator: torch.Generator | None = None,
        secure_mode: bool = False,
        capture: Capture | None = None,
        loader: SamplingLoader | None = None,
        ledger: Ledger | None = None,
        stream: Stream | None = None,
        kept_key: bool = False,
        budget: PrivacyBudget | None = None,
    ) -> None:
        guards.check_inner(optimizer)
        self.inner = optimizer
        self.capture = GradSampleCapture.of_optimizer(optimizer) if capture is None else capture
        self.parameters = guards.matched(self.capture.root, optimizer)
        self._clip = clip_of(max_grad_norm)
        guards.check_settings(noise_multiplier, self._clip)
        self.asked = float(noise_multiplier), self._clip.sensitivity
        self._noise_multiplier, self._mean = float(noise_multiplier), guards.is_mean(loss_reduction)
        self.loader = Unsampled(self, expected_batch_size, reproducible=generator is not None) if loader is None else loader
        self.ledger = Ledger() if ledger is None else ledger
        self._choose()
        self.stream = guards.noise_stream(generator, secure=secure_mode) if stream is None else stream
        self.secure_mode, self.budget, self._kept_key = secure_mode, budget, kept_key
        self.seen = self.clipped = 0
        self._steps = 0
        self._float_sums = FloatSums(self.params)
        self._sums: FloatSums | DiscreteSums = self._empty()
        self.gathered = Gathered()
        self._written = Written(self.capture.root, self.parameters)
        self._weights = Weights(self.capture.root, self.parameters)
        self._noised = self._ready = self._is_last_step_skipped = False
        self._skips: list[bool] = []
        self._hooks: list[Callable[[DPOptimizer], None]] = []
        self.loader.serve(self)
        self.capture.connect(current_batch=self._drawn, on_pass_complete=self._accumulate)
        self._state = StateGuard(self.capture, SpotChecks(self.stream.child("state")))
        # the probe is made later, since its hooks come last
        looks = SpotChecks(self.stream.child("rows"))
        self._rows = Rows(self.capture, self.loader, looks, lambda: self.probe.strange_rows())  # noqa: PLW0108
        guards.guard(self)
        self.probe = MixingProbe(
            self.capture,
            probe_fully=SpotChecks(self.stream.child("probe")),
            mean=self._mean,
            batch_dim=0 if self.capture.batch_first else 1,
            handed=lambda: self.loader.batch if isinstance(self.loader, SamplingLoader) else None,
        )

    def __repr__(self) -> str:
        return f"DPOptimizer({self.inner!r}, noise_multiplier={self.noise_multiplier}, max_grad_norm={self.max_grad_norm})"

    @property
    def params(self) -> list[nn.Parameter]:
        """The trainable parameters, in the optimizer's order."""
        return list(self.parameters.values())

    @property
    def steps(self) -> int:
        """Steps taken, each with noise of its own."""
        return self._steps

    @property
    def expected_batch_size(self) -> int:
        """b, which the sum is divided by: public, unlike the size of the batch."""
        return self.loader.expected_batch_size

    @property
    def loss_reduction(self) -> Literal["mean", "sum"]:
        """Whether losses are means over the batch of their pass, or sums."""
        return "mean" if self._mean else "sum"

    @property
    def grad_samples(self) -> list[Tensor]:
        """Of each parameter, the gradients (B, *shape) of all examples that wait to be clipped, of the sum of their losses."""
        return pending_grad_samples(self.capture.pending, self.params, mean=self._mean)

    @property
    def accumulated_iterations(self) -> int:
        """Batches in a step: one, in however many pieces."""
        return 1

    def attach_step_hook(self, fn: "Callable[[DPOptimizer], None]") -> None:
        """Call ``fn`` with this optimizer in each step, after the noise and before the update; several may be attached."""
        self._hooks.append(fn)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One private step: recorded first, then applied.

        Raises:
            PrivacyError: If no gradients were captured since the last step, or some that cannot be bounded are there.
            BudgetExceededError: If the step would cost more than the budget; nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.pre_step():
            self.inner.step()
            self._ready = False
            self._written.remember()
        return loss

    def signal_skip_step(self, do_skip: bool = True) -> None:
        """Let the next step, or not, only clip and add up; without a signal, steps within a batch in pieces do so until its last."""
        self._skips.append(do_skip)

    def pre_step(self) -> bool:
        """All of a step but the inner optimizer's; whether that is due."""
        with self.loader.ranks.refusing_together():
            self.clip_and_accumulate()
        self._is_last_step_skipped = self._check_skip_next_step()
        if self._is_last_step_skipped:
            self.gathered.kept = self.gathered.examples
            return False
        self.add_noise()
        self.scale_grad()
        for hook in self._hooks:
            hook(self)
        self._written.remember()
        return True

    def clip_and_accumulate(self) -> None:
        """Clip the gradients of all passes since the last time, and add them up."""
        for turn in self.capture.pop_passes():
            self._accumulate(turn)

    @one_at_a_time
    def add_noise(self) -> None:
        """Record the step, and add its noise to the sum of clipped gradients; nothing of that sum can be seen before."""
        with self.loader.ranks.refusing_together():
            self._check_step()
        release = self.release
        self.loader.ranks.agree(together.at_a_step(self, release), together.HINT)
        self.ledger.step(release, self.loader.place(self.loader.draws))
        self.loader.use_up(self.loader.draws)
        for group in self.inner.param_groups:
            if "noise_std" in group:
                group["noise_std"] = self.noise_scale / self.loader.expected_batch_size
        self._release()
        self.gathered.forget()
        self._noised = True

    def _check_step(self) -> None:
        """Raise unless one more step may be recorded."""
        self._weights.check()
        self._written.check_others(self.inner)
        self._written.check()
        self.gathered.check(self.loader)
        self.probe.on_step()
        if self.broke and (limit := self.limit) is not None:
            raise BudgetExceededError(
                f"one more step would cost more than epsilon = {limit.epsilon} at delta = {limit.delta} "
                f"({self.ledger.steps} steps are spent); expected training to end here, with the weights of the last step"
            )

    def scale_grad(self) -> None:
        """Write the noisy sum over the expected batch into the parameters' gradients."""
        if not self._noised:
            raise PrivacyError("scale_grad() before add_noise(); expected clip_and_accumulate(), add_noise(), scale_grad(), or just step()")
        for parameter, mean in self._sums.handed_over().items():
            parameter.grad = mean
        self._noised, self._ready = False, True
        self._written.remember()

    @property
    def release(self) -> Release:
        """What the next step gives out, as the ledger records it."""
        return release_of(self.loader, self.ledger, self.noise_multiplier, choice=self.choice, secure=self.secure_mode)

    def count_passed(self, ledger: Ledger) -> int:
        """Record in ``ledger`` the batches that training went past without a step since the last one, as if they had had one."""
        passed = range(self.loader.spent + 1, self.loader.passed + 1)
        for batch in passed:
            place = self.loader.place(batch)
            ledger.step(replace(self.release, epoch=ledger.epoch_at(place)), place)
        return len(passed)

    @property
    def broke(self) -> bool:
        """Whether one more step would cost more than the budget."""
        limit = self.limit
        return limit is not None and not limit.affords(self.ledger, self.release)

    @property
    def limit(self) -> PrivacyBudget | None:
        """The budget that its steps keep to: its own, else the latest of its engine."""
        return self.budget or self.ledger.budget

    def admit(self, optimizer: torch.optim.Optimizer) -> None:
        """Called before any optimizer's step: none may step on private parameters but the inner one, once on each private gradient.

        Raises:
            PrivacyError: If another does.
        """
        if optimizer is self.inner and self._ready:
            self._written.check()
            self._ready = False
            return
        if self.capture.delivers_to(self._accumulate) and self._written.moves(optimizer):
            raise PrivacyError(
                f"{type(optimizer).__name__} is about to step on parameters that are trained privately, past the clip and the noise; "
                "expected the optimizer that make_private returned to step alone"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Drop all gradients, captured ones too; they become None. Sums of the earlier pieces of the batch in hand stay."""
        if isinstance(self.capture, GradSampleCapture):
            self.capture.clear_grad_sample()
        self.capture.pop_passes()
        if self.gathered.examples != self.gathered.kept:
            self.gathered.forget()
        self._noised = self._ready = False
        self.inner.zero_grad(set_to_none=True)
        self._written.remember()

    @property
    def spent(self) -> bool:
        """Whether the batch in hand was stepped on, so that it must not be used again."""
        return self.loader.spent == self.loader.draws

    def drop(self) -> None:
        """Drop the batch in hand with all its pieces so far: it begins anew, or the next one does."""
        self.zero_grad()
        self.gathered.forget()

    def _accumulate(self, turn: CapturedPass) -> None:
        self._written.check()
        self._state.check()
        if self._noised:
            raise PrivacyError(
                "got gradients to clip between add_noise() and scale_grad(), which have no noise yet; expected scale_grad() first, or "
                "zero_grad() to drop the step"
            )
        piece = turn.physical_batch
        if self.gathered.left(piece):
            self.gathered.forget()
        if self.gathered.examples is None:
            self._rows.forget()
            self._sums = self._empty()
            self._sums.clear()
        self.gathered.begin(turn.batch_size or 0)
        self._rows.add(turn)
        mean = self._mean
        with full_precision_without_autocast(self.params[0].device):
            if piece.counts is not None and piece.shares is not None:
                turn, mean = group_pass_by_unit(turn, piece.counts, piece.shares, mean=mean), False
            found, weights, part = weighed(self.params, turn, self._clip, mean=mean)
            self._sums.add(found, weights)
        self.gathered.add(piece, self._clip.votes(part.norms) if isinstance(self._clip, Adaptive) else 0)
        self.seen += len(part.norms)
        self.clipped += int((part.factors < 1).sum())

    def _release(self) -> None:
        """Add the noise of this step to the sums, once for all processes; the step is theirs together."""
        ranks, turn = self.loader.ranks, self._steps
        self._steps += 1
        stream = self._noise(turn)
        self._sums.release(stream if self.noise_scale and not ranks.rank else None, self.noise_scale, self.expected_batch_size)
        ranks.add_up(self._sums.flat)
        if isinstance(self._clip, Adaptive):
            votes = torch.tensor(self.gathered.votes, dtype=torch.int64, device=ranks.device)
            ranks.add_up(votes)
            count = stream.child("count")
            count.seek(turn)
            noisy = noisy_votes(int(votes), self._clip.count_std, count, secure=self.secure_mode) if self.noise_multiplier else int(votes)
            self._clip = self._clip.moved(noisy, self.loader.expected_batch_size)

    def _noise(self, turn: int) -> Stream:
        """The stream at this turn, which a process reaches once; of a key that outlives it, at these sums and this scale, too."""
        stream = self.stream
        if self._kept_key:
            settings = turn, self.gathered.votes, self.noise_multiplier, self._clip
            tag = self.loader.ranks.gathered(stream.tag(self._sums.flat, *settings))
            stream = stream.child("sums", tag.hex())
        stream.seek(turn)
        return stream

    def _empty(self) -> "FloatSums | DiscreteSums":
        """What this step's gradients are added up in."""
        return whole_sums(self.params, self._clip, self.noise_multiplier) if self.secure_mode else self._float_sums

    def _check_skip_next_step(self, pop_next: bool = True) -> bool:
        if self._skips:
            return self._skips.pop(0) if pop_next else self._skips[0]
        return not self.loader.piece.last

    def _drawn(self) -> Piece:
        if isinstance(self.loader, Unsampled):
            self.loader.draws = self.loader.spent + 1
            return replace(NOTHING, draw=self.loader.draws)
        return self.loader.piece


PrivateOptimizer = DPOptimizer
