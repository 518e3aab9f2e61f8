"""One call that turns a module, its optimiser and its loader private."""

import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader

from quintain.core.errors import SettingError
from quintain.dp.accounting import noise_for
from quintain.dp.clipping import Clip, Flat
from quintain.dp.ledger import Ledger
from quintain.dp.noise import Stream, seeded_key
from quintain.dp.optimizer import PrivateOptimizer
from quintain.dp.rules import Rule
from quintain.dp.sampling import PoissonLoader

KEY = 32
Private = tuple[nn.Module, PrivateOptimizer, PoissonLoader]


class PrivacyEngine:
    """Makes the ordinary loop (``zero_grad``, ``loss.backward()``, ``step``) train with differential privacy, and counts what it spends.

    ::

        engine = PrivacyEngine()
        net, optimizer, loader = engine.make_private(module=net, optimizer=optimizer, data_loader=loader)
        for x, y in loader:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
        engine.get_epsilon(delta=1e-5)

    Guarantee: (epsilon, delta) for adding or removing one record of the loader's data, against an adversary who sees every iterate;
    the number of records, the sampling rate, the divisor and the steps are public. It assumes what a hook cannot see: the loss is a mean
    or sum of one term an example, and no term or layer looks at the other examples of the batch; the module writes no buffers in
    training; every batch drawn is stepped on, an empty one too. What is not covered: the losses, batch sizes
    and shares of clipped examples that a loop may show, the choice of settings on the same data, and rounding in the noise (see
    ``noise.Stream``).

    Args:
        seed: Draws batches and noise from this seed, for tests and papers: ``reproducible`` is then true, and who knows the seed can
            subtract the noise. By default both come from secret streams, keyed by the operating system.
        key: 32 secret bytes to draw from instead of fresh ones, so that a run that broke off can repeat its last step bit for bit; never
            for another run.
        rules: Rules for further kinds of layer (see ``rules.Rule``).

    Raises:
        SettingError: If the key is not one.
    """

    def __init__(self, *, seed: int | None = None, key: bytes | None = None, rules: Mapping[type[nn.Module], Rule] | None = None) -> None:
        if key is not None and (seed is not None or len(key) != KEY):
            raise SettingError(
                f"got a key of {len(key)} bytes{' and a seed' if seed is not None else ''}; expected {KEY} secret bytes alone"
            )
        self.ledger = Ledger()
        self._seed, self._rules = seed, rules
        self._root = Stream((key or os.urandom(KEY)) if seed is None else seeded_key(seed))
        self._made = 0

    @property
    def reproducible(self) -> bool:
        """Whether noise and batches follow from a seed, so that privacy holds only against those who do not know it."""
        return self._seed is not None

    def make_private(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: "DataLoader[Any]",
        noise_multiplier: float = 1.1,
        max_grad_norm: float | Clip = 1.0,
        loss_reduction: Literal["mean", "sum"] = "mean",
        allow_no_privacy: bool = False,
    ) -> Private:
        """The same module, with hooks; the optimiser, wrapped; and a loader that samples.

        Args:
            module: Linear, Conv2d, GroupNorm, LayerNorm and Embedding can be trained; anything may be frozen.
            optimizer: Holds exactly the module's trainable parameters.
            data_loader: Its batch size becomes the expected one, its length stays.
            noise_multiplier: Standard deviation of the noise, in units of ``max_grad_norm``.
            max_grad_norm: Bound of one example's gradient, over all parameters together; or another way to clip.
            loss_reduction: Whether losses are means over the examples of their pass, or sums; told wrongly, one record can move the sum by
                twice the bound, since the scale of all others follows the size of the batch.
            allow_no_privacy: Whether a noise multiplier of 0 is meant; epsilon is then infinite.

        Raises:
            PrivacyError: If a layer cannot be private, or module and optimiser do not fit together.
            SettingError: If a number is out of its range.
        """
        loader = PoissonLoader.like(data_loader, self._stream("sampling"))
        return self.attach(
            module=module,
            optimizer=optimizer,
            loader=loader,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            loss_reduction=loss_reduction,
            allow_no_privacy=allow_no_privacy,
        )

    def make_private_with_epsilon(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        data_loader: "DataLoader[Any]",
        target_epsilon: float,
        target_delta: float,
        epochs: int,
        max_grad_norm: float | Clip = 1.0,
        loss_reduction: Literal["mean", "sum"] = "mean",
    ) -> Private:
        """As ``make_private``, with the least noise whose ``epochs`` over the loader cost at most ``target_epsilon``.

        Raises:
            SettingError: If something was already spent, or a number is out of its range.
        """
        if self.ledger.steps:
            raise SettingError(f"{self.ledger.steps} steps are already spent; expected a fresh engine to plan a whole budget")
        loader = PoissonLoader.like(data_loader, self._stream("sampling"))
        return self.attach(
            module=module,
            optimizer=optimizer,
            loader=loader,
            noise_multiplier=noise_for(target_epsilon, target_delta, loader.sample_rate, epochs * len(loader)),
            max_grad_norm=max_grad_norm,
            loss_reduction=loss_reduction,
        )

    def loader(self, fetch: Any, *, records: int, expected_batch_size: int, steps_per_epoch: int) -> PoissonLoader:
        """A sampling loader of this engine over any source: ``fetch(rows)`` makes a batch (see ``PoissonLoader``)."""
        return PoissonLoader(
            fetch,
            records=records,
            expected_batch_size=expected_batch_size,
            steps_per_epoch=steps_per_epoch,
            stream=self._stream("sampling"),
        )

    def attach(
        self,
        *,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: PoissonLoader,
        noise_multiplier: float,
        max_grad_norm: float | Clip,
        loss_reduction: Literal["mean", "sum"] = "mean",
        allow_no_privacy: bool = False,
    ) -> Private:
        """``make_private`` with a loader that already samples."""
        if loss_reduction not in ("mean", "sum"):
            raise SettingError(f'got loss_reduction = {loss_reduction!r}; expected "mean" or "sum"')
        if noise_multiplier == 0 and not allow_no_privacy:
            raise SettingError(
                "got noise_multiplier = 0: no privacy at all; expected a positive number, such as 1.1, or allow_no_privacy=True if that is "
                "meant: epsilon is then infinite"
            )
        private = PrivateOptimizer(
            optimizer,
            module=module,
            loader=loader,
            ledger=self.ledger,
            noise_multiplier=noise_multiplier,
            clip=Flat(max_grad_norm) if isinstance(max_grad_norm, (int, float)) else max_grad_norm,
            mean=loss_reduction == "mean",
            stream=self._stream("noise"),
            rules=self._rules,
        )
        return module, private, loader

    def get_epsilon(self, delta: float) -> float:
        """What all steps so far cost, at ``delta``."""
        return self.ledger.epsilon(delta)

    def _stream(self, purpose: str) -> Stream:
        """A stream of its own for each purpose and each call: no noise is ever drawn twice."""
        self._made += 1
        return self._root.child(purpose, self._made)
