"""A training of the user's as a black box: records and a seed go in, a model comes out."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from quintain.core.errors import ModelError, QuintainError, SettingError
from quintain.core.user_code import FAILURES, failure_text

NET_NAMES = ("net", "model", "module", "network")
"""First parameters of a function that trains a given net, which an audit does not have."""

EXPECTED = (
    "train(dataset, seed), with a torch TensorDataset of inputs (N, *shape) in [0, 1] and labels (N,), or "
    "train(x, y, seed) with both as NumPy arrays"
)
"""How a training may be called."""


@dataclass(frozen=True, slots=True)
class BlackBoxTraining:
    """A function that trains, and what it is given.

    Args:
        name: What it is called in messages.
        function: ``train(dataset, seed)`` or ``train(x, y, seed)``; a ``UserFunction`` or any other.
        takes_arrays: Whether it is the second, so that its model is given NumPy arrays, too.
    """

    name: str
    function: Callable[..., Any]
    takes_arrays: bool

    @classmethod
    def of(cls, function: Callable[..., Any], name: str = "train") -> "BlackBoxTraining":
        """Return a training, given as it reads its parameters: the last one is called ``seed``.

        Args:
            function: The function, which trains on all records that it is given.
            name: Of the function in messages.

        Raises:
            SettingError: If it takes other parameters.
        """
        try:
            parameters = tuple(inspect.signature(getattr(function, "function", function)).parameters.values())
        except (TypeError, ValueError):
            parameters = ()
        taken = [
            one.name
            for one in parameters
            if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
            and (one.default is one.empty or one.name == "seed")
        ]
        takes_net = len(taken) == 3 and taken[0] in NET_NAMES
        needs_more = [one for one in parameters if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
        if len(taken) not in (2, 3) or taken[-1] != "seed" or needs_more or takes_net:
            got = ", ".join(str(one) for one in parameters)
            raise SettingError(f"{name} takes ({got}); expected {EXPECTED}")
        return cls(name, function, takes_arrays=len(taken) == 3)

    @property
    def file_hash(self) -> str:
        """SHA-256 of the function's file, with what it imports from its folder; empty where it is of none."""
        return str(getattr(self.function, "file_hash", ""))

    def __call__(self, x: Tensor, y: Tensor, seed: int) -> Callable[[Tensor], Any]:
        """Train on records, and return the model, in evaluation mode, as a function of inputs (B, *S).

        Args:
            x: Inputs (N, *S) float32 in [0, 1]; the training gets a copy.
            y: Labels (N,) int64.
            seed: Below 2^31, as NumPy, PyTorch and JAX take it. A training may take its noise from elsewhere.

        Raises:
            ModelError: If it fails, or returns nothing that can be called.
        """
        copied = x.clone(), y.clone()
        given = [one.numpy() for one in copied] if self.takes_arrays else [TensorDataset(*copied)]
        model = self._run(self.function, *given, seed)
        if not callable(model):
            raise ModelError(
                f"{self.name} returns {_what(model)}; expected the trained model: a torch.nn.Module, or a "
                "function from inputs (B, *shape) to scores (B, classes)"
            )
        if isinstance(model, nn.Module):
            model.eval()
            weight = next(model.parameters(), torch.empty(0))
            return lambda inputs: self._run(model, inputs.to(weight.device, copy=True))
        return lambda inputs: self._run(model, inputs.numpy().copy() if self.takes_arrays else inputs.clone())

    def _run(self, function: Callable[..., Any], *given: object) -> Any:
        """Call code that is not ours; whatever it raises is said in one line."""
        try:
            return function(*given)
        except QuintainError:
            raise
        except FAILURES as error:
            what = "fails" if function is self.function else "returns a model that fails"
            raise ModelError(
                f"{self.name} {what}: {failure_text(error)}; correct it and run again"
            ) from error


def _what(model: object) -> str:
    return "nothing" if model is None else f"a {type(model).__name__}"
