"""``docs/deploy.md`` on loopback: its commands in its order, every program a process, kills in each stage."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from quintain.data import xrays
from quintain.federated import Deadlines, simulate
from quintain.federated.deployment import ServerSettings, load_plan
from quintain.federated.enrollment import load_identity, load_roster
from tests.flower.machines import (
    PATIENCE,
    Machine,
    Restarted,
    copy_app,
    documented,
    free_port,
    is_listening,
    wait_until,
)

SITES = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
PER_SITE = 150
CLIENT = Path(__file__).with_name("ending_client.py")

KILLS = {
    "hospital-a": {2: "training", 5: "unmask"},
    "hospital-b": {1: "training", 3: "masked"},
    "hospital-c": {0: "shares"},
    "hospital-d": {4: "consistency"},
}
"""By the rounds' counters: the third round has two, since the server is killed in it."""
DROPOUTS = {
    0: {"hospital-c": "shares"},
    1: {"hospital-b": "keys"},  # it has not trained, which is not seen in the sum
    2: {"hospital-b": "masked"},
    3: {"hospital-d": "agree"},
    4: {"hospital-a": "unmask"},
}
SURVIVORS = [
    ("hospital-a", "hospital-b", "hospital-d"),
    ("hospital-a", "hospital-c", "hospital-d"),
    ("hospital-a", "hospital-c", "hospital-d"),
    SITES,
    SITES,
]

KILLED_SERVER = """
# Once, in the third round, the process ends when all have agreed who is in the sum and none has opened it.
import os
from pathlib import Path

from quintain.federated.flower.grid_transport import GridTransport
from quintain.federated.secagg.messages import MessageType, message_type_of

exchange, marker, openings = GridTransport.exchange, Path({marker!r}), []


def ending(transport, outgoing):
    if any(message_type_of(one) is MessageType.SIGNATURES for one in outgoing.values()):
        openings.append(1)
        if len(openings) == 3 and not marker.exists():
            marker.touch()
            os._exit(9)
    return exchange(transport, outgoing)


GridTransport.exchange = ending
"""


def xrays_of(site):
    """A site's X-rays: every fourth of the first ones."""
    return xrays().train.subset(range(SITES.index(site), PER_SITE * len(SITES), len(SITES)))


class Federation:
    """The server's machine and the sites'."""

    def __init__(self, folder):
        self.port = free_port()
        self.server = Machine(folder, "server", self.port)
        self.sites = {name: Machine(folder, name, self.port) for name in SITES}
        self.daemons = []

    def enroll(self):
        """Identities, the roster, and the signatures of all under it."""
        enroll, combine = (
            documented("quintain enroll hospital-a")[0],
            documented("quintain enroll --roster a")[0],
        )
        together, sign = documented("quintain enroll --member")[0], documented("quintain enroll --sign")[0]
        meeting = self.server.folder / "etc"
        for letter, (name, machine) in zip("abcd", self.sites.items(), strict=True):
            said = machine.run(enroll.replace("hospital-a", name))
            assert f"{name}: " in said
            (meeting / letter).mkdir()
            (meeting / letter / "member.toml").write_bytes((machine.folder / "etc/member.toml").read_bytes())
        said = self.server.run(together)
        assert all(f"{name}: " in said for name in SITES)
        for letter, machine in zip("abcd", self.sites.values(), strict=True):
            copy = machine.folder / "etc/roster.toml"
            copy.write_bytes((meeting / "roster.toml").read_bytes())
            machine.run(sign)
            (meeting / letter / "roster.toml").write_bytes(copy.read_bytes())
        self.server.run(combine)
        for machine in self.sites.values():
            (machine.folder / "etc/roster.toml").write_bytes((meeting / "roster.toml").read_bytes())

    def plan(self):
        """Plan and data, and the approval of each site."""
        self.server.copy("plan.toml", "net.py", "server.toml")
        settings = self.server.folder / "etc/server.toml"
        # no deadline decides who drops out, however busy the machine is
        patient = re.sub(r"(train|stage|gather) = \d+", rf"\1 = {PATIENCE}", settings.read_text())
        settings.write_text(patient)
        assert ServerSettings.load(settings).deadlines == Deadlines(PATIENCE, PATIENCE, PATIENCE)
        for name, machine in self.sites.items():
            machine.copy("plan.toml", "net.py", "client.toml")
            x, y = xrays_of(name).batch(np.arange(PER_SITE))
            np.savez(
                machine.folder / "srv/xrays.npz",
                train_images=x.numpy(),
                train_labels=y.numpy(),
                class_names=["normal", "pneumonia"],
            )
            said = machine.run(documented("quintain client approve")[0])
            assert "net.py:make" in said

    def certify(self):
        """Certificates and the SuperNodes' keys, each where it belongs."""
        commands = documented("openssl")
        for command in (*commands[:2], *documented("printf"), *commands[2:], *documented("chmod 600")):
            self.server.run(command)
        for name, machine in self.sites.items():
            machine.run(documented("ssh-keygen")[0].replace("hospital-a", name))
            (machine.folder / "etc/ca.pem").write_bytes((self.server.folder / "etc/ca.pem").read_bytes())

    def renew(self):
        """Another certificate for the server, by the same authority."""
        for command in (*documented("openssl")[1:], *documented("chmod 600")):
            self.server.run(command)

    def start_superlink(self):
        process = self.server.start(documented("flower-superlink")[0], "superlink.log")
        wait_until(lambda: is_listening(self.port), process, lambda: self.server.log("superlink.log"))
        return process

    def configure(self):
        """Tell Flower's command line where the SuperLink is."""
        lines = [
            *documented("[superlink]"),
            *documented("default ="),
            "",
            *documented("[superlink.federation]"),
        ]
        lines += [*documented("address ="), *documented("root-certificates =")]
        (self.server.folder / "flwr/config.toml").write_text(self.server.here("\n".join(lines) + "\n"))

    def register(self):
        """Let the SuperNodes in."""
        for machine in self.sites.values():
            public = machine.folder / "etc/node.pub"
            command = documented("flwr supernode register")[0].replace("hospital-a/node.pub", str(public))
            assert "registered successfully" in self.server.run(command)

    def start_sites(self, kills):
        """The daemons, each under the test's own hand, and the SuperNodes."""
        for name, machine in self.sites.items():
            command = documented("quintain client --config")[0].removeprefix("quintain ")
            said = json.dumps(kills.get(name, {}))
            self.daemons.append(
                Restarted(machine, f"{sys.executable} {CLIENT} '{said}' {command}", "client.log")
            )
            node = documented("flower-supernode")[0]
            machine.start(f"{node} --port {free_port()}", "supernode.log")

    def stop(self):
        for daemon in self.daemons:
            daemon.stop()
        for machine in (*self.sites.values(), self.server):
            machine.stop()


@pytest.fixture
def federation(tmp_path):
    found = Federation(tmp_path)
    yield found
    found.stop()


def test_all_machines(federation, tmp_path):
    """A site is killed in each stage, the server in one, and all of them are started again.

    The server has another certificate then.
    """
    server, marker = federation.server, tmp_path / "killed"
    federation.enroll()
    federation.plan()
    federation.certify()
    superlink = federation.start_superlink()
    federation.configure()
    federation.register()
    federation.start_sites(KILLS)
    copy_app(server.folder / "etc", KILLED_SERVER.format(marker=str(marker)))
    (settings,) = (server.folder / "etc/app").glob("pyproject.toml")
    settings.write_text(server.here(settings.read_text()))

    run = documented("flwr run")[0]
    first = server.start(run, "first.log")
    wait_until(marker.exists, first, lambda: server.log("first.log"))
    os.killpg(superlink.pid, signal.SIGKILL)
    os.killpg(first.pid, signal.SIGKILL)
    superlink.wait(timeout=PATIENCE)
    federation.renew()
    federation.start_superlink()
    second = server.start(run, "second.log")
    second.wait(timeout=PATIENCE)
    model = server.folder / "lib/federated.safetensors"

    told = server.log("first.log") + server.log("second.log")
    reports = ServerSettings.load(server.folder / "etc/server.toml").server().state.reports
    assert [report.survivors for report in reports] == SURVIVORS, told
    plan = load_plan(server.folder / "etc/plan.toml", load_roster(server.folder / "etc/roster.toml"))
    simulate({name: xrays_of(name) for name in SITES}, plan.net, plan.plan.config, dropouts=DROPOUTS)
    expected, found = plan.net.state_dict(), load_file(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)

    assert [daemon.codes for daemon in federation.daemons] == [[9] * len(KILLS[name]) for name in SITES]
    for number, stage, name in (
        (1, "shares", "hospital-c"),
        (2, "training", "hospital-b"),
        (3, "training", "hospital-a"),
        (3, "masked", "hospital-b"),
        (4, "consistency", "hospital-d"),
        (5, "unmask", "hospital-a"),
    ):
        assert f"round {number} of 5: {stage}: 3 of 4 sites, late or silent: {name}; " in told
    assert f"the model of 5 rounds is in {model}, SHA-256 " in told
    held = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    for machine in federation.sites.values():
        identity = load_identity(machine.folder / "etc/identity.toml")
        private = bytes(identity.private.peek())
        assert private not in held
        assert private.hex().encode() not in held


def test_an_expired_certificate_is_refused_by_site_and_command_line(federation):
    """The page's commands with a validity of no days; nothing is sent under the certificate."""
    federation.certify()
    expired = documented("openssl")[2].replace("-days 365", "-days 0")
    federation.server.run(expired)
    federation.start_superlink()
    machine = federation.sites["hospital-a"]
    node = machine.start(f"{documented('flower-supernode')[0]} --port {free_port()}", "supernode.log")
    assert node.wait(timeout=PATIENCE) != 0
    assert "certificate has expired" in machine.log("supernode.log")
    federation.configure()
    said = federation.server.run(documented("flwr supernode list")[0], fails=True)
    assert "unavailable" in said
