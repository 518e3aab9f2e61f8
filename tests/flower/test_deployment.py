"""SuperLink and SuperNodes as processes on loopback, with a process for each message, as when deployed."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from quintain.federated.secagg.encoding import finest_encoding
from tests.flower.federation import enroll

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SITES, ROUNDS, LENGTH = 3, 1, 40
PATIENCE = 600

PROJECT = """
[project]
name = "loopback"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "quintain"

[tool.flwr.app.components]
serverapp = "loopback.apps:server"
clientapp = "loopback.apps:client"

[tool.flwr.app.config]
roster = ""
model = ""
"""

APPS = f"""
from pathlib import Path
import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from quintain.federated.enrollment import load_roster
from quintain.federated.flower import SecAgg, SumTerms, secagg_mod

client = ClientApp(mods=[secagg_mod()])

@client.train()
def train(message, context):
    weights = message.content["arrays"]["weights"].numpy()
    site = context.node_config["partition-id"]
    new = 0.9 * weights + np.linspace(0, 0.1, {LENGTH}, dtype=np.float32) * (site + 1)
    arrays = ArrayRecord({{"weights": Array(new.astype(np.float32))}})
    content = RecordDict({{"arrays": arrays, "metrics": MetricRecord({{"num-examples": 1}})}})
    return Message(content, reply_to=message)

server = ServerApp()

@server.main()
def main(grid, context):
    config = context.run_config
    strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes={SITES}, min_available_nodes={SITES})
    strategy = SecAgg(strategy, SumTerms(load_roster(Path(config["roster"]))), {PATIENCE}, context.run_config)
    first = ArrayRecord({{"weights": Array(np.zeros({LENGTH}, np.float32))}})
    result = strategy.start(grid, first, {ROUNDS}, timeout={PATIENCE})
    np.save(config["model"], result.arrays["weights"].numpy())
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(process, port):
    """Wait until a process listens, or end with the test if it ends."""
    for _ in range(5 * PATIENCE):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
        break
    raise AssertionError("nobody listens")


def expected():
    """The model of a plain sum of integers."""
    weights = np.zeros(LENGTH, np.float32)
    encoding = finest_encoding(LENGTH, 1.0, SITES)
    for _ in range(ROUNDS):
        total = 0
        for site in range(SITES):
            new = 0.9 * weights + np.linspace(0, 0.1, LENGTH, dtype=np.float32) * (site + 1)
            update = new.astype(np.float32).astype(np.float64) - weights
            total = total + encoding.to_signed(encoding.quantize(update))
        weights = (weights + encoding.decode(total) / SITES).astype(np.float32)
    return weights


def test_a_real_deployment_on_loopback_makes_the_model_of_a_plain_sum_of_integers(tmp_path):
    enroll(tmp_path, SITES)
    app = tmp_path / "app"
    (app / "loopback").mkdir(parents=True)
    (app / "pyproject.toml").write_text(PROJECT)
    (app / "loopback" / "__init__.py").write_text("")
    (app / "loopback" / "apps.py").write_text(APPS)
    port = free_port()
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        '[superlink]\ndefault = "loopback"\n\n[superlink.loopback]\n'
        f'address = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    logs = []

    def start(*command):
        logs.append(tmp_path / f"log-{len(logs)}.txt")
        return subprocess.Popen(
            [BIN / command[0], *command[1:]],
            env=environment,
            cwd=tmp_path,
            stdout=logs[-1].open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    flag = "--disable-runtime-dependency-installation"
    processes = [start("flower-superlink", "--insecure", "--port", str(port), flag)]
    try:
        wait_for(processes[0], port)
        for site in range(SITES):
            node = f'quintain-site="{tmp_path}/site-{site}.toml" partition-id={site}'
            processes.append(
                start(
                    "flower-supernode",
                    "--insecure",
                    "--superlink",
                    f"127.0.0.1:{port}",
                    "--port",
                    str(free_port()),
                    "--node-config",
                    node,
                )
            )
        settings = f'roster="{tmp_path}/roster.toml" model="{tmp_path}/model.npy"'
        run = start("flwr", "run", str(app), "loopback", "--stream", "--run-config", settings)
        processes.append(run)
        run.wait(timeout=PATIENCE)
        told = "\n".join(log.read_text() for log in logs)
        assert (tmp_path / "model.npy").exists(), told[-8000:]
        assert np.array_equal(np.load(tmp_path / "model.npy"), expected())
        assert list(tmp_path.glob("journal-*/refused.log")) == []
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, 15)
                process.wait(timeout=60)
