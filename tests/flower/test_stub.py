"""Daemons behind stub apps: the server over Flower's grid makes the model of the simulation bit for bit."""

import threading

import torch
from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from quintain.federated import Deadlines, simulate
from quintain.federated.daemon import listen, serve_daemon
from quintain.federated.flower.grid_transport import GridTransport
from quintain.federated.flower.stub import RECORD, stub_app
from tests.federated.settings import Party, linear, weights
from tests.flower.federation import NODES, InProcessGrid

PATIENT = Deadlines(train=300.0, stage=300.0)


class PushingGrid(InProcessGrid):
    def push_messages(self, messages):
        return self.send_and_receive(messages)


def sockets_in(folder):
    return lambda context: folder / f"socket-{context.node_config['partition-id']}"


def test_the_model_over_daemons_and_stubs_is_the_simulated_one_bit_for_bit(tmp_path):
    """The last site is silent from its masked vector of the second round on."""
    party = Party()
    turns = iter(range(10**6))

    def failing(message):
        if next(turns) == 5 + 2:
            raise OSError("patient 17: disk full")
        return party.clients[-1].handle(message)

    handles = [*(client.handle for client in party.clients[:-1]), failing]
    listening = [listen(tmp_path / f"socket-{site}") for site in range(len(handles))]
    for handle, one in zip(handles, listening, strict=True):
        threading.Thread(target=serve_daemon, args=(handle, one), daemon=True).start()
    grid = PushingGrid(stub_app(sockets_in(tmp_path)))
    server = party.server()
    reports = server.run(GridTransport(grid, dict(enumerate(NODES[: len(handles)])), PATIENT))
    for one in listening:
        one.shutdown(2)
        one.close()
    names = list(party.sites)
    simulated = linear()
    run = simulate(party.sites, simulated, party.config, dropouts={1: {names[-1]: "masked"}})
    assert [report.survivors for report in reports] == [report.survivors for report in run.rounds]
    assert torch.equal(weights(server.net), weights(simulated))
    assert {(reply.error.code, reply.error.reason) for _, reply in grid.received if reply.has_error()} == {
        (6, "refused")
    }


def test_a_stub_without_a_daemon_says_what_every_failure_says(tmp_path):
    grid = PushingGrid(stub_app(sockets_in(tmp_path)))
    other = PushingGrid(stub_app())
    content = RecordDict({RECORD: ConfigRecord({"message": b"x"})})
    for each, said in ((grid, content), (other, content), (grid, RecordDict())):
        (reply,) = each.send_and_receive([Message(said, NODES[0], MessageType.QUERY)])
        assert (reply.error.code, reply.error.reason) == (6, "refused")
