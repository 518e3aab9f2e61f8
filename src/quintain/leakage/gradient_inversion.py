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

import torch
from torch import Tensor, nn

from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.registry import declare
from quintain.core.seeds import derive_seed
from quintain.models.adapters import forward_logits
from quintain.models.loop_checkpoints import Checkpoints, LoopCheckpoint, no_checkpoints

SOLVED_LOSS = 1e-4
"""A start that ends below this loss is returned, and no other is tried."""

_LEARNING_RATE = 0.1
_LR_MILESTONES = (3 / 8, 5 / 8, 7 / 8)


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


@declare(
    name="gradient-inversion",
    summary="the image behind one update, from its first linear layer and by gradient matching",
    guarantee="a witness: what it finds has leaked; what it does not find may leak all the same",
    kind="leak",
    goal="pictures",
    access="update",
    default_rank=1,
)
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
    matching_loss = _GradientMatchingLoss(net, target_gradient, label)
    methods: list[tuple[str, Callable[[Tensor], Tensor]]] = []
    if (linear_input := recover_linear_input(net, target_gradient)) is not None:
        methods.append(("analytic", _FeatureMatchingLoss(net, *linear_input)))
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


def as_gradient_list(net: nn.Module, gradient: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Convert a gradient, given as a list or as one flat vector, to one tensor a parameter, and check it.

    Raises:
        ModelError: If the net is in training mode, or sizes do not match.
        DataError: If it is zero or holds NaN.
    """
    if net.training:
        raise ModelError(
            "the net is in training mode; call net.eval() so that its outputs are those the gradient was "
            "taken at"
        )
    parameters = list(net.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    flat = gradient if isinstance(gradient, Tensor) else torch.cat([part.flatten() for part in gradient])
    if flat.numel() != sum(sizes):
        raise ModelError(
            f"a gradient of {flat.numel()} numbers for a net of {sum(sizes)} parameters; expected one each, "
            "in their order"
        )
    flat = flat.detach().flatten().to(parameters[0])
    if not torch.isfinite(flat).all() or not flat.any():
        raise DataError("the gradient is zero, NaN or infinite; there is nothing in it to invert")
    return tuple(
        part.view_as(parameter) for part, parameter in zip(flat.split(sizes), parameters, strict=True)
    )


def infer_label(net: nn.Module, gradient: Sequence[Tensor]) -> int:
    r"""Infer the class of the one example behind a gradient of cross-entropy.

    The output layer's bias has the gradient softmax - onehot, negative at the true class alone; without a
    bias, the rows of its weight do the same where its inputs are not negative, as after ReLU. It is the last
    Linear layer that has a gradient. Where it has one logit, class 1 against a zero, the sign tells.

    Raises:
        ModelError: If the net has no Linear layer.

    Source: Zhao, Mopuri and Bilen, 2020, arXiv:2001.02610.
    """
    linears = _linears(net)
    if not linears:
        raise ModelError(
            "the net has no Linear layer to read the label from; inversion works on classifiers that end in "
            "one"
        )
    gradients = [_layer_gradient(net, gradient, layer) for layer in linears]
    weight, bias = next((one for one in reversed(gradients) if one[0].any()), gradients[-1])
    by_class = weight.sum(1) if bias is None else bias
    return int(by_class < 0) if len(by_class) == 1 else int(by_class.argmin())


def recover_linear_input(net: nn.Module, gradient: Sequence[Tensor]) -> tuple[nn.Linear, Tensor] | None:
    r"""Compute the input (F,) of the first Linear layer with a bias from its gradient.

    The result is None without such a layer.

    For one example :math:`\partial \ell / \partial W = b' f^T` with :math:`b' = \partial \ell / \partial b`,
    so that
    :math:`f = W'^T b' / \|b'\|^2` exactly; for several it is a weighted mean of theirs.
    """
    for layer in _linears(net):
        weight, bias = _layer_gradient(net, gradient, layer)
        if bias is not None:
            return (layer, weight.T @ bias / (bias @ bias)) if bias.any() else None
    return None


class _GradientMatchingLoss:
    """One minus the cosine between the gradient at an image and the given one."""

    def __init__(self, net: nn.Module, target_gradient: Sequence[Tensor], label: int) -> None:
        self._net, self._target = net, torch.cat([part.flatten() for part in target_gradient])
        self._label = torch.tensor([label], device=self._target.device)

    def __call__(self, x: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(forward_logits(self._net, x), self._label)
        parts = torch.autograd.grad(
            loss, list(self._net.parameters()), create_graph=x.requires_grad, materialize_grads=True
        )
        return 1 - torch.cosine_similarity(torch.cat([part.flatten() for part in parts]), self._target, dim=0)


class _FeatureMatchingLoss:
    """The relative squared distance between the input of a layer and the recovered one."""

    def __init__(self, net: nn.Module, layer: nn.Linear, features: Tensor) -> None:
        self._net, self._features, self._captured = net, features, features
        layer.register_forward_pre_hook(self._capture)

    def _capture(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._captured = inputs[0].flatten()

    def __call__(self, x: Tensor) -> Tensor:
        forward_logits(self._net, x)
        return (self._captured - self._features).square().sum() / self._features.square().sum()


def signed_adam(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    steps: int,
    tv_weight: float,
    advance: Callable[[int], None],
    kept: LoopCheckpoint,
) -> Tensor:
    """Minimize by Adam on the sign of the gradient, inside [0, 1]; return the best iterate.

    The learning rate is cut three times (Geiping et al., 2020); the best iterate, since signs make it
    oscillate.
    """
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=_LEARNING_RATE)
    best, lowest = start.clone(), torch.inf
    if kept.step:
        z.data, best = kept.state["z"].to(z), kept.state["best"].to(z)
        lowest = kept.state["lowest"].item()
        optimizer.state[z] = {key: kept.state[key].to(z) for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[z]["step"] = kept.state["step"]

    def state() -> dict[str, Tensor]:
        loss = torch.tensor(lowest, dtype=torch.float64)
        return {"z": z, "best": best, "lowest": loss, **optimizer.state[z]}

    advance(kept.step)
    for step in range(kept.step, steps):
        for group in optimizer.param_groups:
            group["lr"] = _LEARNING_RATE * 0.1 ** sum(
                step >= milestone * steps for milestone in _LR_MILESTONES
            )
        value = objective(z) + tv_weight * total_variation(z)
        if (loss_value := value.item()) < lowest:
            best, lowest = z.detach().clone(), loss_value
        z.grad = _gradient(value, z).sign()
        optimizer.step()
        with torch.no_grad():
            z.clamp_(0, 1)
        advance(1)
        kept.offer(step + 1, steps, state)
    return best


def _gradient(value: Tensor, z: Tensor) -> Tensor:
    """Return the gradient at an image.

    Raises:
        ModelError: If a layer of the net has no second derivative in PyTorch.
    """
    try:
        return torch.autograd.grad(value, z)[0]
    except RuntimeError as error:
        if "is not implemented" not in str(error):
            raise
        raise ModelError(
            f"gradients of gradients are needed to rebuild an input, and PyTorch says: {error}; take a layer "
            "with a second derivative instead, such as ReLU or SiLU"
        ) from error


def total_variation(x: Tensor) -> Tensor:
    """Compute the mean absolute difference of neighboring pixels, down and across; 0 for vectors."""
    if x.ndim < 4:
        return x.new_zeros(())
    return (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()


def _linears(net: nn.Module) -> list[nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def _layer_gradient(
    net: nn.Module, gradient: Sequence[Tensor], layer: nn.Linear
) -> tuple[Tensor, Tensor | None]:
    """Return a layer's gradient: of its weight, and of its bias where it has one."""
    parts = {id(parameter): part for parameter, part in zip(net.parameters(), gradient, strict=True)}
    return parts[id(layer.weight)], None if layer.bias is None else parts[id(layer.bias)]
