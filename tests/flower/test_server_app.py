"""The ServerApp of a deployment: from its settings' files to the model, through a kill, a line a stage."""

import shutil
import threading
from dataclasses import replace

import pytest
import torch
from flwr.app import Context, RecordDict
from safetensors.torch import load_file

from quintain.core.errors import ProtocolError, SettingError, StorageError
from quintain.federated import simulate
from quintain.federated.daemon import listen, serve_daemon
from quintain.federated.deployment import ClientSettings, ServerSettings, load_plan
from quintain.federated.deployment.folders import lock_folder
from quintain.federated.deployment.plan_file import PlanFile
from quintain.federated.enrollment import enroll, load_identity, save_roster
from quintain.federated.flower.deployment_server import run_deployment, server_app, settings_path
from quintain.federated.flower.stub import RECORD, stub_app
from quintain.federated.privacy import noise_privacy, text_of
from quintain.federated.roster_versions import write_next_roster
from quintain.federated.round_messages import RoundMessage, open_header
from tests.federated.deployed import PLAN, RECIPE, SERVER, deployed
from tests.flower.federation import NODES, InProcessGrid


class Killed(BaseException):
    """The server's process ends here."""


class Grid(InProcessGrid):
    """Kills the server in one of its calls, and has only the nodes whose sites are there."""

    def __init__(self, app, killed_at=-1):
        super().__init__(app)
        self.killed_at = killed_at

    def send_and_receive(self, messages, *, timeout=None):
        if self.turn + 1 == self.killed_at:
            raise Killed
        return super().send_and_receive(messages, timeout=timeout)

    def push_messages(self, messages):
        return super().send_and_receive(messages)


@pytest.fixture
def files(tmp_path):
    """A federation's files, with deadlines that no test meets."""
    found = deployed(tmp_path)
    (tmp_path / "server.toml").write_text(SERVER + "[deadlines]\ntrain = 600\nstage = 600\ngather = 600\n")
    return found


class Daemons:
    """The daemons of all sites, each from its files, and the stub app before them."""

    def __init__(self, files):
        self.files, self.listening = files, []

    def start(self):
        for name in self.files.sites:
            settings = ClientSettings.load(self.files.client(name))
            identity, roster = settings.members()
            client = settings.client(settings.deployment(PlanFile.load(settings.plan), roster), identity)
            self.listening.append(listen(settings.socket))
            threading.Thread(
                target=serve_daemon, args=(client.handle, self.listening[-1]), daemon=True
            ).start()

    def stop(self):
        for one in self.listening:
            one.shutdown(2)
            one.close()
        self.listening = []

    @property
    def app(self):
        sockets = [ClientSettings.load(self.files.client(name)).socket for name in self.files.sites]
        # the nodes' numbers say nothing: the last one is the first site's
        return stub_app(lambda context: sockets[-1 - context.node_config["partition-id"] % len(sockets)])


@pytest.fixture
def daemons(files):
    started = Daemons(files)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def app(daemons):
    return daemons.app


@pytest.fixture(autouse=True)
def three_nodes(monkeypatch):
    monkeypatch.setattr(InProcessGrid, "get_node_ids", lambda self: NODES[:3])


def simulated(files):
    made = load_plan(files.folder / "plan.toml", files.roster)
    simulate(files.sites, made.net, made.plan.config)
    return made.net.state_dict()


def is_training(message):
    return open_header(message.content[RECORD]["message"])[0] is RoundMessage.TRAIN


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_all_rounds_run_by_the_settings_file_and_end_in_the_simulated_model(files, app):
    lines = []
    server = run_deployment(Grid(app), ServerSettings.load(files.folder / "server.toml"), lines.append)
    assert server.is_finished
    assert same(load_file(files.folder / "federated.safetensors"), simulated(files))
    stages = ["training", "training", "keys", "shares", "masked", "consistency", "unmask", "the sum of"]
    assert len(lines) == 3 * len(stages) + 1
    for number in range(3):
        told = lines[number * len(stages) : (number + 1) * len(stages)]
        assert all(
            line.startswith(f"round {number + 1} of 3: {stage}")
            for line, stage in zip(told, stages, strict=True)
        )
    assert lines[-1].startswith(
        f"the model of 3 rounds is in {files.folder / 'federated.safetensors'}, SHA-256"
    )


def test_the_last_line_has_the_epsilon_of_noise_on_the_sums(files):
    noise = "[noise]\nclip_norm = 0.5\nnoise_multiplier = 1\n"
    (files.folder / "plan.toml").write_text(PLAN.replace("rounds = 3", "rounds = 1") + RECIPE + noise)
    daemons, lines = Daemons(files), []
    daemons.start()
    try:
        settings = ServerSettings.load(files.folder / "server.toml")
        server = run_deployment(Grid(daemons.app), settings, lines.append)
    finally:
        daemons.stop()
    assert server.state.reports[0].survivors == tuple(files.sites)
    assert lines[-2].startswith("the model of 1 rounds is in ")
    spent = noise_privacy(server.plan, server.aggregation, [3])
    assert lines[-1].startswith(text_of(spent))


def test_a_server_that_is_killed_is_run_again_and_ends_with_the_same_model(files, app):
    """One call finds the sites, and a round is five."""
    settings = ServerSettings.load(files.folder / "server.toml")
    with pytest.raises(Killed):
        run_deployment(Grid(app, killed_at=1 + 5 + 4), settings, lambda line: None)
    so_far = load_file(settings.model)
    lines = []
    server = run_deployment(Grid(app), settings, lines.append)
    assert not same(load_file(settings.model), so_far)
    assert lines[0].startswith("round 2 of 3: ")
    assert [report.dropped for report in server.state.reports] == [()] * 3
    assert server.state.next_counter == 4
    assert same(load_file(settings.model), simulated(files))
    again = []
    run_deployment(Grid(app), settings, again.append)
    assert again == lines[-1:]


def test_under_the_next_roster_another_training_begins_from_the_last_model(files, daemons):
    """A run ends between two rounds; a site gets another key, which revokes the old one, and all go on."""
    settings = ServerSettings.load(files.folder / "server.toml")
    with pytest.raises(Killed):
        run_deployment(Grid(daemons.app, killed_at=1 + 5), settings, lambda line: None)
    daemons.stop()
    folder, name = files.folder, next(iter(files.sites))
    enroll(folder / "new", name)
    roster = write_next_roster(folder / "next", folder / "roster.toml", [folder / "new" / "member.toml"])
    assert [one for one, _ in roster.revoked] == [name]
    shutil.copy(folder / "new" / "identity.toml", folder / name / "identity.toml")
    identities = [load_identity(folder / one / "identity.toml") for one in files.sites]
    save_roster(folder / "next" / "roster.toml", roster, identities)
    shutil.copy(folder / "next" / "roster.toml", folder / "roster.toml")
    first = shutil.copy(settings.model, folder / "first.safetensors")
    (folder / "plan.toml").write_text('initial_weights = "first.safetensors"\n' + PLAN + RECIPE)
    daemons.start()
    server = run_deployment(
        Grid(daemons.app), replace(settings, state=folder / "second.safetensors"), lambda line: None
    )
    assert [report.dropped for report in server.state.reports] == [()] * 3
    expected = simulated(files)
    assert same(load_file(settings.model), expected)
    assert not same(load_file(first), expected)


def test_one_run_at_a_time_has_a_state(files, app):
    settings = ServerSettings.load(files.folder / "server.toml")
    with lock_folder(files.folder), pytest.raises(StorageError, match="uses the folder"):
        run_deployment(Grid(app), settings, lambda line: None)
    assert not settings.state.exists()


def test_if_all_rounds_are_abandoned_there_is_no_model_and_the_reason_is_told(files, app):
    settings = ServerSettings.load(files.folder / "server.toml")
    grid = Grid(app)
    grid.silent = lambda site, kind, turn: site < 2 and is_training(grid.sent[-1][1])
    with pytest.raises(ProtocolError, match="all 3 rounds were abandoned, the model is as it was"):
        run_deployment(grid, settings, lambda line: None)
    assert not settings.model.exists()


def test_no_site_is_waited_for_where_proven_cheats_leave_too_few_for_any_sum(files, app, monkeypatch):
    settings = ServerSettings.load(files.folder / "server.toml")
    server = settings.server()
    server.state = replace(server.state, cheaters=dict.fromkeys(list(files.sites)[:2], "proven"))
    server._save()
    # the third site is away for good
    monkeypatch.setattr(InProcessGrid, "get_node_ids", lambda self: pytest.fail("it looked for sites"))
    lines = []
    with pytest.raises(ProtocolError, match=r"all 3 rounds were abandoned.* no site was asked to train: "):
        run_deployment(Grid(app), settings, lines.append)
    assert [line.split(":")[0] for line in lines] == [f"round {number} of 3" for number in (1, 2, 3)]
    assert all("no site was asked to train: without site-1, site-2" in line for line in lines)


def test_the_settings_come_from_the_run_or_the_environment_and_are_missed_by_name(monkeypatch, tmp_path):
    def context(**config):
        return Context(1, 1, {}, RecordDict(), config)

    monkeypatch.delenv("QUINTAIN_SERVER", raising=False)
    with pytest.raises(SettingError, match="neither quintain-server of the run's configuration nor QUINTAIN"):
        settings_path(context())
    monkeypatch.setenv("QUINTAIN_SERVER", str(tmp_path / "there"))
    assert settings_path(context()) == tmp_path / "there"
    assert settings_path(context(**{"quintain-server": ""})) == tmp_path / "there"
    assert settings_path(context(**{"quintain-server": "/etc/here"})).as_posix() == "/etc/here"
    monkeypatch.delenv("QUINTAIN_SERVER")
    with pytest.raises(SettingError, match="neither quintain-server"):
        server_app()(InProcessGrid(None), context())
