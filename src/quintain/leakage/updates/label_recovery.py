"""Labels out of an update: the output layer's gradient tells how many examples of each class there are."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from quintain.core.errors import SettingError
from quintain.leakage.updates.gradient_parts import output_gradient
from quintain.models.adapters import forward_logits


def infer_label(net: nn.Module, gradient: Sequence[Tensor]) -> int:
    r"""Infer the class of the one example behind a gradient of cross-entropy.

    The output layer's bias has the gradient softmax - onehot, negative at the true class alone; without a
    bias, the rows of its weight do the same where its inputs are not negative, as after ReLU. It is the last
    Linear layer that has a gradient. Where it has one logit, class 1 against a zero, the sign tells.

    Raises:
        ModelError: If the net has no Linear layer.

    Source: Zhao, Mopuri and Bilen, 2020, arXiv:2001.02610.
    """
    _, weight, bias = output_gradient(net, gradient)
    by_class = weight.sum(1) if bias is None else bias
    return int(by_class < 0) if len(by_class) == 1 else int(by_class.argmin())


def infer_label_counts(
    net: nn.Module, gradient: Sequence[Tensor], num_examples: int, like: Tensor
) -> tuple[int, ...]:
    r"""Estimate how many examples of each class are behind a mean gradient of cross-entropy.

    The gradient of the output layer's bias is :math:`g_k = \bar p_k - n_k / B`, so that

    .. math:: n_k = B (\bar p_k - g_k)

    where :math:`\bar p` is the mean prediction, which is taken of inputs that are like the examples. Without
    a bias, the rows of the weight stand for it: they are g_k times the mean feature, where features and
    errors are independent. Rounded to counts that add up to B, by largest remainders.

    Args:
        net: The weights at which the gradient was taken, in evaluation mode.
        gradient: One tensor for each parameter, the mean over the examples.
        num_examples: B.
        like: Inputs (n, *S) that are like the examples, such as public ones.

    Returns:
        One count for each class.

    Guarantee: an estimate. It is exact where the mean prediction is right to 1 / 2B; label smoothing, mixup
    and gradients that were clipped to another scale put it off.

    Raises:
        ModelError: If the net has no Linear layer.

    Source: Geng et al., 2021, arXiv:2110.09074.
    """
    if num_examples < 1 or not len(like):
        raise SettingError(f"num_examples = {num_examples}, {len(like)} inputs; expected at least 1 of each")
    layer, weight, bias = output_gradient(net, gradient)
    features: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].detach()))
    with torch.no_grad():
        predictions = forward_logits(net, like.to(weight)).softmax(1).mean(0).double()
    hook.remove()
    errors = weight.double().sum(1) / features[0].double().sum(-1).mean() if bias is None else bias.double()
    if len(errors) == 1:  # one logit is class 1 against a zero
        errors = torch.stack((-errors[0], errors[0]))
    if len(errors) != len(predictions) or not torch.isfinite(errors).all():
        errors = torch.zeros_like(predictions)
    # Of any fraction of B that a class can have; what is left over goes to the largest remainders.
    wanted = (num_examples * (predictions - errors)).clamp(0, num_examples)
    wanted = wanted if wanted.any() else num_examples * predictions
    wanted *= num_examples / wanted.sum()
    counts = wanted.floor().long()
    left = num_examples - int(counts.sum())
    counts[(wanted - counts).argsort(descending=True, stable=True)[:left]] += 1
    return tuple(counts.tolist())


def labels_of(counts: Sequence[int]) -> Tensor:
    """Return the labels (B,) that the counts of classes stand for, in the order of the classes."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
