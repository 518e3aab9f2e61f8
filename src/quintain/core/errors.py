"""The one tree of errors, and the exit code that each stands for.

::

    QuintainError
    ├── UsageError                 exit 2   the command cannot do what was asked
    │   ├── SettingError                    a setting out of its range
    │   ├── UnknownNameError                no such attack, model, data set ...
    │   ├── NotFoundError                   no such file, function in a file, or split
    │   └── RunFolderError                  a run folder of other settings, a damaged result file
    ├── ExecutionError             exit 5   the model, the data or the machine
    │   ├── ModelError                      wrong shape, NaN, training mode, weights that do not fit
    │   │   └── TrainingFailedError             a training that raises, or gives no such model
    │   │       └── DivergedError                   one whose loss is no number any more
    │   ├── DataError                       outside [0, 1], labels out of range, empty
    │   │   └── SharedExamplesError             (``evaluate.leaks``) others that the target was trained on
    │   ├── PrivacyError                    a layer or a loop that cannot be private
    │   │   ├── PeerRefusedError                (``dp.distributed``) another process of the run has refused
    │   │   ├── BudgetExceededError         one more step would cost more than was allowed
    │   │   └── UnsupportedError            (``dp.opacus``) what scripts of private training catch
    │   │       └── UnsupportedModuleError
    │   │           ├── ShouldReplaceModuleError         a layer that has a private form
    │   │           ├── UnsupportableModuleError         a layer that has none
    │   │           ├── IllegalModuleConfigurationError  a layer that another setting makes private
    │   │           └── NotYetSupportedModuleError       a layer without a rule
    │   ├── ProtocolError                   a peer or a message that breaks secure aggregation
    │   │   ├── SabotageError                   a site that is proven to break it
    │   │   └── RoundAbandonedError             (``federated.aggregate``) a round without a sum
    │   └── StorageError                    full disk, no permission
    └── SoundnessError             exit 4   some code is wrong
        ├── ContradictionError              two bounds on one quantity cross
        └── MechanismError                  noise, sampling or sensitivity differ from the claim

A message says what was got, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable, Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What the ``quintain`` command returns."""

    OK = 0
    FAILED = 1  # a requirement is not met, or a claim is worse than in an earlier run
    USAGE = 2  # the command cannot do what was asked
    UNDECIDED = 3  # a requirement can be neither passed nor failed, or two bounds cross as chance may explain
    ALARM = 4  # some code is wrong: bounds that cross, or a mechanism that is not what was claimed
    EXECUTION = 5  # the model, the data or the machine
    INTERRUPTED = 130  # 128 + SIGINT, as in shells


class QuintainError(Exception):
    """Anything that Quintain refuses or finds wrong; shown to users as its message alone."""

    exit_code = ExitCode.EXECUTION


class UsageError(QuintainError):
    """The command cannot do what was asked."""

    exit_code = ExitCode.USAGE


class SettingError(UsageError):
    """A setting out of its range."""


class UnknownNameError(UsageError):
    """A name that nothing of a kind is registered under; the message suggests what may be meant.

    Args:
        kind: What was asked for, a key of ``registry.KINDS``.
        name: What the user typed.
        known: All names of the kind, of which the nearest are suggested.
        other_kinds: Kinds that have something of this name, if any; the first is suggested.
    """

    def __init__(
        self, kind: str, name: str, known: Iterable[str], *, other_kinds: Sequence[str] = ()
    ) -> None:
        if other_kinds:
            article = "an" if other_kinds[0].startswith("a") else "a"
            super().__init__(
                f"{name!r} is no {kind} but {article} {other_kinds[0]}; see 'quintain list {other_kinds[0]}' "
                f"and 'quintain list {kind}'"
            )
            return
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
        super().__init__(f"no {kind} is called {name!r}. {hint}")


class NotFoundError(UsageError):
    """A file, a function in a file, or a split that was named and is not there."""


class RunFolderError(UsageError):
    """A run folder made with other settings, or a result file that cannot be read."""


class ExecutionError(QuintainError):
    """The model, the data or the machine fails while the work is done."""


class ModelError(ExecutionError):
    """A model of the wrong shape or mode, with NaN outputs, or weights that do not fit."""


class TrainingFailedError(ModelError):
    """A training, such as one of the user's, that raises an error or gives no model of the expected kind."""


class DivergedError(TrainingFailedError):
    """A training whose loss is no number any more; the net has weights of before again."""


class DataError(ExecutionError):
    """Data outside its box, labels out of range, or nothing at all."""


class PrivacyError(ExecutionError):
    """A layer, a loss, a loop or a saved state with which training would not be private as claimed."""


class BudgetExceededError(PrivacyError):
    """One more step would cost more than the privacy budget.

    The weights are those of the last step within it.
    """


class ProtocolError(ExecutionError):
    """A peer or a message that breaks the rules of secure aggregation."""


class SabotageError(ProtocolError):
    """Sites are proven to break secure aggregation, and the round cannot go on; ``accused`` names them."""

    def __init__(self, message: str, accused: tuple[str, ...]) -> None:
        super().__init__(message)
        self.accused = accused


class StorageError(ExecutionError):
    """A file that could not be written or read."""


class SoundnessError(QuintainError):
    """A proof or a mechanism is not what it claims to be, so some code is wrong."""

    exit_code = ExitCode.ALARM


class ContradictionError(SoundnessError):
    """A lower bound lies above an upper bound on the same quantity."""


class MechanismError(SoundnessError):
    """Noise, sampling or sensitivity measured to differ from what was claimed."""
