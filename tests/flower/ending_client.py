"""``quintain client`` that is killed at given messages: ``ending_client.py KILLS ARGUMENTS...``.

KILLS is JSON: the counter of a round to the stage in which the process ends, before it does anything.
"""

import json
import os
import sys

from quintain.cli.main import run
from quintain.federated.client import Client
from quintain.federated.round_messages import RoundMessage, RoundTask, is_round_message, open_header
from quintain.federated.secagg.messages import MessageType, message_type_of, offered_counter

KILLS = json.loads(sys.argv[1])
handle = Client.handle


def stage_of(client: Client, message: bytes) -> tuple[int, str]:
    """Return the counter of a message's round, and its stage; what a site replies is named."""
    if not is_round_message(message):
        return client.last_counter, MessageType(message_type_of(message) + 1).name.lower()
    if open_header(message)[0] is RoundMessage.TRAIN:
        return offered_counter(RoundTask.parse(message).terms), "training"
    return -1, ""


def ending(client: Client, message: bytes) -> bytes:
    """Answer a message, or end here."""
    counter, stage = stage_of(client, message)
    if KILLS.get(str(counter)) == stage:
        os._exit(9)
    return handle(client, message)


Client.handle = ending
sys.argv = ["quintain", *sys.argv[2:]]
sys.exit(run())
