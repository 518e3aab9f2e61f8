"""The private runs that record their steps in one ledger, and what is refused or counted across them."""

import sys
import warnings
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary, ref

from torch import nn
from torch.optim import Optimizer

from quintain.core.errors import SettingError
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.step.private_step import PrivateStep
from quintain.dp.step.step_account import StepAccount

PACKAGE = "quintain.dp."


@dataclass(frozen=True, slots=True)
class LedgerRuns:
    """The runs of one ledger, as long as anything holds them.

    Args:
        steps: The private step of each.
        users_of_keys: What draws from each key: a loader, or a stream of noise.
    """

    steps: list["ref[PrivateStep[Optimizer]]"] = field(default_factory=list)
    users_of_keys: dict[bytes, "ref[object]"] = field(default_factory=dict)


_RUNS: WeakKeyDictionary[Ledger, LedgerRuns] = WeakKeyDictionary()
_LEDGER_OF_MODULE: WeakKeyDictionary[nn.Module, Ledger] = WeakKeyDictionary()
"""The ledger in which the steps of each module were last recorded."""


def runs_of(ledger: Ledger) -> LedgerRuns:
    """The runs that record their steps in a ledger."""
    return _RUNS.setdefault(ledger, LedgerRuns())


def check_streams_are_new(ledger: Ledger, loader: SamplingLoader[object], noise: RandomStream) -> None:
    """Raise if another run of the ledger draws from the same keys: equal noise cancels out, and equal batches
    add up.
    """
    users = runs_of(ledger).users_of_keys
    for stream, user, what in ((loader.stream, loader, "batches"), (noise, noise, "noise")):
        if (known := users.get(stream.key_id)) is not None and known() is not user:
            raise SettingError(
                f"got a seed for the {what} that those of another run of this ledger follow from; expected "
                "one for each: what both release would tell more than is counted for two, even to those who "
                "do not know the seed"
            )


def record_run(
    ledger: Ledger, loader: SamplingLoader[object], noise: RandomStream, step: PrivateStep[Optimizer]
) -> None:
    """Remember a run that records its steps in a ledger from now on."""
    runs = runs_of(ledger)
    runs.steps.append(ref(step))
    runs.users_of_keys.update({loader.stream.key_id: ref(loader), noise.key_id: ref(noise)})


def check_budget_affords_a_step(account: StepAccount) -> None:
    """Raise if a first step costs more than the budget; warn if earlier steps leave nothing of it.

    Raises:
        SettingError: If nothing is spent and one step is too much already.
    """
    limit, ledger = account.budget, account.ledger
    if limit is None:
        return
    if not ledger.steps:
        PrivacyBudget(limit.epsilon, limit.delta).check_affords_one(account.next_release)
    elif account.budget_is_spent:
        _warn(
            f"the budget of this ledger, epsilon = {limit.epsilon:g} at delta = {limit.delta:g}, affords no "
            f"step after the {ledger.steps} that are spent: the loader yields nothing; expected training to "
            "be over, or a larger budget in the settings"
        )


def warn_of_earlier_training(
    module: nn.Module, ledger: Ledger, noise: RandomStream, *, key_is_kept: bool
) -> None:
    """Warn if the module was trained for steps that another ledger holds, and this one does not.

    A run that goes on with a key that was kept repeats the steps that were not saved, and its noise follows
    from the sum that it hides: they are no further ones.
    """
    before = _LEDGER_OF_MODULE.get(module)
    repeats = before is not None and key_is_kept and noise.key_id in runs_of(before).users_of_keys
    missing = 0 if before is None or repeats else ledger.count_missing(before)
    if missing:
        _warn(
            f"this module was trained for {missing} steps that another ledger holds and this one does not "
            "count; expected make_private with that ledger (of the same engine), or its latest state loaded "
            "into this one, unless the records are others: on the same records, both costs add up"
        )
    _LEDGER_OF_MODULE[module] = ledger


def check_weights_match_state(ledger: Ledger) -> list[PrivateStep[Optimizer]]:
    """The private steps of a ledger's runs, if the weights of each are those of its state.

    Raises:
        PrivacyError: If a state was loaded and the module's weights are not those that it was saved with, or
            not loaded yet.
    """
    steps = [step for known in runs_of(ledger).steps if (step := known()) is not None]
    for step in steps:
        step.check_weights_match_state()
    return steps


def with_skipped_batches(ledger: Ledger) -> Ledger:
    """The ledger, and in a copy also the batches that its runs skipped, as if they had been stepped on.

    Raises:
        PrivacyError: If a state was loaded into one of its runs, and the module's weights are not those that
            it was saved with, or not loaded yet.
    """
    steps = check_weights_match_state(ledger)
    copied = ledger.copy()
    skipped = sum(step.account.record_skipped_batches(copied) for step in steps)
    if not skipped:
        return ledger
    _warn(
        f"the loop went past {skipped} batches without a step, which are counted as if they had had one; "
        "expected a step on every batch, or a module in evaluation mode while batches are only looked at: "
        "what is left out can tell of a record"
    )
    return copied


def warn_of_large_delta(ledger: Ledger, delta: float) -> None:
    """Warn of a delta of one over the number of records or more."""
    min_units = min((release.num_units for release in ledger.releases), default=0)
    if min_units and delta >= 1 / min_units:
        _warn(
            f"delta = {delta:g} is not below 1/{min_units}: publishing one random record in full would "
            "pass; choose a smaller one"
        )


def _warn(text: str) -> None:
    """Warn at the line outside this package that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)
