"""The module that ``make_private`` returns: the user's own in a thin wrapper with per-example gradients."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from torch import nn

from quintain.core.errors import PrivacyError, SettingError
from quintain.dp.capture.hooks import _CAPTURE_OF_LAYER, Capture
from quintain.dp.opacus.grad_sample.grad_samples import GradSamples
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.rules import RULES, Rule
from quintain.dp.step.checks import is_mean

__all__ = ["GradSampleModule"]
__getattr__ = missing_name_getattr(__name__)


class GradSampleModule(nn.Module):
    """A wrapper of a module whose parameters get ``grad_sample``, the per-example gradients, in training.

    Attributes, methods and items are those of the module inside; names in its ``state_dict`` begin with
    ``_module.``.

    Args:
        m: The module to wrap.
        batch_first: Whether the batch is the first dimension of inputs and outputs, or the second.
        loss_reduction: Whether losses are means over the batch, or sums.
        strict: Must be True; a layer that cannot be trained privately is always refused.
        force_functorch: Ignored; each layer's gradients are computed in one way, with the same numbers.
        capture: The capture that the module is under, if it is already.

    Raises:
        PrivacyError: If a layer cannot be private.
        SettingError: If ``strict`` is False.
    """

    GRAD_SAMPLERS: ClassVar[Mapping[type[nn.Module], Rule]] = RULES
    _module: nn.Module

    def __init__(
        self,
        m: nn.Module,
        *,
        batch_first: bool = True,
        loss_reduction: Literal["mean", "sum"] = "mean",
        strict: bool = True,
        force_functorch: bool = False,  # noqa: ARG002
        capture: Capture | None = None,
    ) -> None:
        if not strict:
            raise SettingError(
                "got strict=False; expected True: a layer that cannot be private is refused, never skipped"
            )
        super().__init__()
        self.training = m.training
        self.add_module("_module", m)
        if capture is None:
            GradSamples(Capture(m, batch_first=batch_first), mean=is_mean(loss_reduction))

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._module(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "_module":
                raise
            return getattr(self._module, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Modules and parameters go to the module inside, where a change of what is trained is noticed."""
        if isinstance(value, (nn.Module, nn.Parameter)) and name != "_module":
            setattr(self._module, name, value)
        else:
            super().__setattr__(name, value)

    def __getitem__(self, key: Any) -> Any:
        inside: Any = self._module
        return inside[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        inside: Any = self._module
        inside[key] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._module)  # type: ignore[call-overload]

    @property
    def capture(self) -> Capture | None:
        """The capture that the wrapped module is under, if any."""
        captures = (_CAPTURE_OF_LAYER.get(child) for child in self._module.modules())
        return next(
            (capture for capture in captures if capture is not None and capture.root is self._module), None
        )

    @property
    def hooks_enabled(self) -> bool:
        """Whether per-example gradients are captured."""
        return self.capture is not None and self.capture.enabled

    def enable_hooks(self) -> None:
        """Capture per-example gradients again."""
        self._require_capture().enabled = True

    def disable_hooks(self) -> None:
        """Train plainly for a while; a private step on what that leaves in ``grad`` is refused."""
        self._require_capture().enabled = False

    def remove_hooks(self) -> None:
        """Detach all hooks; the module trains plainly from now on."""
        self._require_capture().remove()

    def cleanup(self) -> None:
        """Remove everything that was added to the wrapped module."""
        self.del_grad_sample()
        if self.capture is not None:
            self.remove_hooks()

    def to_standard_module(self) -> nn.Module:
        """The wrapped module, as it was before."""
        self.cleanup()
        return self._module

    def set_grad_sample_to_none(self) -> None:
        """Set ``grad_sample`` of all parameters to None."""
        if self.capture is not None and isinstance(self.capture.observer, GradSamples):
            self.capture.observer.on_discard()

    def del_grad_sample(self) -> None:
        """Delete ``grad_sample`` from the parameters."""
        self.set_grad_sample_to_none()
        for parameter in self.parameters():
            vars(parameter).pop("grad_sample", None)

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002
        """Set all gradients to None, the per-example ones too."""
        self.set_grad_sample_to_none()
        if self.capture is not None:
            self.capture.pop_passes()
        self._module.zero_grad(set_to_none=True)

    def _require_capture(self) -> Capture:
        if self.capture is None:
            raise PrivacyError(
                "got a module whose hooks are off; expected GradSampleModule(module) or make_private anew"
            )
        return self.capture
