"""A Flower app as people write it: torch, FedAvg, and nothing that knows of secure sums."""

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn

NUM_SITES = 5
EVALUATED = {"num-examples": 60, "eval_acc": 0.5}


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def data(site):
    rng = np.random.default_rng(site)
    labels = rng.integers(0, 2, 60)
    x = 0.3 * rng.standard_normal((60, 6)) + (labels[:, None] - 0.5)
    return torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels)


def trained(state, site, learning_rate):
    """The state after two passes over a site's data."""
    model = net()
    model.load_state_dict(state)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    x, y = data(site)
    for rows in torch.arange(60).split(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model.state_dict()


def client_app(mods=()):
    """The app; ``mods`` is the one line that makes it secure."""
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        state = trained(
            message.content["arrays"].to_torch_state_dict(),
            context.node_config["partition-id"],
            message.content["config"]["lr"],
        )
        content = RecordDict(
            {"arrays": ArrayRecord(state), "metrics": MetricRecord({"num-examples": 60, "train_loss": 0.1})}
        )
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(
            RecordDict({"metrics": MetricRecord(EVALUATED), "arrays": ArrayRecord(net().state_dict())}),
            reply_to=message,
        )

    return app


def config():
    return ConfigRecord({"lr": 0.1})
