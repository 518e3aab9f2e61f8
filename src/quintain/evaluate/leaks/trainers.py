"""How nets like the target are built and trained: values that worker processes can be handed."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from quintain.core.errors import ExecutionError, ModelError, TrainingFailedError, UsageError
from quintain.data.dataset import Dataset
from quintain.dp import fit as fit_privately
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.models.loading import load_classifier
from quintain.models.user_files import load_user_function
from quintain.training import Recipe, fit

EXPECTED = (
    "train(net, dataset, seed), which trains the net in place, or train(dataset, seed), which returns one"
)
"""What the user's function is."""


@dataclass(frozen=True, slots=True)
class NetBuilder:
    """Builds fresh nets of a registered name or a factory.

    Args:
        model: Registered name, or ``path/to/file.py:factory``.
        sizes: ``num_classes``, and ``channels`` and ``size`` of pictures.
    """

    model: str
    sizes: Mapping[str, int] = field(hash=False)

    def __call__(self, seed: int) -> nn.Module:
        """Return a net with first weights by the seed."""
        return load_classifier(self.model, None, **self.sizes, seed=seed).net


def gives_fresh_weights(builder: NetBuilder) -> bool:
    """Whether two seeds give two nets: a factory that loads trained weights gives one."""
    return not same_weights(builder(0).state_dict(), builder(1).state_dict())


def same_weights(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two states of a net have the same parameters and buffers."""
    return one.keys() == other.keys() and all(
        torch.equal(value, theirs)
        for name, value in one.items()
        if isinstance(value, torch.Tensor) and isinstance(theirs := other[name], torch.Tensor)
    )


@dataclass(frozen=True, slots=True)
class RecipeTrainer:
    """Trains by a recipe, with cross-entropy."""

    recipe: Recipe

    def __call__(self, net: nn.Module, data: Dataset, seed: int) -> None:
        """Train a net in place."""
        fit(net, data, self.recipe, seed=seed)


@dataclass(frozen=True, slots=True)
class PrivateTrainer:
    """Trains by DP-SGD to a target epsilon; its noise and batches come from the operating system."""

    target: PrivacyTarget

    def __call__(self, net: nn.Module, data: Dataset, _seed: int) -> None:
        """Train a net in place; nothing follows from the seed, which would make the noise known."""
        fit_privately(net, data, self.target.plan(len(data)))
        net.eval()


@dataclass(frozen=True, slots=True)
class UserTrainer:
    """Trains by a function of the user's file.

    Args:
        spec: ``path/to/file.py:function``.
        file_hash: Of the file and what it imports from its folder, so that shadows of another version are
            none of this one.
    """

    spec: str
    file_hash: str

    @classmethod
    def load(cls, spec: str) -> "UserTrainer":
        """Return the trainer of a function, which is looked at and not run.

        Raises:
            SettingError: If no function is named.
            NotFoundError: If there is no such file or function.
            ModelError: If the file cannot be run, or the function takes other arguments.
        """
        found = load_user_function(spec, expected=EXPECTED)
        if len(_arguments(found.function)) not in (2, 3):
            raise ModelError(f"{spec} takes {len(_arguments(found.function))} arguments; expected {EXPECTED}")
        return cls(str(Path(spec)), found.file_hash)

    def __call__(self, net: nn.Module, data: Dataset, seed: int) -> None:
        """Train a net in place.

        Raises:
            TrainingFailedError: If the function raises, returns no net of the same weights, or leaves a net
                that was given to it as it was, or with weights that are not finite; or if its file, or one
                that it imports, is not the one that ``file_hash`` is of.
        """
        before = copy.deepcopy(net.state_dict())
        try:
            function = load_user_function(self.spec, expected=EXPECTED)
            # each process loads the file by itself, perhaps minutes after it was hashed
            if function.file_hash != self.file_hash:
                raise TrainingFailedError(
                    f"{self.spec}, or a file that it imports, has changed since it was loaded first; "
                    "expected one code for all shadow models: run the command again"
                )
            in_place = len(_arguments(function.function)) == 3
            trained = function(net, data, seed) if in_place else function(data, seed)
        except (ExecutionError, UsageError) as error:
            raise TrainingFailedError(str(error)) from error
        # a net that is trained in place may be returned, too, or a trained copy of it
        if not in_place or (trained is not net and isinstance(trained, nn.Module)):
            self._take(net, trained)
        if in_place and before and same_weights(before, net.state_dict()):
            raise TrainingFailedError(
                f"{self.spec} left the weights of the net as they were: nothing was learned of "
                f"{len(data)} examples. Expected {EXPECTED}"
            )
        if not all(bool(one.isfinite().all()) for one in net.parameters()):
            raise TrainingFailedError(
                f"{self.spec} left weights that are NaN or infinite after training on {len(data)} examples; "
                "expected finite ones: see its learning rate and its losses"
            )

    def _take(self, net: nn.Module, trained: object) -> None:
        """Give a net the weights that the function returned."""
        if not isinstance(trained, nn.Module):
            raise TrainingFailedError(
                f"{self.spec} returned a {type(trained).__name__}; expected a torch.nn.Module"
            )
        try:
            net.load_state_dict(trained.state_dict())
        except RuntimeError as error:
            raise TrainingFailedError(
                f"{self.spec} returned a net with other weights than --model builds: "
                f"{str(error).splitlines()[0]}; expected the same architecture"
            ) from error


def _arguments(function: object) -> list[inspect.Parameter]:
    """Return the parameters of a function that have no default."""
    assert callable(function)
    return [
        one
        for one in inspect.signature(function).parameters.values()
        if one.default is inspect.Parameter.empty
        and one.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    ]
