"""One step of local training on a few examples: a net that no site can train is refused at once."""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from quintain.data.dataset import Dataset
from quintain.dp import fit
from quintain.federated.config import FederatedConfig
from quintain.federated.local import check_buffers, check_trainable, trainable
from quintain.federated.plan import CLEAN_CROSS_ENTROPY
from quintain.federated.strategies.strategy import LocalTraining

NUM_EXAMPLES = 8


def try_training(net: nn.Module, config: FederatedConfig, data: Dataset) -> None:
    """Take a step of a site's training on a copy of a net, and forget it.

    Args:
        net: As the sites get it; neither it nor PyTorch's random numbers are changed.
        config: How they train.
        data: Of which a few examples are taken.

    Raises:
        ModelError: If there is nothing to train, or training changes a buffer that would be averaged.
        PrivacyError: If a layer cannot be trained privately, where the sites are to.
    """
    common = config.strategy.common_model(net)
    check_trainable(common)
    few = data.subset(np.arange(min(NUM_EXAMPLES, len(data))))

    def private_fit(twin: nn.Module) -> None:
        assert config.site_privacy is not None
        fit(twin, few, replace(config.site_privacy.plan(len(few), 1, noise_multiplier=1.0), steps=1))

    training = LocalTraining(
        few,
        replace(config.local_recipe, epochs=1),
        CLEAN_CROSS_ENTROPY,
        seed=0,
        trainable=frozenset(name for name, _ in trainable(net)),
        private_fit=None if config.site_privacy is None else private_fit,
    )
    twin = copy.deepcopy(common)
    with torch.random.fork_rng():
        config.strategy.train(twin, {}, training)
    check_buffers(common, twin)
