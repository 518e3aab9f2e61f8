"""``quintain client`` that is killed at given messages: ``ending_client.py KILLS ARGUMENTS...``.

KILLS is JSON: the counter of a round to the stage in which the process ends, before it does anything; in
``training`` it has accepted the task.
"""

import json
import os
import sys
from functools import partial
from typing import Any

from quintain.cli.main import run
from quintain.federated import client as client_program
from quintain.federated.client import Client
from quintain.federated.local import Update
from quintain.federated.round_messages import RoundMessage, RoundTask, is_round_message, open_header
from quintain.federated.secagg.message_bodies import offered_counter
from quintain.federated.secagg.messages import MessageType, message_type_of

KILLS = json.loads(sys.argv[1])
handle = Client.handle


def stage_of(client: Client, message: bytes) -> tuple[int, str]:
    """Return the counter of a message's round, and its stage; what a site replies is named."""
    if not is_round_message(message):
        return client.last_counter, MessageType(message_type_of(message) + 1).name.lower()
    return -1, ""


def ending(client: Client, message: bytes) -> bytes:
    """Answer a message, or end here or in the training that it asks for."""
    counter, stage = stage_of(client, message)
    if KILLS.get(str(counter)) == stage:
        os._exit(9)
    if is_round_message(message) and open_header(message)[0] is RoundMessage.TRAIN:
        counter = offered_counter(RoundTask.parse(message).terms)
        client_program.local_update = partial(trained, counter)
    return handle(client, message)


def trained(counter: int, *arguments: Any, **settings: Any) -> Update:
    """Train, or end here."""
    if KILLS.get(str(counter)) == "training":
        os._exit(9)
    return train(*arguments, **settings)


train = client_program.local_update
Client.handle = ending
sys.argv = ["quintain", *sys.argv[2:]]
sys.exit(run())
