"""A federation in this process: sites with files of their own, and a grid that calls the client app."""

import copy
from contextlib import suppress
from pathlib import Path

import numpy as np
from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from quintain.core.errors import ProtocolError
from quintain.federated.enrollment import save_identity, save_roster
from quintain.federated.flower import SiteSettings, SumTerms
from quintain.federated.flower.arrays import PROTOCOL_RECORD
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg.messages import message_type_of
from tests.flower.app import NUM_SITES

SERVER, RUN = 1, 77
NODES = tuple(1000 + 7 * site for site in range(NUM_SITES))


def enroll(folder, num_sites=NUM_SITES, more=""):
    """Write the files of all sites; returns the roster."""
    identities = [Identity.create(f"hospital-{site}") for site in range(num_sites)]
    roster = Roster.from_identities(*identities)
    save_roster(folder / "roster.toml", roster, identities)
    for site, identity in enumerate(identities):
        save_identity(folder / f"identity-{site}.toml", identity)
        (folder / f"site-{site}.toml").write_text(
            f'identity = "identity-{site}.toml"\nroster = "roster.toml"\nrounds = "rounds-{site}"\n'
            f'journal = "journal-{site}"\n{more}'
        )
    return roster


def settings_in(folder):
    """What a site's mod is given: its own file, by the number of its node."""
    return lambda context: SiteSettings.load(
        Path(folder) / f"site-{context.node_config['partition-id']}.toml"
    )


def terms_of(roster, **changes):
    return SumTerms(roster, **changes)


def start(strategy, grid, arrays, rounds, told):
    """Run rounds by a strategy; the result, None if all of them were abandoned."""
    with suppress(ProtocolError):
        return strategy.start(grid, arrays, rounds, train_config=told)


class InProcessGrid(Grid):
    """Calls the app for each message and copies what it carries, as a network would.

    Args:
        app: The client app.
        silent: ``silent(site, kind, turn)``: whether a site's reply to this kind of message is lost; the turn
            counts the calls of ``send_and_receive``.
        tamper: Changes a message to a site.
    """

    def __init__(self, app, silent=lambda site, kind, turn: False, tamper=lambda site, message: message):
        self.app, self.silent, self.tamper = app, silent, tamper
        self.turn = -1
        self.sent, self.received = [], []
        self.contexts = {
            node: Context(RUN, node, {"partition-id": site, "num-partitions": NUM_SITES}, RecordDict(), {})
            for site, node in enumerate(NODES)
        }
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = RUN, SERVER, 5

    @property
    def run(self):
        raise NotImplementedError

    def set_run(self, run):
        raise NotImplementedError

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self):
        return NODES

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        self.turn += 1
        replies = []
        for message in messages:
            site = NODES.index(message.metadata.dst_node_id)
            address = message.metadata.dst_node_id, message.metadata.message_type
            here = self.tamper(site, Message(copy.deepcopy(message.content), *address))
            reply = self.answer(site, here)
            self.sent.append((site, here))
            self.received.append((site, reply))
            if not self.silent(site, kind_of(message), self.turn):
                replies.append(reply)
        return replies

    def answer(self, site, message):
        try:
            return self.app(message, self.contexts[NODES[site]])
        except Exception as error:  # as flwr does
            return Message(Error(2, f"{type(error)}: {error}"), reply_to=message)


def kind_of(message):
    """What a message of the sum is; None for all others."""
    record = message.content.config_records.get(PROTOCOL_RECORD)
    return None if record is None else message_type_of(record["message"])


def numbers(record):
    return {name: array.numpy() for name, array in record.items()}


def equal(one, other):
    return list(one) == list(other) and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )
