"""What Flower's SecAgg+ costs a client, stage by stage: run by ``flower.py`` in an environment with flwr.

Its legacy client functions are called one after the other, as its client mod does, without any network.
"""

import json
import statistics
import sys
import time
from importlib import import_module
from typing import Any

import numpy as np
from flwr.common import ndarrays_to_parameters
from flwr.common.secure_aggregation.secaggplus_constants import Key
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

# the package has a function of the module's name
mod = import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")


def main(num_sites: int, length: int) -> None:
    """Print the median milliseconds of a client, and of one mask, as JSON."""
    threshold = 2 * num_sites // 3 + 1
    setup: dict[str, Any] = {
        Key.SAMPLE_NUMBER: num_sites,
        Key.SHARE_NUMBER: num_sites,
        Key.THRESHOLD: threshold,
        Key.CLIPPING_RANGE: 1.0,
        Key.TARGET_RANGE: 1 << 22,
        Key.MOD_RANGE: 1 << 32,
        Key.MAX_WEIGHT: 1000.0,
    }
    parameters = ndarrays_to_parameters([np.random.default_rng(0).uniform(-1, 1, length)])
    states = {i: mod.SecAggPlusState(current_stage="setup", nid=i) for i in range(num_sites)}
    spent = dict.fromkeys(states, 0.0)

    def timed(site: int, work: Any, *arguments: Any) -> Any:
        clock = time.process_time()
        reply = work(states[site], *arguments)
        spent[site] += time.process_time() - clock
        return reply

    keys = {i: timed(i, mod._setup, setup) for i in states}
    listed = {str(i): (reply[Key.PUBLIC_KEY_1], reply[Key.PUBLIC_KEY_2]) for i, reply in keys.items()}
    inbox: dict[int, dict[str, list[Any]]] = {
        i: {Key.SOURCE_LIST: [], Key.CIPHERTEXT_LIST: []} for i in states
    }
    for i in states:
        reply = timed(i, mod._share_keys, listed)
        for receiver, sealed in zip(reply[Key.DESTINATION_LIST], reply[Key.CIPHERTEXT_LIST], strict=True):
            inbox[receiver][Key.SOURCE_LIST].append(i)
            inbox[receiver][Key.CIPHERTEXT_LIST].append(sealed)
    size = 0
    for i in states:
        reply = timed(i, mod._collect_masked_vectors, inbox[i], 1000, parameters)
        size = sum(len(part) for part in reply[Key.MASKED_PARAMETERS])
    for i in states:
        timed(i, mod._unmask, {Key.ACTIVE_NODE_ID_LIST: list(states), Key.DEAD_NODE_ID_LIST: []})
    clock = time.process_time()
    pseudo_rand_gen(bytes(32), 1 << 32, [(length,)])
    mask = time.process_time() - clock
    said = {"client": statistics.median(spent.values()) * 1e3, "mask": mask * 1e3, "bytes": size / length}
    print(json.dumps(said))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
