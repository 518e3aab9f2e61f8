"""The privacy engine: one call that makes a module, its optimizer and its loader private."""

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from quintain.core.errors import SettingError
from quintain.core.limits import require_at_least
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.epoch_calibration import calibrate_for_epochs
from quintain.dp.accounting.guarantee import LoaderSampling
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.distributed import together, world_of
from quintain.dp.ledger_runs import check_weights_match_state, warn_of_large_delta, with_skipped_batches
from quintain.dp.opacus import checkpoint
from quintain.dp.opacus.accountants.ledger_accountant import LedgerAccountant
from quintain.dp.opacus.accountants.utils import get_noise_multiplier
from quintain.dp.opacus.clipping_names import clipping_from_name
from quintain.dp.opacus.grad_sample.grad_sample_module import GradSampleModule
from quintain.dp.opacus.grad_sample.grad_samples import (
    MODES_WITH_GRAD_SAMPLE,
    GradSampleMode,
    GradSamples,
    check_grad_sample_mode,
)
from quintain.dp.opacus.optimizers.noise_generator import GeneratorNoise
from quintain.dp.opacus.optimizers.optimizer import DPOptimizer
from quintain.dp.opacus.refused import missing_name_getattr
from quintain.dp.opacus.schedulers.scheduler import Scheduler
from quintain.dp.opacus.utils.fast_gradient_clipping_utils import CheckedCriterion
from quintain.dp.opacus.validators.module_validator import ModuleValidator
from quintain.dp.private import PrivacySettings, Private
from quintain.dp.private import make_private as native_make_private
from quintain.dp.randomness.random_source import KEY_BYTES, RandomSource
from quintain.dp.randomness.stream import RandomStream
from quintain.dp.report import PrivacyReport
from quintain.dp.rules import Rule
from quintain.dp.sampling.epoch_loaders import as_sampling_loader
from quintain.dp.sampling.loader import SamplingLoader
from quintain.dp.sampling.poisson_loader import PoissonLoader
from quintain.dp.sampling.privacy_units import PrivacyUnits
from quintain.dp.step.clipping import ClippingMethod, as_clipping_method
from quintain.dp.write_once import WriteOnce

__all__ = ["PrivacyEngine"]
__getattr__ = missing_name_getattr(__name__)

LossReduction = Literal["mean", "sum"]
ClippingName = Literal["flat", "per_layer", "adaptive", "automatic"]


class PrivacyEngine(WriteOnce):
    """Makes an ordinary training loop train with differential privacy, and accounts for its privacy cost.

    ::

        engine = PrivacyEngine()
        net, optimizer, loader = engine.make_private(module=net, optimizer=optimizer, data_loader=loader,
                                                     noise_multiplier=1.1, max_grad_norm=1.0)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        engine.get_epsilon(delta=1e-5)

    Guarantee: (epsilon, delta)-differential privacy, as ``report`` states in full:

    - protected: one record (or privacy unit) of the loader's data, which is added or removed;
    - against: an adversary who sees every iterate;
    - public: the number of records, the sampling rate, the divisor and the steps;
    - assumed, since a hook cannot see it: the loss is a mean or sum of one term an example; no term or layer
      looks at other examples, of the batch (the first steps are probed for that) or kept from earlier ones;
      each row of a pass is one record of the batch sampled, unmixed; every batch sampled is stepped on, an
      empty one too (a step after one that was left out is refused; a new iteration begins with what had no
      step yet);
    - not covered: the losses, batch sizes and fractions of clipped examples that a loop may show; the choice
      of settings on the same data; rounding in the noise, without ``secure_mode`` (see
      ``randomness.stream.RandomStream``), and in the gradients of the *other* records, whose last digits
      depend on the size of their batch. Each record by itself adds at most the bound, whatever its digits.

    It has Opacus' arguments; ``quintain.dp.make_private``, which it calls, has types instead.

    Args:
        accountant: How epsilon is computed: "pld" (tightest), "rdp" or "prv"; "gdp", whose epsilon is too
            small, is answered by PLD.
        secure_mode: Whether noise is discrete, on a grid, so that rounding reveals nothing.
        seed: Derives batches and noise from this seed, for tests and papers: ``reproducible`` is then true,
            and who knows the seed can subtract the noise. By default both come from secret streams, keyed by
            the operating system.
        secret_key: 32 secret bytes to use instead of fresh ones, so that a run that broke off can repeat its
            last step bit for bit; never for another run (see ``RandomSource.key_is_kept``).
        rules: Rules for further kinds of layer (see ``rules.Rule``).

    Raises:
        SettingError: If the key is not one, or a seed is given in secure mode.
    """

    WRITE_ONCE: ClassVar = frozenset({"ledger", "accountant", "secure_mode"})

    def __init__(
        self,
        *,
        accountant: str = "pld",
        secure_mode: bool = False,
        seed: int | None = None,
        secret_key: bytes | None = None,
        rules: Mapping[type[nn.Module], Rule] | None = None,
    ) -> None:
        if secret_key is not None and seed is not None:
            raise SettingError(
                f"got a key of {len(secret_key)} bytes and a seed; expected {KEY_BYTES} secret bytes alone"
            )
        if secure_mode and seed is not None:
            raise SettingError(
                "got a seed in secure mode; expected none: who knows it can subtract the noise"
            )
        self.ledger = Ledger()
        self.accountant = LedgerAccountant(accountant, self.ledger)
        self.secure_mode = secure_mode
        self._rules = rules
        self._random = (
            RandomSource.from_seed(seed)
            if seed is not None
            else RandomSource.from_os_entropy()
            if secret_key is None
            else RandomSource.from_secret_key(secret_key)
        )
        self._runs: list[Private[nn.Module, torch.optim.Optimizer, Any]] = []

    @property
    def reproducible(self) -> bool:
        """Whether noise or batches follow from a seed, also in earlier parts of a resumed run.

        Privacy then holds only against those who do not know the seed.
        """
        made = any(run.loader.reproducible for run in self._runs)
        recorded = any(release.reproducible for release in self.ledger.releases)
        return self._random.reproducible or made or recorded

    @together
    def make_private(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        criterion: Callable[..., Tensor] | None = None,
        data_loader: "DataLoader[Any] | SamplingLoader[Any]",
        noise_multiplier: float = 1.1,
        max_grad_norm: float | Sequence[float] | ClippingMethod = 1.0,
        batch_first: bool = True,
        loss_reduction: LossReduction = "mean",
        poisson_sampling: bool = True,
        clipping: ClippingName = "flat",
        noise_generator: torch.Generator | None = None,
        grad_sample_mode: GradSampleMode = "auto",
        wrap_model: bool = True,
        rand_on_empty: bool = False,
        allow_no_privacy: bool = False,
        max_physical_batch_size: int | None = None,
        units: PrivacyUnits | Iterable[Hashable] | None = None,
        stop_at_epsilon: tuple[float, float] | None = None,
        **adaptive_settings: float,
    ) -> Any:
        """Make a module, its optimizer and its loader private, and return all three.

        With ``grad_sample_mode="ghost"`` the criterion comes before the loader.

        Args:
            module: The module to train; parts may be frozen.
            optimizer: Holds exactly the module's trainable parameters.
            criterion: For "ghost" only, where it is returned in a thin wrapper; the plain one works as well.
            data_loader: Its batch size becomes the expected one, its length stays; a private one, such as a
                ``DPDataLoader``, is used as it is.
            noise_multiplier: Standard deviation of the noise, in units of ``max_grad_norm``.
            max_grad_norm: Bound of one example's gradient, over all parameters together; for "per_layer" one
                for each parameter, in the order of the optimizer, or a number that they come to together; or
                another way to clip.
            batch_first: Whether the batch is the first dimension of inputs and outputs, or the second of
                three or more.
            loss_reduction: Whether losses are means over the examples of their pass, or sums. If it is set
                wrong, one record can move the sum by twice the bound, since the scale of all others depends
                on the size of the batch.
            poisson_sampling: False uses shuffled epochs instead, which are accounted without amplification
                and cost far more.
            clipping: "flat", "per_layer", "adaptive" (the bound follows a quantile of the norms; takes
                ``target_unclipped_quantile``, ``clipbound_learning_rate``, ``min_clipbound``,
                ``max_clipbound``, ``unclipped_num_std``), or "automatic".
            noise_generator: The key of the noise, which is then reproducible; refused in secure mode.
            grad_sample_mode: "auto" and "ghost" leave nothing on the parameters; "hooks", "functorch" and
                "ew" leave ``grad_sample``.
            wrap_model: Whether to return a ``GradSampleModule`` around the module, or the module as it is.
            rand_on_empty: False: empty batches have a first dimension of 0, and are stepped on with noise
                alone.
            allow_no_privacy: Whether a noise multiplier of 0 is meant; epsilon is then infinite.
            max_physical_batch_size: Rows that the loader yields at once; larger batches come in pieces, and
                ``step()`` acts at the last.
            units: Privacy units, if each person has several records, which are then hidden together; one key
                for each record is enough.
            stop_at_epsilon: A privacy budget (epsilon, delta): the loader ends, and ``step()`` raises
                ``BudgetExceededError``, before more is spent. Runs of this engine without one of their own
                keep to the latest. One that affords no first step is refused.

        Raises:
            PrivacyError: If a layer cannot be private, or module and optimizer do not fit together.
            PeerRefusedError: If another process that trains with this one refuses.
            SettingError: If a number is out of its range.
        """
        if rand_on_empty:
            raise SettingError(
                "got rand_on_empty=True; expected False: an empty batch is a batch, and a step of noise alone"
            )
        check_grad_sample_mode(grad_sample_mode)
        sampling: LoaderSampling = "poisson" if poisson_sampling else "shuffle"
        if sampling == "shuffle" and getattr(data_loader, "sampling", "") == "balls-in-bins":
            sampling = "balls-in-bins"
        loader = as_sampling_loader(
            data_loader,
            lambda: self._random.issue("sampling"),
            sampling=sampling,
            max_physical_batch_size=max_physical_batch_size,
            units=units if units is None or isinstance(units, PrivacyUnits) else PrivacyUnits(units),
            world=world_of(module),
        )
        num_trainable = sum(
            parameter.requires_grad for group in optimizer.param_groups for parameter in group["params"]
        )
        if isinstance(module, GradSampleModule):
            module = module.to_standard_module()
        made = native_make_private(
            module,
            optimizer,
            loader,
            PrivacySettings(
                noise_multiplier=noise_multiplier,
                clipping=as_clipping_method(
                    clipping_from_name(
                        clipping, max_grad_norm, num_trainable, loader.expected_batch_size, adaptive_settings
                    )
                ),
                sampling=sampling,
                mechanism="discrete gaussian" if self.secure_mode else "gaussian",
                loss_reduction=loss_reduction,
                batch_first=batch_first,
                budget=None if stop_at_epsilon is None else PrivacyBudget.of(stop_at_epsilon),
                allow_no_privacy=allow_no_privacy,
            ),
            random=self._random
            if noise_generator is None
            else GeneratorNoise(self._random, noise_generator, secure=self.secure_mode),
            ledger=self.ledger,
            rules=self._rules,
        )
        self._runs.append(made)
        if grad_sample_mode in MODES_WITH_GRAD_SAMPLE:
            GradSamples(made.optimizer.capture, mean=loss_reduction == "mean")
        wrapped = GradSampleModule(module, capture=made.optimizer.capture) if wrap_model else module
        private = DPOptimizer.of(made.optimizer)
        if grad_sample_mode != "ghost":
            return wrapped, private, loader
        checked = CheckedCriterion(nn.CrossEntropyLoss() if criterion is None else criterion, loss_reduction)
        return wrapped, private, checked, loader

    @together
    def make_private_with_epsilon(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: "DataLoader[Any] | SamplingLoader[Any]",
        target_epsilon: float,
        target_delta: float,
        epochs: int,
        poisson_sampling: bool = True,
        **settings: Any,
    ) -> Any:
        """``make_private`` with the least noise whose ``epochs`` cost at most ``target_epsilon``.

        More than that is never spent: ``stop_at_epsilon`` is the target, unless it is given, for all runs of
        this engine together.

        Raises:
            SettingError: If something was already spent, or a number is out of its range; ``epochs`` is a
                whole one.
        """
        require_at_least(1, epochs=epochs)
        PrivacyBudget.of((target_epsilon, target_delta), "(target_epsilon, target_delta)")
        if self.ledger.steps:
            raise SettingError(
                f"{self.ledger.steps} steps are already spent; expected a fresh engine to plan a whole budget"
            )
        for tolerance in ("eps_error", "epsilon_tolerance", "alphas"):
            settings.pop(tolerance, None)
        settings.setdefault("stop_at_epsilon", (target_epsilon, target_delta))
        reference_loader = data_loader
        if not isinstance(reference_loader, SamplingLoader):
            reference_loader = PoissonLoader.from_loader(
                reference_loader,
                RandomStream.from_os_entropy(),
                units=settings.get("units"),
                world=world_of(module),
            )
        noise_multiplier = calibrate_for_epochs(
            target_epsilon,
            target_delta,
            num_units=reference_loader.num_units,
            expected_batch_size=reference_loader.expected_batch_size,
            steps_per_epoch=len(reference_loader),
            epochs=epochs,
            sampling="poisson" if poisson_sampling else "shuffle",
            mechanism="discrete gaussian" if self.secure_mode else "gaussian",
        )
        accountant = self.accountant.mechanism()
        if poisson_sampling and not self.secure_mode and accountant not in ("pld", "gdp"):
            # the accountant of one's choice counts more than the ledger
            by_accountant = get_noise_multiplier(
                target_epsilon=target_epsilon,
                target_delta=target_delta,
                sample_rate=reference_loader.sample_rate,
                steps=epochs * len(reference_loader),
                accountant=accountant,
                epsilon_tolerance=1e-3 * target_epsilon,
            )
            noise_multiplier = max(by_accountant, noise_multiplier)
        return self.make_private(
            module=module,
            optimizer=optimizer,
            data_loader=data_loader,
            noise_multiplier=noise_multiplier,
            poisson_sampling=poisson_sampling,
            **settings,
        )

    def get_epsilon(self, delta: float) -> float:
        """The epsilon of all steps of this engine so far, at ``delta``.

        Batches that training skipped count as if they had been stepped on, with a warning. A delta of one
        over the number of records or more is warned of, too.

        Raises:
            PrivacyError: If a state was loaded and the module's weights are not those that it was saved with:
                load both first.
        """
        spent = with_skipped_batches(self.ledger)
        warn_of_large_delta(spent, delta)
        if spent is self.ledger:
            return self.accountant.get_epsilon(delta)
        return LedgerAccountant(self.accountant.mechanism(), spent).get_epsilon(delta)

    @property
    def report(self) -> PrivacyReport:
        """The report: what the guarantee assumes, what is enforced, and what was probed."""
        return PrivacyReport.of(
            self.ledger,
            [run.run_report for run in self._runs],
            secure_mode=self.secure_mode,
            reproducible=self.reproducible,
            accountant=self.accountant.mechanism(),
        )

    def save_checkpoint(
        self,
        *,
        path: str | os.PathLike[str],
        module: nn.Module,
        optimizer: DPOptimizer | None = None,
        noise_scheduler: Scheduler | None = None,
        grad_clip_scheduler: Scheduler | None = None,
        checkpoint_dict: dict[str, Any] | None = None,
        module_state_dict_kwargs: dict[str, Any] | None = None,
        torch_save_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Write weights, optimizer, schedulers and what was spent to one file, readable by its owner alone.

        Raises:
            PrivacyError: If a state was loaded and the module's weights are not those that it was saved with.
        """
        check_weights_match_state(self.ledger)
        if torch_save_kwargs:
            raise SettingError(
                f"got torch_save_kwargs = {torch_save_kwargs}; expected none: the file has one form"
            )
        content = {
            **(checkpoint_dict or {}),
            checkpoint.WEIGHTS_KEY: module.state_dict(**(module_state_dict_kwargs or {})),
        }
        checkpoint.save(path, content, self.ledger, optimizer, noise_scheduler, grad_clip_scheduler)

    def load_checkpoint(
        self,
        *,
        path: str | os.PathLike[str],
        module: nn.Module,
        optimizer: DPOptimizer | None = None,
        noise_scheduler: Scheduler | None = None,
        grad_clip_scheduler: Scheduler | None = None,
        module_load_dict_kwargs: dict[str, Any] | None = None,
        torch_load_kwargs: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Go on from a file of ``save_checkpoint``; nothing in it is run.

        Returns:
            What else the file holds.

        Raises:
            PrivacyError: If it does not say what was spent, or its weights and its ledger were not saved
                together, or it has the state of an optimizer and none is given, or the other way round.
        """
        options = dict(torch_load_kwargs or {})
        if not options.pop("weights_only", True) or set(options) - {"map_location"}:
            raise SettingError(
                f"got torch_load_kwargs = {torch_load_kwargs}; expected map_location alone: no code of a "
                "file is run"
            )
        content = checkpoint.load(path, has_optimizer=optimizer is not None, **options)
        rest = checkpoint.restore(content, self.ledger, optimizer, noise_scheduler, grad_clip_scheduler)
        # last: weights whose cost is refused must not get in
        module.load_state_dict(content[checkpoint.WEIGHTS_KEY], **(module_load_dict_kwargs or {}))
        return rest

    @classmethod
    def get_compatible_module(cls, module: nn.Module) -> nn.Module:
        """A copy in which layers that cannot be private are replaced (see ``ModuleValidator.fix``)."""
        return ModuleValidator.fix_and_validate(module)

    def validate(
        self,
        *,
        module: nn.Module,
        optimizer: Any = None,  # noqa: ARG002
        data_loader: Any = None,  # noqa: ARG002
    ) -> None:
        """Raise if the module cannot be private as it is.

        Raises:
            UnsupportedModuleError: If it cannot; the error says what to do.
        """
        ModuleValidator.validate(module, strict=True, rules=self._rules)

    def is_compatible(
        self,
        *,
        module: nn.Module,
        optimizer: Any = None,  # noqa: ARG002
        data_loader: Any = None,  # noqa: ARG002
    ) -> bool:
        """Whether the module can be private as it is."""
        return not ModuleValidator.validate(module, rules=self._rules)
