"""The optimiser's step made private: clip, sum, noise, divide, and only then the user's own step."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quintain.core.errors import BudgetSpent, PrivacyError
from quintain.dp import guards
from quintain.dp.adaptive import Adaptive
from quintain.dp.budget import Budget
from quintain.dp.capture import Capture, Pass
from quintain.dp.clipping import Clip, clip_of, weighed
from quintain.dp.discrete import VARIANCE, DiscreteSums, discrete_gaussian
from quintain.dp.grouping import grouped
from quintain.dp.ledger import Ledger, Release
from quintain.dp.noise import Stream
from quintain.dp.pieces import NOTHING, Piece
from quintain.dp.probe import Probe
from quintain.dp.samples import Samples
from quintain.dp.sampling import SamplingLoader
from quintain.dp.sums import FloatSums
from quintain.dp.unsampled import Unsampled


class DPOptimizer(torch.optim.Optimizer):
    r"""A user's optimiser whose gradients are noisy sums of clipped ones.

    .. math:: \tilde g = \frac{1}{b}\Big(\sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\, \mathcal{N}(0, I)\Big)

    ``param_groups``, ``state`` and ``defaults`` are the inner optimiser's own objects, so that schedulers reach its rate. Noise is drawn
    at every step, for every parameter: one without a gradient in this batch, and all of them on an empty batch, get noise alone. One
    batch may be cut into several passes, each with its backward, before one step; their clipped sums add up (do not divide the loss by
    their number).

    On its own, over the parameters of a ``GradSampleModule``, it does not know how batches are drawn: its ledger then counts each step as
    one on all records, the most that it can cost.

    Args:
        optimizer: The optimiser to step.
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
        budget: What may be spent.

    Raises:
        PrivacyError: If optimiser and module do not hold the same trainable parameters, or a layer cannot be private.
        SettingError: If a number is out of its range.
    """

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
        budget: Budget | None = None,
    ) -> None:
        guards.check_inner(optimizer)
        self.inner = optimizer
        self.capture = Samples.over(optimizer) if capture is None else capture
        self.parameters = guards.matched(self.capture.root, optimizer)
        self._clip = clip_of(max_grad_norm)
        guards.check_settings(noise_multiplier, self._clip)
        self._noise_multiplier, self._mean = noise_multiplier, guards.is_mean(loss_reduction)
        self.loader = Unsampled(self, expected_batch_size, reproducible=generator is not None) if loader is None else loader
        self.ledger = Ledger() if ledger is None else ledger
        self.stream = guards.noise_stream(generator, secure=secure_mode) if stream is None else stream
        self.secure_mode, self.budget = secure_mode, budget
        self.seen = self.clipped = 0
        self.steps = 0
        self._float_sums = FloatSums(self.params)
        self._sums: FloatSums | DiscreteSums = self._empty()
        self._examples: int | None = None
        self._kept: int | None = None
        self._held = NOTHING
        self._votes = 0.0
        self._draws: set[int] = set()
        self._spent = self.loader.draws
        self._written: dict[nn.Parameter, tuple[Tensor, int]] = {}
        self._noised = self._ready = self._is_last_step_skipped = False
        self._skips: list[bool] = []
        self._hooks: list[Callable[[DPOptimizer], None]] = []
        self.capture.serve(drawn=self._drawn, finished=self._accumulate)
        guards.Buffers(self.capture)
        guards.guard(self)
        self.probe = Probe(self.capture, batch_dim=0 if self.capture.batch_first else 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name) if "inner" in self.__dict__ else object.__getattribute__(self, name)

    def __getstate__(self) -> dict[str, Any]:
        """Everything, the stream of noise too, which refuses to be copied."""
        return self.__dict__

    def __repr__(self) -> str:
        return f"DPOptimizer({self.inner!r}, noise_multiplier={self.noise_multiplier}, max_grad_norm={self.max_grad_norm})"

    @property
    def original_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser that steps on the private gradients."""
        return self.inner

    @property
    def params(self) -> list[nn.Parameter]:
        """The trainable parameters, in the optimiser's order."""
        return list(self.parameters.values())

    @property
    def expected_batch_size(self) -> int:
        """b, which the sum is divided by: public, unlike the size of the batch."""
        return self.loader.expected_batch_size

    @property
    def loss_reduction(self) -> Literal["mean", "sum"]:
        """Whether losses are means over the batch of their pass, or sums."""
        return "mean" if self._mean else "sum"

    @property
    def noise_multiplier(self) -> float:
        """sigma; may be set between steps, never while clipped gradients wait for their noise."""
        return self._noise_multiplier

    @noise_multiplier.setter
    def noise_multiplier(self, value: float) -> None:
        self._check_between_steps()
        if not value and self._noise_multiplier:
            raise PrivacyError("got noise_multiplier = 0 in a private run; expected a positive number: a step without noise has no epsilon")
        guards.check_settings(value, self._clip)
        self._noise_multiplier = value

    @property
    def clip(self) -> Clip:
        """How one record's gradient is bounded."""
        return self._clip

    @property
    def max_grad_norm(self) -> float:
        """C, over all parameters together; set between steps, it scales clip and noise alike."""
        return self._clip.sensitivity

    @max_grad_norm.setter
    def max_grad_norm(self, value: float) -> None:
        self._check_between_steps()
        clip = self._clip.at(value)
        guards.check_settings(self._noise_multiplier, clip)
        self._clip = clip

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise in the sum of gradients, sigma times C."""
        sigma = self._clip.gradient_noise(self.noise_multiplier) if isinstance(self._clip, Adaptive) else self.noise_multiplier
        return 0.0 if sigma == 0 else sigma * self._clip.sensitivity

    @property
    def grad_samples(self) -> list[Tensor]:
        """Of each parameter, the gradients (B, *shape) of all examples that wait to be clipped, of the sum of their losses."""
        turns = self.capture.pending
        scales = [float(turn.batch or 0) if self._mean else 1.0 for turn in turns]
        return [
            torch.cat([scale * turn.gradients[p].dense() for scale, turn in zip(scales, turns, strict=True) if p in turn.gradients])
            if any(p in turn.gradients for turn in turns)
            else p.new_zeros(0, *p.shape)
            for p in self.params
        ]

    @property
    def accumulated_iterations(self) -> int:
        """Batches in a step: one, in however many pieces."""
        return 1

    def attach_step_hook(self, fn: "Callable[[DPOptimizer], None]") -> None:
        """Call ``fn`` with this optimiser in each step, after the noise and before the update; several may be attached."""
        self._hooks.append(fn)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One private step: recorded first, then applied.

        Raises:
            PrivacyError: If no gradients were captured since the last step, or some that cannot be bounded are there.
            BudgetSpent: If the step would cost more than the budget; nothing has changed.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self.pre_step():
            self.inner.step()
            self._ready = False
            self._remember()
        return loss

    def signal_skip_step(self, do_skip: bool = True) -> None:
        """Let the next step, or not, only clip and add up; without a signal, steps within a batch in pieces do so until its last."""
        self._skips.append(do_skip)

    def pre_step(self) -> bool:
        """All of a step but the inner optimiser's; whether that is due."""
        self.clip_and_accumulate()
        self._is_last_step_skipped = self._check_skip_next_step()
        if self._is_last_step_skipped:
            self._kept = self._examples
            return False
        self.add_noise()
        self.scale_grad()
        for hook in self._hooks:
            hook(self)
        return True

    def clip_and_accumulate(self) -> None:
        """Clip the gradients of all passes since the last time, and add them up."""
        for turn in self.capture.take():
            self._accumulate(turn)

    def add_noise(self) -> None:
        """Record the step, and add its noise to the sum of clipped gradients; nothing of that sum can be seen before."""
        self._check_step()
        if self.broke and self.budget is not None:
            raise BudgetSpent(
                f"one more step would cost more than epsilon = {self.budget.epsilon} at delta = {self.budget.delta} "
                f"({self.ledger.steps} steps are spent); expected training to end here, with the weights of the last step"
            )
        self.loader.ranks.agree((self.loader.draws, self.steps), "batches and steps")
        self.ledger.record(self.release)
        self._spent = self.loader.draws
        for group in self.inner.param_groups:
            if "noise_std" in group:
                group["noise_std"] = self.noise_scale / self.loader.expected_batch_size
        self.probe.stepped()
        self._release()
        self._forget()
        self._noised = True

    def scale_grad(self) -> None:
        """Divide the noisy sum by the expected batch, and write it into the parameters' gradients."""
        if not self._noised:
            raise PrivacyError("scale_grad() before add_noise(); expected clip_and_accumulate(), add_noise(), scale_grad(), or just step()")
        for parameter, mean in self._sums.divided(self.loader.expected_batch_size).items():
            parameter.grad = mean
        self._noised, self._ready = False, True
        self._remember()

    @property
    def release(self) -> Release:
        """What the next step gives out, as the ledger records it."""
        loader = self.loader
        passes = loader.sampling in ("shuffle", "balls-in-bins")
        return Release(
            self.noise_multiplier,
            loader.expected_batch_size,
            loader.records,
            sampling=loader.sampling,
            mechanism="discrete gaussian" if self.secure_mode else "gaussian",
            unit="record" if loader.units is None else loader.units.name,
            epoch=(loader.draws - 1) // loader.steps_per_epoch if passes else 0,
            steps_per_epoch=loader.steps_per_epoch if passes else 0,
            reproducible=loader.reproducible,
        )

    @property
    def broke(self) -> bool:
        """Whether one more step would cost more than the budget."""
        return self.budget is not None and not self.budget.affords(self.ledger, self.release)

    def admit(self, optimizer: torch.optim.Optimizer) -> None:
        """Called before any optimiser's step: none may step on private parameters but the inner one, once on each private gradient.

        Raises:
            PrivacyError: If another does.
        """
        if optimizer is self.inner and self._ready:
            self._ready = False
            return
        own = {id(parameter) for parameter in self.params}
        if self.capture.hands_to(self._accumulate) and any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
            raise PrivacyError(
                f"{type(optimizer).__name__} is about to step on parameters that are trained privately, past the clip and the noise; "
                "expected the optimiser that make_private returned to step alone"
            )

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Drop all gradients, captured ones too; they become None. Sums of the earlier pieces of the batch in hand stay."""
        if isinstance(self.capture, Samples):
            self.capture.clear()
        self.capture.take()
        if self._examples != self._kept:
            self._forget()
        self._noised = self._ready = False
        self.inner.zero_grad(set_to_none=True)

    @property
    def spent(self) -> bool:
        """Whether the batch in hand was stepped on, so that it must not be used again."""
        return self._spent == self.loader.draws

    def drop(self) -> None:
        """Drop the batch in hand with all its pieces so far: it begins anew, or the next one does."""
        self.zero_grad()
        self._forget()

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: ARG002
        """Refused: what is trained is fixed when training becomes private."""
        raise PrivacyError("got another group of parameters; expected what make_private was given: call it again on a fresh optimiser")

    def state_dict(self) -> dict[str, Any]:
        """The inner optimiser's state, and under ``"privacy"`` the ledger and the places in the random streams (never their keys)."""
        privacy = {
            "ledger": self.ledger.state_dict(),
            "steps": self.steps,
            "draws": self.loader.draws,
            "noise_multiplier": self.noise_multiplier,
            "max_grad_norm": self.max_grad_norm,
        }
        return {**self.inner.state_dict(), "privacy": privacy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from ``state_dict``; a seeded run then draws as if it had never stopped.

        Raises:
            PrivacyError: If the state does not say what was spent.
        """
        if "privacy" not in state_dict:
            raise PrivacyError("got a plain optimiser's state; expected one with its ledger, or the steps already spent would be forgotten")
        privacy = state_dict["privacy"]
        self.ledger.load_state_dict(privacy["ledger"])
        self.steps, self.loader.draws = privacy["steps"], privacy["draws"]
        self._spent = self.loader.draws
        self.noise_multiplier = privacy.get("noise_multiplier", self.noise_multiplier)
        self.max_grad_norm = privacy.get("max_grad_norm", self.max_grad_norm)
        self.inner.load_state_dict({key: value for key, value in state_dict.items() if key != "privacy"})

    def _accumulate(self, turn: Pass) -> None:
        self._refuse_plain()
        piece = turn.draw
        if self._left(piece):
            self._forget()
        if self._examples is None:
            self._sums = self._empty()
            self._sums.clear()
        self._examples = (self._examples or 0) + (turn.batch or 0)
        mean = self._mean
        if piece.counts is not None and piece.shares is not None:
            turn, mean = grouped(turn, piece.counts, piece.shares, mean=mean), False
        found, weights, part = weighed(self.params, turn, self._clip, mean=mean)
        self._sums.add(found, weights)
        if isinstance(self._clip, Adaptive):
            self._votes += self._clip.votes(part.norms)
        self._draws.add(piece.draw)
        self._held = piece
        self.seen += len(part.norms)
        self.clipped += int((part.factors < 1).sum())

    def _left(self, piece: Piece) -> bool:
        """Whether what was gathered is the beginning of a batch that the loop has left."""
        stepped = self._examples is not None and self._examples == self._kept
        return stepped and self._held.size != self._kept and piece.draw != self._held.draw

    def _refuse_plain(self) -> None:
        """No gradient but those that were written here, unchanged."""
        for name, parameter in self.parameters.items():
            grad, written = parameter.grad, self._written.get(parameter)
            if grad is not None and (written is None or grad is not written[0] or grad._version != written[1]):
                raise PrivacyError(
                    f"parameter {name!r} has a plain gradient, which is not clipped; expected gradients through its layer alone, in "
                    "training mode (module.train()): no penalty on weights in the loss (use weight_decay), no backward in evaluation mode"
                )

    def _check_step(self) -> None:
        private = set(self.parameters.values())
        held = [parameter for group in self.inner.param_groups for parameter in group["params"] if parameter not in private]
        if any(parameter.requires_grad or parameter.grad is not None for parameter in held):
            raise PrivacyError(
                "the optimiser holds a parameter that was not trainable when it was made private, and now is, or has a plain gradient; "
                "expected no unfreezing and no further parameters: call make_private again on the changed module and a fresh optimiser"
            )
        self._refuse_plain()
        if self._examples is None:
            raise PrivacyError(
                "step() without captured gradients; expected a forward pass of the private module in training mode and loss.backward() "
                "since the last step()"
            )
        if self._draws != {self.loader.draws} or self._spent == self.loader.draws:
            raise PrivacyError(
                "step() on another batch than the private loader's latest, on one already used, or on several; expected one step for each "
                "batch it yields: to accumulate, cut one batch into pieces, and ask the loader for a larger one"
            )
        if self._examples != self.loader.size:
            raise PrivacyError(
                f"the passes since the last step held {self._examples} examples, the batch {self.loader.size}; expected each record once: "
                "one forward and backward pass over each piece of the private loader's batch, which is the first dimension in every layer"
            )

    def _release(self) -> None:
        """Add the noise of this step to the sums, once for all processes; the step is theirs together."""
        ranks = self.loader.ranks
        if self.noise_scale and not ranks.rank:
            self.stream.seek(self.steps)
            self._sums.add_noise(self.stream, self.noise_scale)
        ranks.add_up(self._sums.flat)
        if isinstance(self._clip, Adaptive):
            votes = torch.tensor(self._votes, dtype=torch.float64, device=ranks.device)
            ranks.add_up(votes)
            self._clip = self._clip.moved(float(votes) + self._count_noise(self._clip), self.loader.expected_batch_size)
        self.steps += 1

    def _count_noise(self, clip: Adaptive) -> float:
        """Noise for twice the count, from a stream of its own."""
        if not self.noise_multiplier:
            return 0.0
        stream = self.stream.child("count")
        stream.seek(self.steps)
        if not self.secure_mode:
            return 2 * clip.count_std * float(stream.normal(1))
        return int(discrete_gaussian(1, stream)[0]) / math.isqrt(int(VARIANCE / Fraction(2 * clip.count_std) ** 2))

    def _empty(self) -> "FloatSums | DiscreteSums":
        """What this step's gradients are added up in."""
        if not self.secure_mode:
            return self._float_sums
        bound = self._clip.sensitivity
        return DiscreteSums(self.params, noise_multiplier=self.noise_scale / bound, sensitivity=bound)

    def _check_skip_next_step(self, pop_next: bool = True) -> bool:
        if self._skips:
            return self._skips.pop(0) if pop_next else self._skips[0]
        return not self.loader.piece.last

    def _drawn(self) -> Piece:
        if isinstance(self.loader, Unsampled):
            self.loader.draws = self._spent + 1
            return replace(NOTHING, draw=self.loader.draws)
        return self.loader.piece

    def _remember(self) -> None:
        """Which gradients were written here."""
        self._written = {p: (p.grad, p.grad._version) for p in self.params if p.grad is not None}

    def _check_between_steps(self) -> None:
        if self._examples is not None:
            raise PrivacyError(
                "noise or bound set while clipped gradients wait for their noise; expected it between steps: what is clipped and what is "
                "drawn must fit together"
            )

    def _forget(self) -> None:
        self._examples = self._kept = None
        self._draws, self._votes = set(), 0.0


PrivateOptimizer = DPOptimizer
