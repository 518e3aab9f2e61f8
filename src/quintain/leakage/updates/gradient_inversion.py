r"""Gradient inversion: reconstruct the input from which one update was computed.

Two methods are run, and the reconstruction with the smaller gradient-matching loss is returned; the original
is never used:

- analytic: for one example the weight gradient of a Linear layer with bias is the outer product of bias
  gradient and input, so that the input of the first such layer is computed exactly, and an image is fitted
  that produces it;
- gradient matching: an image is optimized until the cosine between its gradient and the given one is 1.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.leakage.attack import Candidates, Goal, Guess
from quintain.leakage.knowledge import Knowledge
from quintain.leakage.update_view import require_updates
from quintain.leakage.updates.batch_matching import match_batch
from quintain.leakage.updates.dense_layer import recover_linear_input
from quintain.leakage.updates.gradient_matching import (
    SOLVED_LOSS,
    FeatureMatchingLoss,
    GradientMatchingLoss,
    signed_adam,
)
from quintain.leakage.updates.gradient_parts import as_gradient_list
from quintain.leakage.updates.label_recovery import infer_label
from quintain.leakage.view import AttackerView
from quintain.models.loop_checkpoints import Checkpoints, no_checkpoints


@dataclass(frozen=True, slots=True)
class InversionResult:
    """An image reconstructed from a gradient.

    Args:
        image: The reconstruction in [0, 1], in the requested shape.
        label: The class that was inferred from the gradient.
        loss: One minus the cosine between the image's gradient and the given one: 0 where they agree.
        method: ``analytic`` or ``matching``.
    """

    image: Tensor
    label: int
    loss: float
    method: str


def invert_gradient(
    net: nn.Module,
    gradient: Tensor | Sequence[Tensor],
    shape: Sequence[int],
    *,
    steps: int = 800,
    restarts: int = 1,
    tv_weight: float = 1e-4,
    seed: int = 0,
    progress: Progress = no_progress,
    checkpoints: Checkpoints = no_checkpoints,
) -> InversionResult:
    r"""Reconstruct the example behind a gradient of cross-entropy.

    .. math:: \min_{x \in [0, 1]} 1 - \frac{\langle \nabla \ell(x), g \rangle}{\|\nabla \ell(x)\| \|g\|}
        + \tau\, TV(x)

    by Adam on the sign of its gradient, step 0.1, cut tenfold at 3/8, 5/8 and 7/8; and, where the input
    :math:`f` of a first Linear layer with bias is known, also :math:`\min_x \|h(x) - f\|^2 / \|f\|^2 + \tau\,
    TV(x)` with h the layers before it.

    Args:
        net: The weights at which the gradient was taken, in evaluation mode; it is copied, not changed.
        gradient: One tensor for each of ``net.parameters()``, or all in one flat vector; for one step of SGD,
            ``(old - new) / learning_rate``. Its scale does not matter, its sign does.
        shape: Of the example, (C, H, W) or (F,).
        steps: Of each start.
        restarts: Random starts of gradient matching, until the gradients agree; the best is chosen by its
            loss.
        tv_weight: tau, the weight of total variation; for noisy gradients 0.03 to 0.3 shows more.
        seed: Of the starts.
        progress: Shows a bar of steps.
        checkpoints: Keeps the state of each start on the way, so that a call that was cut off resumes.

    Guarantee: a witness only. An image that is found shows a leak; one that is not found shows nothing about
    other attacks.

    Raises:
        ModelError: If the net is in training mode, has no Linear output layer, or the gradient does not match
            its parameters.
        DataError: If the gradient holds NaN, or is zero.

    Source: Geiping, Bauermeister, Droege and Moeller, 2020, arXiv:2003.14053; dense layers: Phong et al.,
    2018.
    """
    if steps < 1 or restarts < 0 or tv_weight < 0:
        raise SettingError(
            f"steps = {steps}, restarts = {restarts}, tv_weight = {tv_weight}; expected at least 1, 0 and 0"
        )
    net = copy.deepcopy(net).requires_grad_(True)
    target_gradient = as_gradient_list(net, gradient)
    label = infer_label(net, target_gradient)
    matching_loss = GradientMatchingLoss(net, target_gradient, torch.tensor([label]))
    methods: list[tuple[str, Callable[[Tensor], Tensor]]] = []
    if (linear_input := recover_linear_input(net, target_gradient)) is not None:
        methods.append(("analytic", FeatureMatchingLoss(net, *linear_input)))
    methods += [("matching", matching_loss)] * restarts
    if not methods:
        raise SettingError("restarts = 0, and no Linear layer with bias; expected at least one restart")
    reference, best = target_gradient[0], None
    with progress.bar("invert", steps * len(methods)) as advance:
        for number, (method, objective) in enumerate(methods):
            generator = torch.Generator().manual_seed(derive_seed(seed, "inversion", number))
            start = torch.rand(1, *shape, generator=generator).to(reference)
            image = signed_adam(
                objective, start, steps, tv_weight, advance, checkpoints.loop(f"start-{number}")
            )
            # The cosine may exceed 1 by rounding; NaN never wins.
            loss = matching_loss(image).nan_to_num(nan=torch.inf).clamp(min=0).item()
            if best is None or loss < best.loss:
                best = InversionResult(image[0], label, loss, method)
            if loss < SOLVED_LOSS:
                advance(steps * (len(methods) - number - 1))  # the other starts are skipped
                break
    assert best is not None
    return best


@dataclass(frozen=True, slots=True)
class GradientInversion:
    r"""The pictures whose gradient is the update, by optimization.

    One picture is sought as ``invert_gradient`` does, several together as ``match_batch`` does. Each weight
    of total variation gives guesses of its own, unless the gradients agree already: what it takes depends on
    the noise, which the update does not tell.

    Args:
        steps: Of each start.
        restarts: Random starts.
        tv_weights: Weights of total variation that are tried, for one picture after the other.

    Guarantee: a witness only.

    Source: Geiping, Bauermeister, Droege and Moeller, 2020, arXiv:2003.14053; labels: Zhao, Mopuri and Bilen,
    2020, arXiv:2001.02610.
    """

    kind: ClassVar[str] = "leak"
    name: ClassVar[str] = "gradient-inversion"
    summary: ClassVar[str] = "pictures behind an update, from its first linear layer and by gradient matching"
    guarantee: ClassVar[str] = (
        "a witness: what it finds has leaked; what it does not find may leak all the same"
    )
    goal: ClassVar[Goal] = "pictures"
    access: ClassVar[str] = "update"
    needs: ClassVar[tuple[str, ...]] = ()
    default_rank: ClassVar[int] = 1
    is_iterative: ClassVar[bool] = True

    steps: int = 800
    restarts: int = 1
    tv_weights: tuple[float, ...] = (1e-4, 0.03, 0.3)

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
        if budget < 1 or not self.tv_weights:
            raise SettingError(
                f"budget = {budget} rounds, tv_weights = {self.tv_weights}; expected some of each"
            )
        seen = require_updates(view, attack=self.name)
        update = seen.update()
        if update is None or not update.any():
            return Guess(images=torch.zeros(0, *candidates.shape), queries=seen.queries)
        images: list[Tensor] = []
        like = None if knowledge.public is None else knowledge.public.sample(256, seed=0)
        for tv_weight in self.tv_weights:
            kept = checkpoints.within(f"tv-{tv_weight:g}")
            if len(candidates) == 1:
                found = invert_gradient(
                    seen.net,
                    update,
                    candidates.shape,
                    steps=self.steps,
                    restarts=self.restarts,
                    tv_weight=tv_weight,
                    seed=seed,
                    progress=progress,
                    checkpoints=kept,
                )
                images.append(found.image[None])
                loss = found.loss
            else:
                batch, loss = match_batch(
                    seen.net,
                    update,
                    candidates.shape,
                    len(candidates),
                    like=None if like is None else like.tensors[0],
                    steps=self.steps,
                    restarts=self.restarts,
                    tv_weight=tv_weight,
                    seed=seed,
                    progress=progress,
                    checkpoints=kept,
                )
                images.append(batch)
            if loss < SOLVED_LOSS:
                break
        return Guess(images=torch.cat(images).detach().cpu(), queries=seen.queries)
