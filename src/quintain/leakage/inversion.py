r"""What one update gives away: the picture that it was computed from.

Two roads, and the better end by its own loss, never by comparison with the original:

- the first dense layer with a bias gives its input away exactly (each row of its weight gradient is the input times the same row of its
  bias gradient); the picture is then the one whose features these are;
- any net: the picture whose gradient points the same way as the one that was sent.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.core.errors import DataError, ModelError, SettingError
from quintain.core.progress import Progress, silent
from quintain.core.seeds import derive

SOLVED = 1e-4
"""A start that ends below this loss is taken, and no other is tried."""

_RATE = 0.1
_CUTS = (3 / 8, 5 / 8, 7 / 8)


@dataclass(frozen=True, slots=True)
class Inversion:
    """A picture rebuilt from a gradient.

    Args:
        image: The reconstruction in [0, 1], in the shape asked for.
        label: The class that the gradient tells.
        loss: One minus the cosine between the picture's gradient and the one that was sent: 0 where they agree.
        road: ``features`` or ``gradient``.
    """

    image: Tensor
    label: int
    loss: float
    road: str


def invert(
    net: nn.Module,
    gradient: Tensor | Sequence[Tensor],
    shape: Sequence[int],
    *,
    steps: int = 800,
    restarts: int = 1,
    smoothness: float = 1e-4,
    seed: int = 0,
    progress: Progress = silent,
) -> Inversion:
    r"""Rebuild the example behind a gradient of cross-entropy.

    .. math:: \min_{x \in [0, 1]} 1 - \frac{\langle \nabla \ell(x), g \rangle}{\|\nabla \ell(x)\| \|g\|} + \tau\, TV(x)

    by Adam on the sign of its gradient, step 0.1, cut tenfold at 3/8, 5/8 and 7/8; and, where a first dense layer with bias gives its
    input :math:`f` away, also :math:`\min_x \|h(x) - f\|^2 / \|f\|^2 + \tau\, TV(x)` with h the layers before it.

    Args:
        net: The weights that the gradient was taken at, in evaluation mode; it is copied, not touched.
        gradient: One tensor for each of ``net.parameters()``, or all in one flat vector; for one step of SGD, ``(old - new) / rate``.
            Its scale does not matter, its sign does.
        shape: Of the example, (C, H, W) or (F,).
        steps: Of each start.
        restarts: Random starts on the gradient road, until one is found whose gradient agrees; the best is taken by its loss.
        smoothness: tau, on the mean absolute difference of neighbouring pixels; for noisy gradients 0.03 to 0.3 sees more.
        seed: Of the starts.
        progress: Shows a bar of steps.

    Guarantee: a witness only. A picture that is found shows a leak; one that is not found shows nothing about other attacks.

    Raises:
        ModelError: If the net is in training mode, has no dense output layer, or the gradient does not fit its parameters.
        DataError: If the gradient holds NaN, or is zero.

    Source: Geiping, Bauermeister, Droege and Moeller, 2020, arXiv:2003.14053; dense layers: Phong et al., 2018.
    """
    if steps < 1 or restarts < 0 or smoothness < 0:
        raise SettingError(f"steps = {steps}, restarts = {restarts}, smoothness = {smoothness}; expected at least 1, 0 and 0")
    net = copy.deepcopy(net).requires_grad_(True)
    sent = as_parts(net, gradient)
    label = label_of(net, sent)
    mismatch = _GradientMismatch(net, sent, label)
    roads: list[tuple[str, Callable[[Tensor], Tensor]]] = []
    if (found := dense_input(net, sent)) is not None:
        roads.append(("features", _FeatureMismatch(net, *found)))
    roads += [("gradient", mismatch)] * restarts
    if not roads:
        raise SettingError("restarts = 0, and no dense layer gives its input away; expected at least one restart")
    like, best = sent[0], None
    with progress.loop("invert", steps * len(roads)) as advance:
        for number, (road, objective) in enumerate(roads):
            generator = torch.Generator().manual_seed(derive(seed, "inversion", number))
            start = torch.rand(1, *shape, generator=generator).to(like)
            image = _descend(objective, start, steps, smoothness, advance)
            loss = mismatch(image).nan_to_num(nan=torch.inf).clamp(min=0).item()
            if best is None or loss < best.loss:
                best = Inversion(image[0], label, loss, road)
            if loss < SOLVED:
                advance(steps * (len(roads) - number - 1))
                break
    assert best is not None
    return best


def as_parts(net: nn.Module, gradient: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    """A gradient as one tensor a parameter, whether it was given so or as one flat vector; checked against the net.

    Raises:
        ModelError: If the net is in training mode, or sizes do not fit.
        DataError: If it is zero or holds NaN.
    """
    if net.training:
        raise ModelError("the net is in training mode; call net.eval() so that its outputs are those the gradient was taken at")
    parameters = list(net.parameters())
    sizes = [parameter.numel() for parameter in parameters]
    flat = gradient if isinstance(gradient, Tensor) else torch.cat([part.flatten() for part in gradient])
    if flat.numel() != sum(sizes):
        raise ModelError(f"a gradient of {flat.numel()} numbers for a net of {sum(sizes)} parameters; expected one each, in their order")
    flat = flat.detach().flatten().to(parameters[0])
    if not torch.isfinite(flat).all() or not flat.any():
        raise DataError("the gradient is zero, NaN or infinite; there is nothing in it to invert")
    return tuple(part.view_as(parameter) for part, parameter in zip(flat.split(sizes), parameters, strict=True))


def label_of(net: nn.Module, gradient: Sequence[Tensor]) -> int:
    r"""The class of the one example behind a gradient of cross-entropy.

    The output layer's bias has the gradient softmax - onehot, negative at the true class alone; without a bias, the rows of its weight
    do the same where its inputs are not negative, as after ReLU.

    Raises:
        ModelError: If the net has no dense layer.

    Source: Zhao, Mopuri and Bilen, 2020, arXiv:2001.02610.
    """
    linears = _linears(net)
    if not linears:
        raise ModelError("the net has no Linear layer to read the label from; inversion works on classifiers that end in one")
    weight, bias = _gradients(net, gradient, linears[-1])
    return int((weight.sum(1) if bias is None else bias).argmin())


def dense_input(net: nn.Module, gradient: Sequence[Tensor]) -> tuple[nn.Linear, Tensor] | None:
    r"""The first dense layer with a bias, and the input (F,) that its gradient gives away; None where there is no such layer.

    For one example :math:`\partial \ell / \partial W = b' f^T` with :math:`b' = \partial \ell / \partial b`, so that
    :math:`f = W'^T b' / \|b'\|^2` exactly; for several it is a weighted mean of theirs.
    """
    for layer in _linears(net):
        weight, bias = _gradients(net, gradient, layer)
        if bias is not None:
            return (layer, weight.T @ bias / (bias @ bias)) if bias.any() else None
    return None


class _GradientMismatch:
    """One minus the cosine between the gradient at a picture and the one that was sent."""

    def __init__(self, net: nn.Module, sent: Sequence[Tensor], label: int) -> None:
        self._net, self._sent = net, torch.cat([part.flatten() for part in sent])
        self._label = torch.tensor([label], device=self._sent.device)

    def __call__(self, x: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(self._net(x), self._label)
        parts = torch.autograd.grad(loss, list(self._net.parameters()), create_graph=x.requires_grad, materialize_grads=True)
        return 1 - torch.cosine_similarity(torch.cat([part.flatten() for part in parts]), self._sent, dim=0)


class _FeatureMismatch:
    """The relative squared distance between what reaches a layer and what should."""

    def __init__(self, net: nn.Module, layer: nn.Linear, features: Tensor) -> None:
        self._net, self._features, self._reached = net, features, features
        layer.register_forward_pre_hook(self._keep)

    def _keep(self, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self._reached = inputs[0].flatten()

    def __call__(self, x: Tensor) -> Tensor:
        self._net(x)
        return (self._reached - self._features).square().sum() / self._features.square().sum()


def _descend(objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, smoothness: float, advance: Callable[[int], None]) -> Tensor:
    """Adam on the sign of the gradient, inside the box; the best point on the way."""
    z = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=_RATE)
    best, lowest = start.clone(), torch.inf
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.1 ** sum(step >= cut * steps for cut in _CUTS)
        value = objective(z) + smoothness * _variation(z)
        if (height := value.item()) < lowest:
            best, lowest = z.detach().clone(), height
        z.grad = torch.autograd.grad(value, z)[0].sign()
        optimizer.step()
        with torch.no_grad():
            z.clamp_(0, 1)
        advance(1)
    return best


def _variation(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, down and across; 0 for vectors."""
    if x.ndim < 4:
        return x.new_zeros(())
    return (x[..., 1:] - x[..., :-1]).abs().mean() + (x[..., 1:, :] - x[..., :-1, :]).abs().mean()


def _linears(net: nn.Module) -> list[nn.Linear]:
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def _gradients(net: nn.Module, gradient: Sequence[Tensor], layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
    """A layer's share of a gradient: of its weight, and of its bias where it has one."""
    parts = {id(parameter): part for parameter, part in zip(net.parameters(), gradient, strict=True)}
    return parts[id(layer.weight)], None if layer.bias is None else parts[id(layer.bias)]
