"""The private optimizer: the user's own optimizer, which steps on private gradients alone."""

from collections.abc import Callable
from typing import Any, ClassVar, Generic, NoReturn

import torch

from quintain.core.errors import PrivacyError
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.capture.hooks import Capture
from quintain.dp.sampling.stepped_loader import SteppedLoader
from quintain.dp.step.clipping import ClippingMethod
from quintain.dp.step.private_step import O_co, PrivateStep
from quintain.dp.step.saved_state import load_state, saved_state
from quintain.dp.write_once import WriteOnce


class PrivateOptimizer(WriteOnce, torch.optim.Optimizer, Generic[O_co]):
    """An optimizer of torch that forwards to the one that it wraps, and steps on private gradients alone.

    ``param_groups``, ``state`` and ``defaults`` are that optimizer's own objects, so a learning-rate
    scheduler on the wrapper changes the wrapped optimizer. One batch may be cut into several passes, each
    with its backward, before one step; their clipped sums add up (do not divide the loss by their number).

    Args:
        private_step: What makes the gradients private, and holds the optimizer to step.
    """

    WRITE_ONCE: ClassVar = frozenset({"private_step"})

    def __init__(self, private_step: PrivateStep[O_co]) -> None:
        self.inner = private_step.inner
        self.private_step = private_step

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.inner!r}, noise_multiplier={self.noise_multiplier}, "
            f"max_grad_norm={self.max_grad_norm})"
        )

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
        if self.private_step.release_gradients():
            self.inner.step()
            self.private_step.after_inner_step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Set all gradients to None, captured ones too; sums of a batch that is not complete stay."""
        self.private_step.zero_grad()

    def discard_batch(self) -> None:
        """Drop everything summed of the current batch: it begins anew, or the next one does."""
        self.private_step.discard_batch()

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state, with the ledger and the positions of random streams under
        ``"privacy"``.

        Keys of streams are not in it; the states of torch's own generators are. It belongs to the present
        weights and to the inner optimizer's own state, such as momentum (it holds hashes of both).
        """
        return saved_state(self.private_step)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a saved state; a seeded run then goes on as if it had never stopped.

        Torch's own generators are put back too, for layers such as dropout. Where batches are sampled
        otherwise than those of the state (size, records, sampling, kind of noise), that is a choice made
        after its steps. The module's weights must be those that the state was saved with: the first step
        compares them, so that module and optimizer may be loaded in any order.

        Raises:
            PrivacyError: If the state does not say what was spent, was changed or put together from two, is
                earlier than what was spent here, or of a run that other noise or another bound was asked for.
        """
        load_state(self.private_step, state_dict)

    @property
    def noise_multiplier(self) -> float:
        """sigma; may be set between steps, never while clipped gradients wait for their noise."""
        return self.private_step.noise_and_clip.noise_multiplier

    @noise_multiplier.setter
    def noise_multiplier(self, value: float) -> None:
        self.private_step.configure("noise_multiplier", value)

    @property
    def max_grad_norm(self) -> float:
        """C, over all parameters together; set between steps, it scales clip and noise alike."""
        return self.private_step.noise_and_clip.clip.sensitivity

    @max_grad_norm.setter
    def max_grad_norm(self, value: float) -> None:
        self.private_step.configure("max_grad_norm", value)

    @property
    def clip(self) -> ClippingMethod:
        """The clipping method."""
        return self.private_step.noise_and_clip.clip

    @property
    def steps(self) -> int:
        """The number of steps taken, each with noise of its own."""
        return self.private_step.steps

    @property
    def examples_seen(self) -> int:
        """The number of examples clipped so far; private, like all that follows from it."""
        return self.private_step.examples_seen

    @property
    def examples_clipped(self) -> int:
        """The number of those whose gradient was longer than the bound; private."""
        return self.private_step.examples_clipped

    @property
    def capture(self) -> Capture:
        """What catches the gradients; its ``remove()`` makes the module train plainly again."""
        return self.private_step.capture

    @property
    def loader(self) -> SteppedLoader:
        """Where the batches come from."""
        return self.private_step.loader

    @property
    def ledger(self) -> Ledger:
        """Where each step is recorded, before it is applied."""
        return self.private_step.ledger

    @property
    def budget_is_spent(self) -> bool:
        """Whether one more step would cost more than the budget."""
        return self.private_step.account.budget_is_spent

    @property
    def batch_is_consumed(self) -> bool:
        """Whether the current batch was stepped on, so that it must not be used again."""
        return self.private_step.batch_is_consumed

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: ARG002
        """Refused: what is trained is fixed when training becomes private."""
        raise PrivacyError(
            "got another group of parameters; expected what make_private was given: call it again on a fresh "
            "optimizer"
        )

    def __getattr__(self, name: str) -> Any:
        return (
            getattr(self.__dict__["inner"], name)
            if "inner" in self.__dict__
            else object.__getattribute__(self, name)
        )

    def __setattr__(self, name: str, value: Any) -> None:
        # what the private step rests on is its own to refuse
        if name in PrivateStep.WRITE_ONCE and "private_step" in self.__dict__:
            setattr(self.private_step, name, value)
        super().__setattr__(name, value)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse copies, shallow ones too: two optimizers that share a stream would add the same noise to
        different sums.
        """
        raise PrivacyError(
            "got a request to copy or pickle a private optimizer; expected each run to have its own: "
            "make_private anew, and load_state_dict(optimizer.state_dict())"
        )

    @property
    def _step_supports_amp_scaling(self) -> NoReturn:
        """Refuse a ``GradScaler``, which reads this attribute before it steps."""
        raise PrivacyError(
            "got a GradScaler that is about to step; expected loss.backward() and optimizer.step() alone: "
            "private gradients are clipped before a scale could be taken off again, and a step that is left "
            "out when numbers overflow would tell of the records"
        )
