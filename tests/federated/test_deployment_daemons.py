"""Sites as daemons of their own processes: only bytes between them, and the simulated model bit for bit."""

import signal
import socket
from contextlib import ExitStack

import pytest
import torch

from quintain.federated import Deadlines, HomomorphicSum, SharedKey, simulate
from quintain.federated.daemon import ask
from quintain.federated.deployment import ClientSettings, ServerSettings, approve, load_plan
from quintain.federated.streams import StreamTransport
from tests.federated.daemon_process import Command, daemon
from tests.federated.deployed import CLIENT, PLAN, RECIPE, deployed
from tests.federated.settings import weights

PATIENT = Deadlines(train=300.0, stage=300.0)
MASKED = 1
"""The stage of a secure sum in which vectors are sent, from 0."""


class Interrupted(StreamTransport):
    """A transport that calls a function before a stage.

    Args:
        stage: Its number, from 0.
        call: The function.
    """

    def __init__(self, sockets, stage, call):
        super().__init__(sockets, PATIENT)
        self.stages = {stage: call}
        self.turn = 0

    def arrivals(self, outgoing):
        self.stages.get(self.turn, lambda: None)()
        self.turn += 1
        yield from super().arrivals(outgoing)


def round_with(files, stage=-1, call=lambda: None):
    """One round by a server that starts from its state, over connections of its own."""
    settings = ServerSettings.load(files.folder / "server.toml")
    server = settings.server()
    with ExitStack() as opened:
        sockets = {}
        for site, name in enumerate(files.sites):
            sockets[site] = opened.enter_context(socket.socket(socket.AF_UNIX))
            sockets[site].connect(str(files.folder / name / "socket"))
        report = server.run_round(Interrupted(sockets, stage, call))
    settings.save_model(server)
    return server, report


def approved(folder, **changes):
    """The files of a federation that all sites have approved."""
    files = deployed(folder, **changes)
    for name in files.sites:
        approve(ClientSettings.load(files.client(name)))
    return files


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three daemons that have trained three rounds; the second was killed in the second and started again."""
    files = approved(tmp_path_factory.mktemp("federation"))
    with ExitStack() as opened:
        daemons = {name: opened.enter_context(daemon(files.folder / name)) for name in files.sites}
        lost = daemons["site-2"]
        reports = [round_with(files)[1], round_with(files, MASKED, lost.kill)[1]]
        daemons["site-2"] = opened.enter_context(daemon(files.folder / "site-2"))
        server, last = round_with(files)
        yield files, daemons, server, [*reports, last], lost


def test_a_killed_daemon_goes_on_from_its_state_and_the_model_is_the_simulated_one_bit_for_bit(trained):
    files, daemons, server, reports, lost = trained
    made = load_plan(files.folder / "plan.toml", files.roster)
    simulated = made.net
    run = simulate(files.sites, simulated, made.plan.config, dropouts={1: {"site-2": "masked"}})
    assert [one.dropped for one in reports] == [(), ("site-2",), ()]
    assert [one.survivors for one in reports] == [one.survivors for one in run.rounds]
    assert torch.equal(weights(server.net), weights(simulated))
    assert server.is_finished
    assert lost.process.exitcode == -signal.SIGKILL
    assert "after round 2" in daemons["site-2"].said[0]


def test_a_daemons_log_has_rounds_stages_loss_and_clipped_entries_and_is_its_sites_alone(trained):
    files, *_ = trained
    log = files.folder / "site-1" / "state" / "daemon.log"
    assert log.stat().st_mode & 0o777 == 0o600
    lines = log.read_text().splitlines()
    assert sum("checked, then trained for" in line for line in lines) == 3
    stages = ["task", "shares", "vector", "survivors signed", "sum opened"]
    of_second = [line for line in lines if "round 2 of 3" in line]
    assert [line.split("round 2 of 3, ")[1].split(":")[0] for line in of_second] == stages
    assert all("bytes in" in line and " s, " in line for line in of_second)
    assert "loss 0." in of_second[0]
    assert "of 74 entries clipped" in of_second[0]


def test_what_a_daemon_refuses_is_silence_to_the_server_and_a_line_at_the_site(trained):
    files, *_ = trained
    assert ask(files.folder / "site-1" / "socket", b"QFT1\x00\nnonsense", 300.0) is None
    told = (files.folder / "site-1" / "state" / "daemon.log").read_text()
    assert "refused after" in told
    assert "no message of a round" in told


def test_a_second_daemon_on_the_same_folders_or_socket_is_refused_and_the_first_goes_on(trained):
    files, *_ = trained
    home = files.folder / "site-1"
    second = Command("client", home=home)
    assert second.end() == 5
    assert "another daemon or server uses the folder" in second.said[-1]
    own = CLIENT.replace('"journal"', '"journal-2"').replace('"state"', '"state-2"')
    (home / "other.toml").write_text(own)
    approve(ClientSettings.load(home / "other.toml"))
    third = Command("client", "--config", "other.toml", home=home)
    assert third.end() == 5
    assert "another daemon listens at" in third.said[-1]
    shared = CLIENT.replace('"state"', '"state-2"').replace('"socket"', '"socket-2"')
    (home / "other.toml").write_text(shared)
    fourth = Command("client", "--config", "other.toml", home=home)
    assert fourth.end() == 5
    assert str(home / "journal") in fourth.said[-1]
    assert ask(home / "socket", b"still there?", 300.0) is None


@pytest.mark.parametrize(("site", "number"), [("site-1", signal.SIGTERM), ("site-3", signal.SIGINT)])
def test_a_daemon_that_is_told_to_end_ends_cleanly_and_removes_its_socket(trained, site, number):
    files, daemons, *_ = trained
    assert daemons[site].signal(number) == 0
    assert "stopped" in daemons[site].said[-1]
    assert not (files.folder / site / "socket").exists()


def test_a_daemon_that_is_told_to_end_while_it_trains_ends_cleanly(tmp_path):
    files = approved(tmp_path, plan=PLAN + RECIPE.replace("epochs = 1", "epochs = 1000000"))
    with daemon(tmp_path / "site-1") as command, socket.socket(socket.AF_UNIX) as one:
        one.connect(str(tmp_path / "site-1" / "socket"))
        network = StreamTransport({0: one}, Deadlines(train=0.0, stage=0.0))
        ServerSettings.load(files.folder / "server.toml").server().run_round(network)
        command.wait_for("checked, then trained for")
        assert command.signal(signal.SIGTERM) == 0
    assert "stopped" in command.said[-1]


STAGES = {
    "secagg": ["keys", "shares", "masked", "agree", "unmask"],
    "none": ["masked"],
    "he": ["masked", "agree", "unmask"],
}


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("secure", "number"),
    [(name, all_of.index(one)) for name, all_of in STAGES.items() for one in all_of if one != "keys"],
)
def test_a_kill_at_any_stage_is_that_dropout(tmp_path, secure, number):
    said, client = f'secure = "{secure}"\n', CLIENT
    if secure == "he":
        key = SharedKey.create()
        key.save(tmp_path / "key")
        said, client = f'{said}key_id = "{key.key_id.hex()}"\n', CLIENT + 'key = "../key"\n'
    files = approved(tmp_path, plan=said + PLAN + RECIPE, client=client)
    with ExitStack() as opened:
        daemons = {name: opened.enter_context(daemon(files.folder / name)) for name in files.sites}
        round_with(files)
        # the keys come with the reply to the task, so that the first stage is that of the shares
        round_with(files, number - (secure == "secagg"), daemons["site-3"].kill)
        opened.enter_context(daemon(files.folder / "site-3"))
        server, _ = round_with(files)
    made = load_plan(files.folder / "plan.toml", files.roster)
    simulated = made.net
    simulate(
        files.sites,
        simulated,
        made.plan.config,
        aggregation=HomomorphicSum(key) if secure == "he" else made.aggregation,
        dropouts={1: {"site-3": STAGES[secure][number]}},
    )
    assert torch.equal(weights(server.net), weights(simulated))
