"""Whether private training starts from weights that a factory gives, for which no accountant can answer."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from quintain.core.registry import declared_entries
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.evaluate.leaks.trainers import NetBuilder
from quintain.evaluate.model import is_better_than_majority
from quintain.models.classifier import Classifier

PROBED = 100
"""Test examples on which it is seen whether nets of a factory have learned."""

SEEDS = tuple(derive_seed(0, "first weights", number) for number in range(4))
"""Nets by so many seeds must be better than the majority class before they are said to have learned."""

QUANTIZED = frozenset({torch.int8, torch.uint8})
"""Integers that weights are rounded to; larger ones count or number something."""

ASSUMED = (
    "epsilon covers what private training adds, and nothing that these weights hold already. Assumed: they "
    "were made without the records, as when a net is fine-tuned that was trained on other data"
)


def first_weights_notes(builder: NetBuilder, examples: Dataset | None) -> tuple[str, ...]:
    """Return the assumption that private training rests on where a factory gives weights of its own.

    They are seen to be its own where some are the same for two seeds, or where nets by several seeds are
    better than the majority class. To start from them is legitimate (fine-tuning), if they were not learned
    from the records to be protected: that is a fact about the past, which no check of the net can see.

    Args:
        builder: Builds the net whose training is private.
        examples: Test examples, which may be looked at without noise; by none, nets are not tried.
    """
    if builder.model in declared_entries("model"):
        return ()
    nets = [builder(seed).cpu() for seed in SEEDS[:2]]
    given = given_weights(*(net.state_dict() for net in nets))
    if given:
        more = f" and {len(given) - 1} more" if len(given) > 1 else ""
        return (f"{builder.model} gives the same weights for every seed ({given[0]}{more}): {ASSUMED}",)
    if examples is None:
        return ()
    if all(has_learned(builder(seed), examples) for seed in SEEDS):
        return (f"{builder.model} gives weights that have learned, whatever the seed: {ASSUMED}",)
    return ()


def has_learned(net: nn.Module, examples: Dataset) -> bool:
    """Return whether a net is better than the majority class on some of the examples, beyond chance."""
    few = examples.sample(PROBED, seed=derive_seed(0, "probe"))
    return is_better_than_majority(Classifier(net, num_classes=few.num_classes), few)


def given_weights(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of weights and buffers that are the same in the states of nets by two seeds.

    Those of one number over and over, such as the ones and zeros that a normalization starts from, are left
    out: they hold nothing.
    """
    return tuple(
        name
        for name, value in one.items()
        if isinstance(value, Tensor)
        and (value.is_floating_point() or value.dtype in QUANTIZED)
        and bool((value != value.flatten()[:1]).any())
        and name in other
        and torch.equal(value, other[name])
    )
