"""Private training in one typed call: a module, its optimizer and its loader become private together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import nn
from torch.utils.data import DataLoader

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.epoch_calibration import calibrate_for_epochs
from quintain.dp.accounting.guarantee import Guarantee, LoaderSampling, Mechanism
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.capture.hooks import Capture
from quintain.dp.distributed import current_world, world_of
from quintain.dp.ledger_runs import (
    check_budget_affords_a_step,
    check_streams_are_new,
    record_run,
    warn_of_earlier_training,
    warn_of_large_delta,
    with_skipped_batches,
)
from quintain.dp.randomness.random_source import RandomSource
from quintain.dp.report import PrivacyReport, RunReport
from quintain.dp.rules import Rule
from quintain.dp.sampling.data_agreement import check_same_data
from quintain.dp.sampling.epoch_loaders import as_sampling_loader
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.dp.step.checks import check_optimizer_is_plain, check_settings, is_mean
from quintain.dp.step.clipping import ClippingMethod, FlatClipping
from quintain.dp.step.optimizer import PrivateOptimizer
from quintain.dp.step.private_step import PrivateStep

M = TypeVar("M", bound=nn.Module)
O = TypeVar("O", bound=torch.optim.Optimizer)
T = TypeVar("T")
M_co = TypeVar("M_co", bound=nn.Module, covariant=True)
O_co = TypeVar("O_co", bound=torch.optim.Optimizer, covariant=True)
T_co = TypeVar("T_co", covariant=True)

UNIT_CLIPPING = FlatClipping(1.0)
"""The default clipping: each example's gradient to norm 1, over all parameters together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivacySettings:
    """All settings of private steps; they are public, and must not be chosen on the data to be protected.

    Args:
        noise_multiplier: sigma, the standard deviation of the noise in units of the clipping bound.
        clipping: How one example's gradient is bounded.
        sampling: How batches are sampled. "shuffle" and "balls-in-bins" cost more than "poisson", as the
            ledger counts them.
        mechanism: The noise; that of "discrete gaussian" lies on a grid, so that floating-point rounding
            reveals nothing.
        loss_reduction: Whether losses are means over the examples of their pass, or sums. If it is set wrong,
            one record can move the sum by twice the bound.
        batch_first: Whether the batch is the first dimension of inputs and outputs, or the second of three or
            more.
        max_physical_batch_size: Most rows that the loader yields at once; a larger batch is yielded as
            several physical batches, and ``step()`` acts at the last of them.
        budget: The most that all steps of the ledger may cost: the loader ends, and ``step()`` raises
            ``BudgetExceededError``, before more is spent. If not given, the budget that earlier runs gave the
            ledger, if any.
        allow_no_privacy: Whether a noise multiplier of 0 is meant; epsilon is then infinite.

    Raises:
        SettingError: If a number is out of its range.
    """

    noise_multiplier: float
    clipping: ClippingMethod = UNIT_CLIPPING
    sampling: LoaderSampling = "poisson"
    mechanism: Mechanism = "gaussian"
    loss_reduction: Literal["mean", "sum"] = "mean"
    batch_first: bool = True
    max_physical_batch_size: int | None = None
    budget: PrivacyBudget | None = None
    allow_no_privacy: bool = False

    def __post_init__(self) -> None:
        check_settings(self.noise_multiplier, self.clipping)
        is_mean(self.loss_reduction)
        if self.noise_multiplier == 0 and not self.allow_no_privacy:
            raise SettingError(
                "got noise_multiplier = 0: no privacy at all; expected a positive number, such as 1.1, or "
                "allow_no_privacy=True if that is meant: epsilon is then infinite"
            )
        if self.max_physical_batch_size is not None:
            require_at_least(1, max_physical_batch_size=self.max_physical_batch_size)

    @classmethod
    def for_epsilon(
        cls,
        epsilon: float,
        delta: float,
        *,
        num_units: int,
        expected_batch_size: int,
        epochs: int,
        clipping: ClippingMethod = UNIT_CLIPPING,
        sampling: Literal["poisson", "shuffle"] = "poisson",
        mechanism: Mechanism = "gaussian",
    ) -> "PrivacySettings":
        """The settings with the least noise whose ``epochs`` cost at most ``epsilon`` at ``delta``.

        The target is also their budget, so that more is never spent. Other settings are changed by
        ``dataclasses.replace``.

        Args:
            epsilon, delta: The target.
            num_units: The number of records, or of privacy units.
            expected_batch_size: How many of them a batch is expected to hold; an epoch has
                ``ceil(num_units / expected_batch_size)`` batches.
            epochs: Number of epochs.
            clipping, sampling, mechanism: As for the class.

        Raises:
            SettingError: If a number is out of its range, or no noise meets the target.
        """
        require_at_least(1, num_units=num_units, expected_batch_size=expected_batch_size, epochs=epochs)
        noise_multiplier = calibrate_for_epochs(
            epsilon,
            delta,
            num_units=num_units,
            expected_batch_size=expected_batch_size,
            steps_per_epoch=-(-num_units // expected_batch_size),
            epochs=epochs,
            sampling=sampling,
            mechanism=mechanism,
        )
        return cls(
            noise_multiplier=noise_multiplier,
            clipping=clipping,
            sampling=sampling,
            mechanism=mechanism,
            budget=PrivacyBudget(epsilon, delta),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Private(Generic[M_co, O_co, T_co]):
    """A module, its optimizer and its data, trained privately together; each keeps the caller's own type.

    Args:
        module: The caller's own object; its gradients are captured until ``detach``.
        optimizer: Steps privately; ``optimizer.inner`` is the caller's own object.
        loader: Samples batches of the caller's data, collated as by the caller's own loader.
        ledger: What was released; each step is recorded before it is applied.
        settings: What the steps were made with.
        noise_source: Where the noise comes from, in words.
    """

    module: M_co
    optimizer: PrivateOptimizer[O_co]
    loader: SamplingLoader[T_co]
    ledger: Ledger
    settings: PrivacySettings
    noise_source: str

    def epsilon(self, delta: float) -> float:
        """The epsilon of everything in the ledger, at ``delta``, as ``guarantee`` has it."""
        return self._spent_ledger(delta).epsilon(delta)

    def guarantee(self, delta: float) -> Guarantee:
        """The privacy spent so far by all runs of the ledger, with all that the claim assumes.

        Batches that training skipped count as if they had been stepped on, with a warning.

        Raises:
            PrivacyError: If a state was loaded and the module's weights are not those that it was saved with:
                load both first.
        """
        return self._spent_ledger(delta).guarantee(delta)

    @property
    def report(self) -> PrivacyReport:
        """The report: what the guarantee assumes, what is enforced, and what was probed."""
        return PrivacyReport.of(
            self.ledger,
            [self.run_report],
            secure_mode=self.settings.mechanism != "gaussian",
            reproducible=self.loader.reproducible,
        )

    @property
    def run_report(self) -> RunReport:
        """What the report says of this run."""
        return RunReport.of(self.optimizer.private_step, self.noise_source)

    def detach(self) -> M_co:
        """Detach all hooks: the module trains plainly again."""
        self.optimizer.capture.remove()
        return self.module

    def _spent_ledger(self, delta: float) -> Ledger:
        spent = with_skipped_batches(self.ledger)
        warn_of_large_delta(spent, delta)
        return spent


def make_private(
    module: M,
    optimizer: O,
    loader: DataLoader[T] | SamplingLoader[T],
    settings: PrivacySettings,
    *,
    privacy_units: PrivacyUnits | None = None,
    random: RandomSource | None = None,
    ledger: Ledger | None = None,
    rules: Mapping[type[nn.Module], Rule] | None = None,
) -> Private[M, O, T]:
    """Train a module with differential privacy: clip per example, add up, record, add noise, step.

    ::

        private = make_private(net, torch.optim.SGD(net.parameters(), lr=0.1), loader,
                               PrivacySettings(noise_multiplier=1.1))
        for x, y in private.loader:
            private.optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            private.optimizer.step()
        private.epsilon(delta=1e-5)

    Guarantee: (epsilon, delta)-differential privacy for adding or removing one record (or privacy unit) of
    the loader's data, against an adversary who sees every iterate; ``Private.report`` says what is assumed.

    Args:
        module: The module to train; parts may be frozen.
        optimizer: A plain optimizer that holds exactly the module's trainable parameters.
        loader: Its batch size becomes the expected one, its length stays; one that samples already is used
            as it is.
        settings: All that is public about the steps.
        privacy_units: Who is protected, if each of them has several records.
        random: Where batches and noise come from; by default secret entropy of the operating system. Runs
            that share one get streams of their own.
        ledger: Where steps are recorded; by default a new one. Runs on the same records share one.
        rules: Rules for further kinds of layer (see ``rules.Rule``).

    Raises:
        PrivacyError: If a layer cannot be private, or module and optimizer do not fit together.
        PeerRefusedError: If another process that trains with this one refuses.
        SettingError: If a setting does not fit the loader or the ledger, or the budget affords no step.
    """
    random = RandomSource.from_os_entropy() if random is None else random
    ledger = Ledger() if ledger is None else ledger
    with current_world().refusing_together():
        sampling_loader = as_sampling_loader(
            loader,
            lambda: random.issue("sampling"),
            sampling=settings.sampling,
            max_physical_batch_size=settings.max_physical_batch_size,
            units=privacy_units,
            world=world_of(module),
        )
        check_optimizer_is_plain(optimizer)
        noise = random.issue("noise")
        if settings.mechanism != "gaussian" and random.reproducible:
            raise SettingError(
                f"got {random.origin} for noise on a grid; expected secret randomness: who knows it can "
                "subtract the noise"
            )
        noise = sampling_loader.world.broadcast_stream(noise)
        check_streams_are_new(ledger, sampling_loader, noise)
        sampling_loader.reproducible = sampling_loader.reproducible or random.reproducible
        capture = Capture(module, rules=rules, batch_first=settings.batch_first)
        try:
            step = PrivateStep(
                optimizer,
                noise_multiplier=settings.noise_multiplier,
                clip=settings.clipping,
                capture=capture,
                loader=sampling_loader,
                ledger=ledger,
                stream=noise,
                loss_reduction=settings.loss_reduction,
                secure_mode=settings.mechanism != "gaussian",
                kept_key=random.key_is_kept,
                budget=settings.budget,
            )
            check_budget_affords_a_step(step.account)
            sampling_loader.world.check_same_on_all(step.settings_at_start())
            sampling_loader.compared = check_same_data(sampling_loader)
        except BaseException:  # also an interruption: the user's module keeps no hooks
            capture.remove()
            raise
        ledger.budget = settings.budget or ledger.budget
        warn_of_earlier_training(module, ledger, noise, key_is_kept=random.key_is_kept)
        record_run(ledger, sampling_loader, noise, step)
        sampling_loader.should_stop = lambda: step.account.budget_is_spent
    noise_source = f"AES-256-CTR keyed by {random.origin}"
    return Private(
        module=module,
        optimizer=PrivateOptimizer(step),
        loader=sampling_loader,
        ledger=ledger,
        settings=settings,
        noise_source=noise_source,
    )
