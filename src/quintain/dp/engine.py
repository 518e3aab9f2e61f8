"""One call that turns a module, its optimiser and its loader private."""

import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from quintain.core.errors import PrivacyError, SettingError
from quintain.core.limits import require_at_least
from quintain.dp.accounting.budget import PrivacyBudget
from quintain.dp.accounting.fully_adaptive import all_fixed_beforehand
from quintain.dp.accounting.ledger import Ledger
from quintain.dp.accounting.ledger_accountant import LedgerAccountant, calibrate_for_epochs
from quintain.dp.capture.grad_sample import GradSampleMode, make_capture
from quintain.dp.checkpoint import Checkpoints
from quintain.dp.criterion import PrivateCriterion
from quintain.dp.draws.alike import agree_on_data
from quintain.dp.draws.distributed import present, ranks_of, together
from quintain.dp.draws.sampling import PoissonLoader, SamplingLoader
from quintain.dp.draws.shuffling import private_loader
from quintain.dp.draws.units import Units
from quintain.dp.record import PrivacyRecord, RunRecord
from quintain.dp.rules import Rule
from quintain.dp.step import guards
from quintain.dp.step.clipping import Clip
from quintain.dp.step.clips import clip_named
from quintain.dp.step.fixed import Fixed
from quintain.dp.step.noise import Stream, seeded_key
from quintain.dp.step.optimizer import DPOptimizer
from quintain.dp.step.together import at_the_start
from quintain.dp.validator import Validates
from quintain.dp.wrapper import GradSampleModule

KEY = 32
_TRAINED: "WeakKeyDictionary[nn.Module, Ledger]" = WeakKeyDictionary()
"""The ledger of the engine that each module was made private by last."""
Private = tuple[nn.Module, DPOptimizer, SamplingLoader]
Reduction = Literal["mean", "sum"]
Clipping = Literal["flat", "per_layer", "adaptive", "automatic"]


class PrivacyEngine(Fixed, Checkpoints, Validates):
    """Makes the ordinary loop (``zero_grad``, ``loss.backward()``, ``step``) train with differential privacy, and counts what it spends.

    ::

        engine = PrivacyEngine()
        net, optimizer, loader = engine.make_private(module=net, optimizer=optimizer, data_loader=loader,
                                                     noise_multiplier=1.1, max_grad_norm=1.0)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        engine.get_epsilon(delta=1e-5)

    Guarantee: (epsilon, delta) for adding or removing one record (or unit) of the loader's data, against an adversary who sees every
    iterate; the number of records, the sampling rate, the divisor and the steps are public. It assumes what a hook cannot see: the loss is
    a mean or sum of one term an example, and no term or layer looks at other examples, be it of the batch (the first step is probed for
    that) or kept from earlier ones; each row of a pass is one record of the batch drawn, unmixed; every batch drawn is stepped on, an
    empty one too (a step after one that was left out is refused; a new iteration begins with what had no step yet). What is not covered:
    the losses, batch sizes and shares of clipped examples that a loop may show, the choice of settings on the same data, and rounding:
    that in the noise, without ``secure_mode`` (see ``step.noise.Stream``), and that in the gradients of the *other* records, whose last
    digits follow the size of their batch; each record by itself adds at most the bound, whatever its digits.
    ``record`` states all of it.

    Args:
        accountant: How epsilon is computed: "pld" (tightest), "rdp" or "prv"; "gdp" is answered with PLD, since it tells too little.
        secure_mode: Whether noise is discrete, on a grid, so that rounding tells nothing.
        seed: Draws batches and noise from this seed, for tests and papers: ``reproducible`` is then true, and who knows the seed can
            subtract the noise. By default both come from secret streams, keyed by the operating system.
        key: 32 secret bytes to draw from instead of fresh ones, so that a run that broke off can repeat its last step bit for bit; never
            for another run. Noise then follows from the key, the sum that it hides, and its scale: where a step that was released is
            repeated with other gradients, whatever they come from, or with other noise or another bound, its noise is another, too, and
            both releases were made but one is counted.
        rules: Rules for further kinds of layer (see ``rules.Rule``).

    Raises:
        SettingError: If the key is not one, or a seed is given in secure mode.
    """

    FIXED: ClassVar = frozenset({"ledger", "accountant", "secure_mode"})

    def __init__(
        self,
        *,
        accountant: str = "pld",
        secure_mode: bool = False,
        seed: int | None = None,
        key: bytes | None = None,
        rules: Mapping[type[nn.Module], Rule] | None = None,
    ) -> None:
        if key is not None and (seed is not None or len(key) != KEY):
            raise SettingError(
                f"got a key of {len(key)} bytes{' and a seed' if seed is not None else ''}; expected {KEY} secret bytes alone"
            )
        if secure_mode and seed is not None:
            raise SettingError("got a seed in secure mode; expected none: who knows it can subtract the noise")
        self.ledger = Ledger()
        self.accountant = LedgerAccountant(accountant, self.ledger)
        self.secure_mode = secure_mode
        self._seed, self._rules, self._kept_key = seed, rules, key is not None
        self._root = Stream((key or os.urandom(KEY)) if seed is None else seeded_key(seed))
        self._made: list[tuple[DPOptimizer, str]] = []
        self._streams = count(1)
        self._drawing: dict[bytes, object] = {}

    @property
    def reproducible(self) -> bool:
        """Whether noise or batches follow from a seed, so that privacy holds only against those who do not know it; of earlier parts of
        a run that goes on, too."""
        made = any(optimizer.loader.reproducible for optimizer, _ in self._made)
        return self._seed is not None or made or any(release.reproducible for release in self.ledger.releases)

    @together
    def make_private(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        criterion: Callable[..., Tensor] | None = None,
        data_loader: "DataLoader[Any] | SamplingLoader",
        noise_multiplier: float = 1.1,
        max_grad_norm: float | Sequence[float] | Clip = 1.0,
        batch_first: bool = True,
        loss_reduction: Reduction = "mean",
        poisson_sampling: bool = True,
        clipping: Clipping = "flat",
        noise_generator: torch.Generator | None = None,
        grad_sample_mode: GradSampleMode = "auto",
        wrap_model: bool = True,
        rand_on_empty: bool = False,
        allow_no_privacy: bool = False,
        max_physical_batch: int | None = None,
        units: Units | Iterable[Hashable] | None = None,
        stop_at_epsilon: tuple[float, float] | None = None,
        **adaptive: float,
    ) -> Any:
        """The module, wrapped; the optimiser, wrapped; and a loader that samples. With ``grad_sample_mode="ghost"`` the criterion, too.

        Args:
            module: What to train; parts may be frozen.
            optimizer: Holds exactly the module's trainable parameters.
            criterion: For "ghost" alone, where it is returned in a thin wrapper; the plain one clips as well.
            data_loader: Its batch size becomes the expected one, its length stays; or a private one, such as a ``DPDataLoader``, as it is.
            noise_multiplier: Standard deviation of the noise, in units of ``max_grad_norm``.
            max_grad_norm: Bound of one example's gradient, over all parameters together; for "per_layer" one for each parameter, in the
                order of the optimiser, or a number that they come to together; or another way to clip.
            batch_first: Whether the batch is the first dimension of what layers take and give, or the second of three or more.
            loss_reduction: Whether losses are means over the examples of their pass, or sums; told wrongly, one record can move the sum by
                twice the bound, since the scale of all others follows the size of the batch.
            poisson_sampling: False goes through shuffled data instead, which is accounted without amplification and costs far more.
            clipping: "flat", "per_layer", "adaptive" (the bound follows a quantile of the norms; takes ``target_unclipped_quantile``,
                ``clipbound_learning_rate``, ``min_clipbound``, ``max_clipbound``, ``unclipped_num_std``), or "automatic".
            noise_generator: Keys the noise, which is then reproducible; refused in secure mode.
            grad_sample_mode: "auto" and "ghost" leave nothing on the parameters; "hooks", "functorch" and "ew" leave ``grad_sample``.
            wrap_model: Whether the module comes back as a ``GradSampleModule`` around it, or as it is.
            rand_on_empty: False: empty batches have a first dimension of 0, and are stepped on with noise alone.
            allow_no_privacy: Whether a noise multiplier of 0 is meant; epsilon is then infinite.
            max_physical_batch: Rows that the loader yields at once; larger batches come in pieces, and ``step()`` acts at the last.
            units: Who the records belong to, if each person has several: these are then hidden together. One key a record will do.
            stop_at_epsilon: (epsilon, delta): the loader ends, and ``step()`` raises ``BudgetExceededError``, before more is spent.
                Runs of this engine that are given none keep to the one that was given last. One that affords no first step is refused.

        Raises:
            PrivacyError: If a layer cannot be private, or module and optimiser do not fit together.
            PeerRefusedError: If another process that trains with this one refuses.
            SettingError: If a number is out of its range.
        """
        if rand_on_empty:
            raise SettingError("got rand_on_empty=True; expected False: an empty batch is a batch, and a step of noise alone")
        loader = private_loader(
            data_loader,
            lambda: self._stream("sampling"),
            poisson=poisson_sampling,
            max_physical_batch=max_physical_batch,
            units=units,
            ranks=ranks_of(module),
        )
        held = sum(parameter.requires_grad for group in optimizer.param_groups for parameter in group["params"])
        made, private, _ = self.attach(
            module=module,
            optimizer=optimizer,
            loader=loader,
            noise_multiplier=noise_multiplier,
            max_grad_norm=clip_named(clipping, max_grad_norm, held, loader.expected_batch_size, adaptive),
            batch_first=batch_first,
            loss_reduction=loss_reduction,
            noise_generator=noise_generator,
            grad_sample_mode=grad_sample_mode,
            allow_no_privacy=allow_no_privacy,
            stop_at_epsilon=stop_at_epsilon,
        )
        if wrap_model:
            made = GradSampleModule(made, capture=private.capture)
        if grad_sample_mode == "ghost":
            return made, private, PrivateCriterion(nn.CrossEntropyLoss() if criterion is None else criterion, loss_reduction), loader
        return made, private, loader

    @together
    def make_private_with_epsilon(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: "DataLoader[Any] | SamplingLoader",
        target_epsilon: float,
        target_delta: float,
        epochs: int,
        poisson_sampling: bool = True,
        **settings: Any,
    ) -> Any:
        """As ``make_private``, with the least noise whose ``epochs`` over the loader cost at most ``target_epsilon``.

        More than that is never spent: ``stop_at_epsilon`` is the target, unless it is given, for all runs of this engine together.

        Raises:
            SettingError: If something was already spent, or a number is out of its range; ``epochs`` is a whole one.
        """
        require_at_least(1, epochs=epochs)
        PrivacyBudget.of((target_epsilon, target_delta), "(target_epsilon, target_delta)")
        if self.ledger.steps:
            raise SettingError(f"{self.ledger.steps} steps are already spent; expected a fresh engine to plan a whole budget")
        for tolerance in ("eps_error", "epsilon_tolerance", "alphas"):
            settings.pop(tolerance, None)
        settings.setdefault("stop_at_epsilon", (target_epsilon, target_delta))
        plan = data_loader
        if not isinstance(plan, SamplingLoader):
            plan = PoissonLoader.like(plan, Stream.secret(), units=settings.get("units"), ranks=ranks_of(module))
        return self.make_private(
            module=module,
            optimizer=optimizer,
            data_loader=data_loader,
            noise_multiplier=calibrate_for_epochs(
                target_epsilon,
                target_delta,
                plan,
                epochs,
                accountant=self.accountant.mechanism(),
                poisson=poisson_sampling,
                secure=self.secure_mode,
            ),
            poisson_sampling=poisson_sampling,
            **settings,
        )

    def loader(self, fetch: Any, *, records: int, expected_batch_size: int, steps_per_epoch: int, **settings: Any) -> PoissonLoader:
        """A sampling loader of this engine over any source: ``fetch(rows)`` makes a batch (see ``PoissonLoader``)."""
        return PoissonLoader(
            fetch,
            records=records,
            expected_batch_size=expected_batch_size,
            steps_per_epoch=steps_per_epoch,
            stream=self._stream("sampling"),
            **settings,
        )

    def attach(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: SamplingLoader,
        noise_multiplier: float,
        max_grad_norm: float | Sequence[float] | Clip,
        batch_first: bool = True,
        loss_reduction: Reduction = "mean",
        noise_generator: torch.Generator | None = None,
        grad_sample_mode: GradSampleMode = "auto",
        allow_no_privacy: bool = False,
        stop_at_epsilon: tuple[float, float] | None = None,
    ) -> Private:
        """``make_private`` with a loader that already samples; the module comes back as it is.

        Raises:
            PrivacyError: As ``make_private``, and if there are several processes and the loader draws for this one alone.
        """
        if loader.ranks.size != (size := present().size):
            raise PrivacyError(
                f"got {size} processes and a loader that draws for {loader.ranks.size}: each would spend its own epsilon on the same "
                "records; expected make_private, or a loader made with ranks=quintain.dp.draws.distributed.present()"
            )
        mean = guards.is_mean(loss_reduction)
        if noise_multiplier == 0 and not allow_no_privacy:
            raise SettingError(
                "got noise_multiplier = 0: no privacy at all; expected a positive number, such as 1.1, or allow_no_privacy=True if that is "
                "meant: epsilon is then infinite"
            )
        if isinstance(module, GradSampleModule):
            module = module.to_standard_module()
        guards.check_inner(optimizer)
        if noise_generator is None:
            stream, noise = self._stream("noise"), "a seed" if self._seed is not None else "the operating system's entropy"
        else:
            stream, noise = guards.noise_stream(noise_generator, secure=self.secure_mode), "a torch.Generator"
        self._check_own(loader.stream, loader, "batches")
        self._check_own(stream, stream, "noise")
        budget = None if stop_at_epsilon is None else PrivacyBudget.of(stop_at_epsilon)
        capture = make_capture(module, grad_sample_mode, mean=mean, rules=self._rules, batch_first=batch_first)
        loader.reproducible = loader.reproducible or self._seed is not None or noise_generator is not None
        try:
            private = DPOptimizer(
                optimizer,
                noise_multiplier=noise_multiplier,
                max_grad_norm=max_grad_norm,
                loss_reduction=loss_reduction,
                secure_mode=self.secure_mode,
                capture=capture,
                loader=loader,
                ledger=self.ledger,
                stream=loader.ranks.shared(stream),
                kept_key=self._kept_key,
                budget=budget,
            )
            if budget is not None and not self.ledger.steps:
                budget.check_affords_one(private.release)
            loader.ranks.agree(at_the_start(private))
            loader.compared = agree_on_data(loader)
        except BaseException:
            capture.remove()
            raise
        self.ledger.budget = budget or self.ledger.budget
        self._warn_of_earlier_training(module)
        self._drawing |= {loader.stream.name: loader, stream.name: stream}
        self._made.append((private, f"AES-256-CTR keyed by {noise}"))
        loader.ended = lambda: private.broke
        return module, private, loader

    def get_epsilon(self, delta: float) -> float:
        """What all steps of this engine so far cost, at ``delta``; a delta of one over the records or more is warned of.

        Batches that training went past without a step count as if they had had one, and are warned of.

        Raises:
            PrivacyError: If a state was loaded and the module's weights are not those that it was saved with: load both first.
        """
        self.check_loaded()
        fewest = min((release.num_units for release in self.ledger.releases), default=0)
        if fewest and delta >= 1 / fewest:
            warnings.warn(
                f"delta = {delta:g} is not below 1/{fewest}: publishing one random record in full would pass; choose a smaller one",
                stacklevel=2,
            )
        ledger = self.ledger.copy()
        passed = sum(optimizer.count_passed(ledger) for optimizer, _ in self._made)
        if not passed:
            return self.accountant.get_epsilon(delta)
        warnings.warn(
            f"the loop went past {passed} batches without a step, which are counted as if they had had one; expected a step on every "
            "batch, or a module in evaluation mode while batches are only looked at: what is left out can tell of a record",
            stacklevel=2,
        )
        return LedgerAccountant(self.accountant.mechanism(), ledger).get_epsilon(delta)

    def check_loaded(self) -> None:
        """Raise if a state was loaded and the module's weights are not those that it was saved with, or not loaded yet."""
        for optimizer, _ in self._made:
            optimizer.check_loaded()

    @property
    def record(self) -> PrivacyRecord:
        """Everything that the guarantee assumes."""
        return PrivacyRecord(
            accountant=self.accountant.mechanism(),
            reproducible=self.reproducible,
            secure_mode=self.secure_mode and all(release.mechanism != "gaussian" for release in self.ledger.releases),
            steps=self.ledger.steps,
            fixed_beforehand=all_fixed_beforehand(self.ledger.releases),
            runs=tuple(RunRecord.of(optimizer, noise) for optimizer, noise in self._made),
        )

    def _warn_of_earlier_training(self, module: nn.Module) -> None:
        """Warn if another engine has trained the module for steps that this one's ledger does not hold."""
        before = _TRAINED.get(module)
        missing = 0 if before is None else self.ledger.count_missing(before)
        if missing:
            warnings.warn(
                f"another engine has trained this module for {missing} steps, which this one does not count; expected make_private of that "
                "engine, or its latest state loaded into this one, unless the records are others: on the same records, both costs add up",
                stacklevel=5,
            )
        _TRAINED[module] = self.ledger

    def _check_own(self, stream: Stream, drawer: object, what: str) -> None:
        """Raise if something else draws from the same key: equal noise cancels out, and equal batches add up."""
        if self._drawing.get(stream.name, drawer) is not drawer:
            raise SettingError(
                f"got a seed for the {what} that those of another run of this engine follow from; expected one for each: what both release "
                "would tell more than is counted for two, even to those who do not know the seed"
            )

    def _stream(self, purpose: str) -> Stream:
        """A stream of its own for each purpose and each call, in whatever thread: no noise is ever drawn twice."""
        return self._root.child(purpose, next(self._streams))
