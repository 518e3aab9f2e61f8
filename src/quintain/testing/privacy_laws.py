"""The laws of layer rules in private training: no record moves a clipped sum by more than the bound.

A rule gives the per-example gradients of a layer. If they are wrong, the norm that is clipped is not the norm
that is added, and epsilon is false. The laws look at the released sum, through the same entry as users.
"""

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from quintain.dp import PrivacyEngine
from quintain.dp.per_example.grads import PerExampleGrads
from quintain.dp.step.clipping_weights import clipping_weights
from quintain.testing.checking import Law, require, run_laws

SCALES = (1e-6, 1.0, 1e4)
"""What records are multiplied by: gradients far below the bound, at it, and far above."""

BOUNDS = (0.01, 1.0, 100.0)
"""Clipping bounds."""


def check_rule(net: nn.Module, x: Tensor | None = None, *, num_classes: int = 3) -> None:
    """Check all laws of layer rules on a net that holds the layer.

    Args:
        net: From records to logits (B, ``num_classes``), with the layer inside; it is left as it is.
        x: Five records or so (B, *S); floating point is also scaled, far up and down. Random (5, 1, 4, 4)
            if not given, as the ``example`` of ``register_rule`` takes them.
        num_classes: How many classes the logits have.

    Raises:
        AssertionError: If the rule breaks any law; the message names each, with what was seen.
        PrivacyError: If the net cannot be trained privately.
    """
    if x is None:
        x = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x.double() if x.is_floating_point() else x
    y = torch.arange(len(x)) % num_classes
    laws: list[Law] = [("gradients are those of each record alone", partial(check_rule_gradients, net, x, y))]
    for scale in SCALES if x.is_floating_point() else (1,):
        for bound in BOUNDS:
            bounded = partial(check_record_bounded, net, x * scale, y, bound=bound, left_out=len(x) - 1)
            laws.append((f"no record moves the sum: records times {scale:g}, bound {bound:g}", bounded))
    kinds = sorted(
        {
            type(part).__name__
            for part in net.modules()
            if next(part.parameters(recurse=False), None) is not None
        }
    )
    run_laws(f"the rule of {', '.join(kinds)}", laws)


def check_record_bounded(
    net: nn.Module, x: Tensor, y: Tensor, *, bound: float, left_out: int, exact: bool = True
) -> None:
    """Each record adds at most the bound, whatever the rounding, and the sum is the sum of these.

    What the other records add is the same without one, but for rounding.

    Args:
        net: From records to logits (B, K); it is trained in float64, on a copy.
        x, y: Records (B, *S) and their classes (B,).
        bound: The clipping bound.
        left_out: The record that is left out for comparison.
        exact: Whether what the others add may differ by 1e-6 of the bound at most; not so where gradients
            cancel to the last digits, as those of a softmax do that is all or nothing.

    Raises:
        AssertionError: If not.
    """
    added, whole, order = contributions(net, x, y, bound)
    limit, largest = bound * (1 + 1e-6), float(added.norm(dim=1).max())
    require(largest <= limit, f"each record to add at most {bound:g}", f"{largest:g}")
    apart = float((whole - added.sum(0)).norm())
    require(
        apart <= len(x) * order + 1e-9 * bound,
        "the released sum to be the sum of what records add",
        f"{apart:g} apart",
    )
    keep = torch.arange(len(x)) != left_out
    others, without, _ = contributions(net, x[keep], y[keep], bound)
    rounded, moved = float((added[keep] - others).norm(dim=1).sum()), float((whole - without).norm())
    require(
        moved <= limit + rounded + 2 * len(x) * order,
        f"one record to move the released sum by at most {bound:g}",
        f"{moved:g}, of which {rounded:g} is what the others add otherwise without it",
    )
    require(
        rounded <= 1e-6 * bound or not exact,
        "the others to add the same without the record",
        f"{rounded:g} otherwise",
    )


def check_rule_gradients(net: nn.Module, x: Tensor, y: Tensor) -> None:
    """What each record adds without clipping is the gradient that autograd gives for it alone.

    Args:
        net: From records to logits (B, K).
        x, y: Records (B, *S) and their classes (B,).

    Raises:
        AssertionError: If not.
    """
    added, _, _ = contributions(net, x, y, 1e12)
    plain = copy.deepcopy(net).double().train()
    weights = [weight for weight in plain.parameters() if weight.requires_grad]
    for record in range(len(x)):
        loss = nn.functional.cross_entropy(plain(x[record : record + 1]), y[record : record + 1])
        found = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        alone = torch.cat([gradient.flatten() for gradient in found])
        apart, size = float((added[record] - alone).norm()), float(alone.norm())
        require(
            apart <= 1e-9 * (1 + size),
            f"the gradient of record {record} alone",
            f"{apart:g} apart of {size:g}",
        )


def contributions(net: nn.Module, x: Tensor, y: Tensor, bound: float) -> tuple[Tensor, Tensor, float]:
    """Return what each record adds to the sum of one step, the sum that is released, and its rounding.

    Args:
        net: From records to logits (B, K); a float64 copy takes the step.
        x, y: Records (B, *S) and their classes (B,).
        bound: The clipping bound.

    Returns:
        What each record adds (B, P), the released sum (P,), and how much the order of summation may change.
    """
    net = copy.deepcopy(net).double()
    module, optimizer, loader = PrivacyEngine().make_private(
        module=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.0),
        data_loader=DataLoader(TensorDataset(x, y), batch_size=len(x)),
        noise_multiplier=0.0,
        max_grad_norm=bound,
        allow_no_privacy=True,
    )
    rows, labels = next(iter(loader))
    nn.functional.cross_entropy(module(rows), labels).backward()
    found, weights, _ = clipping_weights(
        optimizer.params, optimizer.capture.pending[0], optimizer.clip, mean=True
    )
    by_parameter = [(found[p], weight) for p, weight in zip(optimizer.params, weights, strict=True)]
    added = [
        torch.cat([_added_by(record, gradients, weight) for gradients, weight in by_parameter])
        for record in range(len(x))
    ]
    order = sum(float((weight * gradients.rounding_bound()).sum()) for gradients, weight in by_parameter)
    optimizer.step()
    optimizer.capture.remove()
    released = [p.grad.flatten() for p in net.parameters() if p.grad is not None]
    return torch.stack(added), torch.cat(released) * len(x), order


def _added_by(record: int, gradients: PerExampleGrads, weights: Tensor) -> Tensor:
    """What one record adds to the sum over a parameter's gradients, flat."""
    into = torch.zeros(gradients.shape, dtype=torch.float64)
    gradients.add_weighted_sum_to(into, torch.where(torch.arange(len(weights)) == record, weights, 0))
    return into.flatten()
