"""A PyTorch net as a classifier: inputs in [0, 1] to logits, and a hash of what it computes."""

from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quintain.core.arrays import native_copy
from quintain.core.errors import ModelError, QuintainError, SettingError
from quintain.core.user_code import FAILURES, failure_text
from quintain.models.adapters import adapt, find_logits, label_hint
from quintain.models.fingerprint import fingerprint
from quintain.models.memory import is_out_of_memory, keep_freed_memory
from quintain.models.modules import all_modules, any_training, first_floating_tensor
from quintain.models.protocol import Access


@final
class Classifier:
    r"""A single-label classifier :math:`f : [0, 1]^S \to \mathbb{R}^K` over a net, whatever the net returns.

    The net itself is never changed: neither its mode nor its weights, nor the gradients of its weights, as
    long as gradients are taken with respect to the input alone (``torch.autograd.grad``). Nor is the input:
    the net gets a copy of its own, into which it may write (``x.sub_(mean)``). Logits with NaN are
    passed on; ``check_model`` reports them.

    Args:
        net: In evaluation mode; takes (B, *S). Its output may be a tensor, dict, tuple, an object with
            ``.logits``, or one logit an example.
        num_classes: Number of classes; taken from the first output if not given. A net may have more
            logits, for classes that do not occur; they then count, too.
        allow_train_mode: Accept layers in training mode, for dropout as a defense.
        name: The model's name in results.

    Raises:
        ModelError: When called with a net in training mode, an input that it cannot take, or an output of the
            wrong shape.
    """

    access: Access = "gradients"

    def __init__(
        self,
        net: nn.Module,
        *,
        num_classes: int | None = None,
        allow_train_mode: bool = False,
        name: str = "model",
    ) -> None:
        if not isinstance(net, nn.Module):
            raise ModelError(f"a {type(net).__name__}; expected a torch.nn.Module")
        if num_classes is not None and num_classes < 2:
            raise SettingError(f"num_classes = {num_classes}; expected at least 2")
        keep_freed_memory()
        self.net = net
        self.name = name
        self.allow_train_mode = allow_train_mode
        self._given_classes = num_classes
        self._num_logits: int | None = None

    def __repr__(self) -> str:
        classes = self._num_logits or self._given_classes or "unknown"
        return f"Classifier({self.name}: {type(self.net).__name__}, {classes} classes)"

    @property
    def num_classes(self) -> int:
        """Number of logits; before there were any, the number of classes that was given.

        Raises:
            ModelError: If it was not given and nothing was classified yet.
        """
        found = self._num_logits or self._given_classes
        if found is None:
            raise ModelError(
                f"the number of classes of {self.name} is not known yet; give Classifier(net, "
                "num_classes=...) or call it once"
            )
        return found

    @property
    def num_parameters(self) -> int:
        """Number of weights of the net."""
        return sum(parameter.numel() for parameter in self.net.parameters())

    @property
    def device(self) -> torch.device:
        """Device of the net's first parameter or buffer; the CPU if it has none."""
        tensor = first_floating_tensor(all_modules(self.net))
        return torch.device("cpu") if tensor is None else tensor.device

    @property
    def dtype(self) -> torch.dtype:
        """The net's first floating-point type; float32 if it has none."""
        tensor = first_floating_tensor(all_modules(self.net))
        return torch.float32 if tensor is None else tensor.dtype

    @property
    def hash(self) -> str:
        """SHA-256 of weights and inference program (see ``fingerprint``), read from the net as it is now."""
        return fingerprint(self.net, include_modes=self.allow_train_mode)

    def __call__(self, x: Tensor | NDArray[Any]) -> Tensor:
        """Return logits (B, K) on the device of ``x``, differentiable in ``x``.

        Args:
            x: (B, *S), floating, in [0, 1]; cast to the net's type and device. A NumPy array is copied.
        """
        x = torch.from_numpy(native_copy(x)) if isinstance(x, np.ndarray) else x
        modules = all_modules(self.net)
        if not self.allow_train_mode and any_training(modules):
            raise ModelError(
                f"{self.name} is in training mode; call net.eval() first, or pass allow_train_mode=True if "
                "dropout is the defense"
            )
        if not x.is_floating_point() or x.ndim < 2:
            raise ModelError(
                f"an input of shape {tuple(x.shape)} and type {x.dtype}; expected a batch of floating-point "
                "examples in [0, 1]"
            )
        try:
            output = self.net(self._to_net(x, modules))
        except QuintainError:
            raise
        except FAILURES as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(
                f"{self.name} fails on an input of shape {tuple(x.shape)}: {failure_text(error)}. "
                f"Expected a net for such inputs{_signal_hint(x)}"
            ) from error
        # A copy: the net may hand out a buffer of its own, which its next call overwrites.
        logits = adapt(output, len(x)).to(x.device).clone()
        self._check_classes(logits.shape[1], output, len(x))
        return logits

    def predict(self, x: Tensor | NDArray[Any]) -> Tensor:
        """Return the class of the largest logit, (B,), int64, without gradients."""
        with torch.no_grad():
            return self(x).argmax(1)

    def _check_classes(self, num_logits: int, output: object, num_examples: int) -> None:
        """Refuse fewer logits than classes, and another number than before."""
        least = self._given_classes or 2
        if num_logits >= least and num_logits == (self._num_logits or num_logits):
            self._num_logits = num_logits
            return
        # of one logit the adapter makes two; an output is read again only for the message
        is_single = find_logits(output).numel() == num_examples
        returned = "one logit" if is_single else f"{num_logits} logits"
        expected = f"{least} or more, one a class" if num_logits < least else f"{self._num_logits}, as before"
        raise ModelError(
            f"{self.name} returns {returned} an example; expected {expected}{label_hint(num_logits, least)}"
        )

    def _to_net(self, x: Tensor, modules: list[nn.Module]) -> Tensor:
        """Return a copy of the input in the net's type and on its device: the net may write into it."""
        tensor = first_floating_tensor(modules)
        given = x if tensor is None else x.to(device=tensor.device, dtype=tensor.dtype)
        return x.clone() if given is x else given


def _signal_hint(x: Tensor) -> str:
    """Say how a net gets signals as they were, where the inputs may be such."""
    if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] == x.shape[3]:
        return ""
    given, read = tuple(x.shape[2:]), tuple(x.shape[1:])
    return (
        f": data of shape {given} are read as one gray picture {read}; if they are signals, x.squeeze(1) in "
        "forward takes them as they were"
    )
