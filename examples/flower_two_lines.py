"""A Flower app made secure in two lines: a mod in its ClientApp, and a strategy around its own strategy.

Flower's simulation engine runs five hospitals. The rest is the app as it was, and ``enroll``, which does what
each site does once: make its identity, sign the roster of all sites, and write the file with its own terms.
Run it in an environment with Flower 1.42:
``pip install 'quintain[fed]' 'flwr[simulation]'``.
"""

import os
import tempfile
from pathlib import Path

os.environ |= {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from torch import nn

from quintain.federated.enrollment import load_roster, save_identity, save_roster
from quintain.federated.flower import SecAgg, SiteSettings, SumTerms, secagg_mod
from quintain.federated.secagg import Identity, Roster

SITES = 5
FOLDER = Path(tempfile.mkdtemp())


def site_file(context: Context) -> SiteSettings:
    """Load the file of a simulated site; a real site names its file in --node-config, for secagg_mod()."""
    return SiteSettings.load(FOLDER / f"site-{context.node_config['partition-id']}.toml")


client = ClientApp(mods=[secagg_mod(site_file)])  # the first line; was: ClientApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """Fit a line to this site's own points."""
    model = nn.Linear(1, 1)
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x = torch.linspace(-1, 1, 50)[:, None] + float(context.node_config["partition-id"]) / SITES
    optimizer = torch.optim.SGD(model.parameters(), lr=message.content["config"]["lr"])
    for _ in range(20):
        optimizer.zero_grad()
        (model(x) - (2 * x - 1)).square().mean().backward()
        optimizer.step()
    return Message(
        RecordDict(
            {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord({"num-examples": len(x)})}
        ),
        reply_to=message,
    )


server = ServerApp()


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Average the sites' models in four rounds."""
    strategy = FedAvg(fraction_evaluate=0.0, min_available_nodes=SITES)
    terms = SumTerms(load_roster(FOLDER / "roster.toml"))
    strategy = SecAgg(strategy, terms, run_config=context.run_config)  # the second line
    result = strategy.start(
        grid,
        ArrayRecord(nn.Linear(1, 1).state_dict()),
        num_rounds=4,
        train_config=ConfigRecord({"lr": 0.1}),
    )
    slope, offset = (array.numpy().item() for array in result.arrays.values())
    print(
        f"y = {slope:.2f} x {offset:+.2f}, of sums over {[len(r.survivors) for r in strategy.reports]} sites"
    )
    assert abs(slope - 2) < 0.2


def enroll() -> None:
    """Write the files that each site writes for itself, and the roster, which all sites have signed.

    Before real sites sign, they compare its keys by telephone.
    """
    identities = [Identity.create(f"hospital-{site}") for site in range(SITES)]
    save_roster(FOLDER / "roster.toml", Roster.from_identities(*identities), identities)
    for site, identity in enumerate(identities):
        save_identity(FOLDER / f"identity-{site}.toml", identity)
        (FOLDER / f"site-{site}.toml").write_text(
            f'identity = "identity-{site}.toml"\nroster = "roster.toml"\n'
            f'rounds = "rounds-{site}"\njournal = "journal-{site}"\n'
        )


if __name__ == "__main__":
    enroll()
    run_simulation(
        server, client, SITES, backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    )
