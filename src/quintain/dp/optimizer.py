"""The optimiser's step made private: clip, sum, noise, divide, and only then the user's own step."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.capture import Capture, Pass
from quintain.dp.clipping import Clip, clip_into
from quintain.dp.ledger import Ledger, Release
from quintain.dp.noise import Stream
from quintain.dp.rules import Rule
from quintain.dp.sampling import PoissonLoader


class PrivateOptimizer(torch.optim.Optimizer):
    r"""A user's optimiser whose gradients are noisy sums of clipped ones.

    .. math:: \tilde g = \frac{1}{b}\Big(\sum_{i \in B_t} \mathrm{clip}_C(g_i) + \sigma C\, \mathcal{N}(0, I)\Big)

    ``param_groups``, ``state`` and ``defaults`` are the inner optimiser's own objects, so that schedulers reach its rate. Noise is drawn
    at every step, for every parameter: one without a gradient in this batch, and all of them on an empty batch, get noise alone. One
    batch may be cut into several passes, each with its backward, before one step; their clipped sums add up (do not divide the loss by
    their number).

    Args:
        inner: The optimiser to step.
        module: The module whose parameters it holds.
        loader: Where the batches come from.
        ledger: Where each step is recorded, before it is applied.
        noise_multiplier: sigma.
        clip: How one record's gradient is bounded.
        mean: Whether losses are means over the batch of their pass (else sums).
        stream: Where the noise comes from.
        rules: Rules for more kinds of layer.

    Raises:
        PrivacyError: If optimiser and module do not hold the same trainable parameters, or a layer cannot be private.
    """

    def __init__(
        self,
        inner: torch.optim.Optimizer,
        *,
        module: nn.Module,
        loader: PoissonLoader,
        ledger: Ledger,
        noise_multiplier: float,
        clip: Clip,
        mean: bool,
        stream: Stream,
        rules: Mapping[type[nn.Module], Rule] | None = None,
    ) -> None:
        _check_settings(noise_multiplier, clip)
        if isinstance(inner, PrivateOptimizer):
            raise PrivacyError("got an optimiser that is private already; expected a plain one, over a module that no other holds")
        self.inner = inner
        self.loader, self.ledger, self.stream = loader, ledger, stream
        self._noise_multiplier, self._clip = noise_multiplier, clip
        self.parameters = _matched(module, inner)
        self.seen = self.clipped = 0
        self._mean = mean
        self.steps = 0
        self._sums = _Sums(list(self.parameters.values()))
        self._examples: int | None = None
        self._draws: set[int] = set()
        self._spent = loader.draws
        self._written: dict[nn.Parameter, tuple[Tensor, int]] = {}
        self.capture = Capture(module, drawn=lambda: loader.draws, finished=self._accumulate, rules=rules)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name) if "inner" in self.__dict__ else object.__getattribute__(self, name)

    def __getstate__(self) -> dict[str, Any]:
        """Everything, the stream of noise too, which refuses to be copied."""
        return self.__dict__

    def __repr__(self) -> str:
        return f"PrivateOptimizer({self.inner!r}, noise_multiplier={self.noise_multiplier}, max_grad_norm={self.max_grad_norm})"

    @property
    def noise_multiplier(self) -> float:
        """sigma; fixed, so that what is clipped, drawn and recorded is the same."""
        return self._noise_multiplier

    @property
    def clip(self) -> Clip:
        """How one record's gradient is bounded; fixed, so that no noise is scaled to another bound than gradients were clipped to."""
        return self._clip

    @property
    def max_grad_norm(self) -> float:
        """C, over all parameters together."""
        return self._clip.sensitivity

    @property
    def noise_scale(self) -> float:
        """Standard deviation of the noise in the sum of gradients, sigma times C."""
        return 0.0 if self.noise_multiplier == 0 else self.noise_multiplier * self._clip.sensitivity

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One private step: recorded first, then applied.

        Raises:
            PrivacyError: If no gradients were captured since the last step, or some that cannot be bounded are there.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for turn in self.capture.take():
            self._accumulate(turn)
        self._check_step()
        self.ledger.record(Release(self.noise_multiplier, self.loader.expected_batch_size, self.loader.records))
        self._spent = self.loader.draws
        self._release()
        self._forget()
        self.inner.step()
        self._written = {p: (p.grad, p.grad._version) for p in self.parameters.values() if p.grad is not None}
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Drop all gradients, captured ones too; they become None."""
        self.capture.take()
        self._forget()
        self.inner.zero_grad(set_to_none=True)

    def add_param_group(self, param_group: dict[str, Any]) -> None:  # noqa: ARG002
        """Refused: what is trained is fixed when training becomes private."""
        raise PrivacyError("got another group of parameters; expected what make_private was given: call it again on a fresh optimiser")

    def state_dict(self) -> dict[str, Any]:
        """The inner optimiser's state, and under ``"privacy"`` the ledger and the places in the random streams (never their keys)."""
        privacy = {"ledger": self.ledger.state_dict(), "steps": self.steps, "draws": self.loader.draws}
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
        self.inner.load_state_dict({key: value for key, value in state_dict.items() if key != "privacy"})

    def _accumulate(self, turn: Pass) -> None:
        self._refuse_plain()
        if self._examples is None:
            self._sums.clear()
        part = clip_into(self._sums.by_parameter, turn, self._clip, mean=self._mean)
        self._examples = (self._examples or 0) + len(part.norms)
        self._draws.add(turn.draw)
        self.seen += len(part.norms)
        self.clipped += int((part.factors < 1).sum())

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
        """Write the noisy mean into the parameters' gradients."""
        if self.noise_scale:
            self.stream.seek(self.steps)
            self._sums.add_noise(self.stream, self.noise_scale)
        self.steps += 1
        for parameter, mean in self._sums.divided(self.loader.expected_batch_size).items():
            parameter.grad = mean

    def _forget(self) -> None:
        self._examples, self._draws = None, set()


class _Sums:
    """One flat buffer for the sums of all parameters, kept from step to step.

    Args:
        parameters: In the order of the optimiser.

    Raises:
        PrivacyError: If they are on several devices.
    """

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        devices = {str(parameter.device) for parameter in parameters}
        if len(devices) > 1:
            raise PrivacyError(f"got trainable parameters on {', '.join(sorted(devices))}; expected all on one device")
        self._parameters = parameters
        self._flat: Tensor | None = None

    @property
    def flat(self) -> Tensor:
        """All sums, in the widest of the parameters' formats."""
        device, count = self._parameters[0].device, sum(parameter.numel() for parameter in self._parameters)
        if self._flat is None or self._flat.device != device:
            dtype = max((parameter.dtype for parameter in self._parameters), key=lambda dtype: torch.finfo(dtype).bits)
            self._flat = torch.zeros(count, dtype=dtype, device=device)
        return self._flat

    @property
    def by_parameter(self) -> dict[nn.Parameter, Tensor]:
        """Each in the shape of its parameter."""
        parts = self.flat.split([parameter.numel() for parameter in self._parameters])
        return {parameter: part.view_as(parameter) for parameter, part in zip(self._parameters, parts, strict=True)}

    def clear(self) -> None:
        """Back to zero; gradients that were written from here are gone."""
        self.flat.zero_()
        for parameter in self._parameters:
            parameter.grad = None

    def add_noise(self, stream: Stream, scale: float) -> None:
        """Independent Gaussian noise for every parameter."""
        stream.add_normal(self.flat, scale)

    def divided(self, by: int) -> dict[nn.Parameter, Tensor]:
        """The sums over a number, in the parameters' own formats."""
        self.flat.div_(by)
        return {parameter: part.to(parameter.dtype) for parameter, part in self.by_parameter.items()}


def _check_settings(noise_multiplier: float, clip: Clip) -> None:
    if not 0 <= noise_multiplier < math.inf:
        raise SettingError(f"got noise_multiplier = {noise_multiplier}; expected a finite number, 0 (no privacy) or more, such as 1.1")
    if math.isinf(clip.sensitivity) and noise_multiplier:
        raise SettingError("got max_grad_norm = inf with noise; expected a finite bound: noise is scaled to it")


def _matched(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """The trainable parameters by name, in the optimiser's order."""
    names = {parameter: name for name, parameter in module.named_parameters()}
    held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if any(parameter not in names for parameter in held):
        shapes = [tuple(parameter.shape) for parameter in held if parameter not in names]
        raise PrivacyError(
            f"the optimiser holds {len(shapes)} parameters (shapes {shapes[:3]}) that the module does not; expected its own alone"
        )
    missing = [name for parameter, name in names.items() if parameter.requires_grad and not any(parameter is other for other in held)]
    if missing:
        raise PrivacyError(
            f"the optimiser does not hold trainable parameter {missing[0]!r} ({len(missing)} in all); expected every one: "
            "build it from module.parameters(), or freeze the rest (requires_grad=False)"
        )
    return {names[parameter]: parameter for parameter in held if parameter.requires_grad}
