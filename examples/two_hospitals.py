"""Two hospitals train one model on X-rays that stay where they are; the server learns only sums of updates.

Two hospitals that trust each other are the smallest federation (``max_corrupt=0``): the sum hides each update
from the server, but each hospital can take its own update off the sum and then has the other's. If one
hospital may side with the server, three are needed, all of them in every round; of four or more, one may drop
out.
"""

import torch

import quintain as q
from quintain.core.errors import SettingError
from quintain.data import xrays
from quintain.models.nets import xray_cnn
from quintain.training import Recipe


def main() -> None:
    """Train over two hospitals, and be refused where one of the two may collude with the server."""
    data = xrays()
    hospitals = {
        "hospital-a": data.train.subset(range(0, 1200, 2)),
        "hospital-b": data.train.subset(range(1, 1200, 2)),
    }
    recipe = Recipe(epochs=2, batch_size=32, learning_rate=3e-3, schedule="constant")
    config = q.federated.FederatedConfig(rounds=3, local_recipe=recipe, max_corrupt=0)
    net = xray_cnn()
    run = q.federated.simulate(hospitals, net, config)
    assert all(one.simulated.exact and len(one.survivors) == 2 for one in run.rounds)

    x, y = data.test.tensors
    with torch.no_grad():
        accuracy = (net(x).argmax(1) == y).float().mean()
    print(f"{len(run.rounds)} rounds, each an exact sum over both; accuracy {accuracy:.0%}")

    try:
        q.federated.simulate(
            hospitals, net, q.federated.FederatedConfig(rounds=3, local_recipe=recipe, max_corrupt=1)
        )
    except SettingError as error:
        print(f"with one that may side with the server: {error}")


if __name__ == "__main__":
    main()
