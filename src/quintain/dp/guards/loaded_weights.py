"""Checks that a loaded state meets the weights that it was saved with.

Weights, or momentum, of more steps than a state's ledger counts would go on for less than they cost.
"""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from quintain.core.errors import PrivacyError
from quintain.dp.tensor_digest import digest


class LoadedWeights:
    """Says which weights a state is of, and compares them at the first step after one was loaded.

    Args:
        module: Whose frozen parameters and buffers are compared as well.
        parameters: Those to train, by name; compared in their order, so that a wrapped module has the same.
    """

    def __init__(self, module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
        self._module, self._parameters = module, parameters
        self._loaded: list[str] | None = None

    @property
    def digests(self) -> list[str]:
        """A hash of each parameter, and one of all else that the module keeps.

        Between loading a state and the next step these are the state's own.
        """
        return self._now if self._loaded is None else self._loaded

    def expect_digests(self, digests: list[str]) -> None:
        """Expect the weights of a state that is loaded."""
        self._loaded = digests

    def check(self) -> None:
        """Raise if the weights are not those of the state that was loaded; once they were, they may go on."""
        self.compare()
        self._loaded = None

    def compare(self) -> None:
        """Raise if the weights are not those of a state that was loaded after the latest step."""
        if self._loaded is None:
            return
        now, names = (
            self._now,
            [
                *(f"parameter {name!r}" for name in self._parameters),
                "what is not trained (frozen weights, buffers)",
            ],
        )
        differ = [name for name, one, other in zip(names, now, self._loaded, strict=False) if one != other]
        if differ or len(now) != len(self._loaded):
            raise PrivacyError(
                f"{(differ or names)[0]} ({len(differ)} of {len(now)}) is not what it was when the state was "
                "saved that is loaded: weights of later steps cost more than its ledger counts; expected "
                "module and optimizer of one moment, both loaded before the first step, get_epsilon() or "
                "save_checkpoint(). If these weights follow from nothing but what the ledger counts (fresh "
                "ones, an average of released ones), load the ledger alone: "
                "engine.ledger.load_state_dict(state['privacy']['ledger'])"
            )

    @property
    def _now(self) -> list[str]:
        kept = [
            value
            for name, value in self._module.state_dict().items()
            if name not in self._parameters and isinstance(value, Tensor)
        ]
        return [*(digest([parameter]) for parameter in self._parameters.values()), digest(kept)]


def digest_of_state(state: object) -> str:
    """A hash of an optimizer's state, by parameter index and name."""
    return digest(part for pair in _parts("", state) for part in pair)


def _parts(name: str, held: object) -> Iterator[tuple[str, object]]:
    if isinstance(held, Mapping):
        for key in sorted(held, key=str):
            yield from _parts(f"{name}.{key}", held[key])
    elif held is not None:
        yield name, held
