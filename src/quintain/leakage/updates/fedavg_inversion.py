"""FedAvg inversion: the local steps of a site are run on guessed pictures, which are fitted to its update."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.local_steps import LocalSteps, client_net, local_update
from quintain.leakage.update_view import UpdateView, require_updates
from quintain.leakage.updates.batch_matching import probe_inputs
from quintain.leakage.updates.gradient_matching import signed_adam
from quintain.leakage.updates.gradient_parts import as_gradient_list
from quintain.leakage.updates.label_recovery import infer_label_counts, labels_of
from quintain.leakage.view import AttackerView
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints


class UnrolledLoss:
    r"""One minus the cosine between the update that guessed pictures cause and the given one.

    The pictures x are (sites, passes, n, *S), flattened to a batch. Where the order of a site's examples
    matters, each epoch has pictures of its own (passes = epochs), and a penalty holds their means together,
    which no order changes:

    .. math:: 1 - \cos(u(x), u) + \lambda \sum_{e > 1} \|\bar x_e - \bar x_1\|^2 / |S|

    Args:
        net: As sites run it.
        target: (length,) the update.
        labels: (sites, n) in the order of the pictures.
        local: How sites train.
        penalty: lambda.
    """

    def __init__(
        self, net: nn.Module, target: Tensor, labels: Tensor, local: LocalSteps, *, penalty: float = 1.0
    ) -> None:
        self._net, self._target, self._local, self._penalty = net, target, local, penalty
        self._labels = labels.to(target.device)
        self.sites, self.examples = labels.shape
        self.passes = local.epochs if local.has_orders(self.examples) else 1

    @property
    def num_pictures(self) -> int:
        """How many pictures a batch of guesses has."""
        return self.sites * self.passes * self.examples

    def by_site(self, x: Tensor) -> Tensor:
        """Return the pictures as (sites, passes, n, *S)."""
        return x.view(self.sites, self.passes, self.examples, *x.shape[1:])

    def __call__(self, x: Tensor) -> Tensor:
        """Return the loss of pictures (sites * passes * n, *S)."""
        pictures = self.by_site(x)
        update = sum(
            (
                local_update(
                    self._net,
                    [
                        (site[epoch % self.passes, rows.to(x.device)], labels[rows.to(x.device)])
                        for epoch, rows in self._local.batches(self.examples)
                    ],
                    self._local.learning_rate,
                    differentiable=x.requires_grad,
                )
                for site, labels in zip(pictures, self._labels, strict=True)
            ),
            start=torch.zeros_like(self._target),
        )
        loss = 1 - torch.cosine_similarity(update, self._target, dim=0)
        means = pictures.flatten(3).mean(2)
        return loss + self._penalty * (means[:, 1:] - means[:, :1]).square().mean((0, 2)).sum()


def merge_passes(pictures: Tensor) -> Tensor:
    """Average the pictures (passes, n, *S) of one site over epochs: (n, *S).

    Those of each epoch are matched to the first one's, by the assignment of the least squared distances.
    """
    first, merged = pictures[0].flatten(1).double(), pictures[0].clone()
    for other in pictures[1:]:
        costs = torch.cdist(first, other.flatten(1).double()).square().numpy(force=True)
        rows, columns = linear_sum_assignment(costs)
        assert np.array_equal(rows, np.arange(len(rows)))
        merged += other[torch.from_numpy(columns).to(other.device)]
    return merged / len(pictures)


@dataclass(frozen=True, slots=True)
class FedAvgInversion:
    r"""The pictures of sites that take several local steps, with her learning rate, batch size and epochs.

    The site's training is unrolled and differentiated in the pictures. The order of her examples is not
    known: each epoch has guesses of its own, whose means must agree, and which are matched and averaged in
    the end. Labels come from ``infer_label_counts``, with the update over its steps for a gradient.

    Args:
        steps: Of each start.
        restarts: Random starts, each with its own placing of the labels; the best is chosen by its loss.
        tv_weight: Weight of total variation.

    Guarantee: a witness only.

    Source: Dimitrov, Balunovic, Konstantinov and Vechev, 2022, arXiv:2206.12395.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "fedavg-inversion"
    summary: ClassVar[str] = "pictures behind several local steps, by unrolling the site's training"
    guarantee: ClassVar[str] = (
        "a witness: what it finds has leaked; what it does not find may leak all the same"
    )
    goal: ClassVar[Goal] = "pictures"
    access: ClassVar[str] = "update"
    needs: ClassVar[tuple[str, ...]] = ()
    default_rank: ClassVar[int] = 0
    is_iterative: ClassVar[bool] = True

    steps: int = 400
    restarts: int = 1
    tv_weight: float = 1e-3

    def guess(
        self,
        view: AttackerView,
        knowledge: Knowledge,
        candidates: Candidates,
        *,
        budget: int,
        seed: int,
        progress: Progress = no_progress,
        checkpoints: Checkpoints = no_checkpoints,
    ) -> Guess:
        """Return the pictures; see ``LeakageAttack``."""
        if budget < 1 or self.steps < 1 or self.restarts < 1:
            raise SettingError(
                f"budget = {budget} rounds, steps = {self.steps}, restarts = {self.restarts}; expected at "
                "least 1 of each"
            )
        seen = require_updates(view, attack=self.name)
        update = seen.update()
        if update is None or not update.any():
            return Guess(images=torch.zeros(0, *candidates.shape), queries=seen.queries)
        net = client_net(seen.net, seen.local)
        target = torch.cat([part.flatten() for part in as_gradient_list(seen.net, update)])
        sorted_labels = self._labels(seen, target, knowledge, candidates.shape, seed)
        best, lowest = torch.zeros(seen.num_pictures, *candidates.shape), torch.inf
        with progress.bar("invert", self.steps * self.restarts) as advance:
            for number in range(self.restarts):
                generator = torch.Generator().manual_seed(derive_seed(seed, "fedavg-inversion", number))
                order = torch.randperm(seen.num_pictures, generator=generator)
                loss_of = UnrolledLoss(
                    net, target, sorted_labels[order].view(seen.sites, seen.examples), seen.local
                )
                start = torch.rand(loss_of.num_pictures, *candidates.shape, generator=generator).to(target)
                kept = checkpoints.loop(f"unrolled-{number}")
                images = signed_adam(loss_of, start, self.steps, self.tv_weight, advance, kept)
                loss = loss_of(images).nan_to_num(nan=torch.inf).item()
                if loss < lowest:
                    best = torch.cat([merge_passes(site) for site in loss_of.by_site(images)])
                    lowest = loss
        return Guess(images=best.detach().cpu(), queries=seen.queries)

    @staticmethod
    def _labels(
        seen: UpdateView, target: Tensor, knowledge: Knowledge, shape: Sequence[int], seed: int
    ) -> Tensor:
        """Return the labels (n,) behind the update, in the order of the classes."""
        public = knowledge.public
        like = (
            probe_inputs(shape, seed=seed)
            if public is None
            else public.batch(range(min(len(public), 256)))[0]
        )
        mean = target / seen.local.num_steps(seen.examples)
        counts = infer_label_counts(seen.net, as_gradient_list(seen.net, mean), seen.num_pictures, like)
        return labels_of(counts)
