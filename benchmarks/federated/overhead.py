"""What a simulated round costs beside the training at its sites: five sites of the X-rays, secure sums.

Processor time, since other processes share the machine. All that is not local training counts: models that
are packed, opened and compared, encoding, masks, signatures, the sum, and the attack on the server's view.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

from benchmarks.harness import Comparison
from quintain.data import load_data
from quintain.evaluate.federation_defaults import LOCAL_RECIPE
from quintain.federated import FederatedConfig, partition, simulate
from quintain.federated.strategies import strategy
from quintain.models.loading import load_classifier

NUM_SITES, ROUNDS = 5, 4


def run() -> Iterator[Comparison]:
    """One local epoch a round, which is the default, and two."""
    for epochs in (1, 2):
        yield _overhead(epochs)


def _overhead(epochs: int) -> Comparison:
    data = load_data("xrays").split("train")
    sites = partition(data, NUM_SITES, seed=1, min_per_class=5).sites
    channels, *_, size = data.shape
    net = load_classifier("xray-cnn", None, num_classes=2, seed=0, channels=channels, size=size).net
    config = FederatedConfig(ROUNDS, replace(LOCAL_RECIPE, epochs=epochs))
    simulate(sites, copy.deepcopy(net), replace(config, rounds=1))  # the first one imports and allocates
    training, fit = 0.0, strategy.fit

    def timed(*args, **settings):  # type: ignore[no-untyped-def]
        nonlocal training
        started = time.process_time()
        try:
            return fit(*args, **settings)
        finally:
            training += time.process_time() - started

    with mock.patch.object(strategy, "fit", timed):
        started = time.process_time()
        simulate(sites, net, config)
        whole = time.process_time() - started
    beside = whole - training
    return Comparison(
        f"a round of {NUM_SITES} sites, {epochs} local epochs",
        f"{training / ROUNDS:.2f} s of training, {beside / ROUNDS * 1e3:.0f} ms beside it: "
        f"{beside / training:.1%}",
    )
