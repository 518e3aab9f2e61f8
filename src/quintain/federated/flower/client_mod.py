"""A mod that makes the training of a Flower ClientApp part of a secure sum.

======  ====================================================================================================
offer   (a message of type train) checks it against the site's own terms, lets the app train, encodes the
        change of the arrays, keeps it, and replies with public keys: no metric leaves, nor an array
others  (of the same type) are the next messages of the sum, which the app does not see
======  ====================================================================================================

Whatever goes wrong, the server gets one and the same error: Flower would send it the type and the text of an
exception. The reason goes to ``refused.log`` in the folder of the site's journal.
"""

import copy
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

from flwr.app import ConfigRecord as Record
from flwr.app import Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable, Mod

from quintain.core.errors import DataError, ProtocolError, SettingError
from quintain.federated.flower import arrays as flat
from quintain.federated.flower.refusal import REFUSED
from quintain.federated.flower.site import SiteSettings
from quintain.federated.flower.terms import RoundFacts
from quintain.federated.secagg.encoding import EncodedVector
from quintain.federated.secagg.message_bodies import check_offer, offered_counter
from quintain.federated.secagg.messages import MessageType as SumMessage
from quintain.federated.secagg.messages import message_type_of, open_server, server_body
from quintain.federated.secagg_sum import SecureSum

SETTINGS_KEY = "quintain-site"
"""The key in a SuperNode's own configuration (``--node-config``) with the path of the site's TOML file."""


def settings_of_node(context: Context) -> SiteSettings:
    """Read the settings that a SuperNode's configuration names.

    Raises:
        SettingError: If it names none.
    """
    path = context.node_config.get(SETTINGS_KEY)
    if not isinstance(path, str):
        raise SettingError(
            f"the node's configuration has no {SETTINGS_KEY!r}; start the SuperNode with "
            f"--node-config '{SETTINGS_KEY}=\"/etc/quintain/site.toml\"'"
        )
    return SiteSettings.load(Path(path))


def secagg_mod(settings: Callable[[Context], SiteSettings] = settings_of_node) -> Mod:
    """Make the mod: ``ClientApp(mods=[secagg_mod()])``, first in the list.

    Args:
        settings: Where a node finds its settings; never what the server sent (``context.run_config``).

    Guarantee: what leaves are the site's messages of the sum, and ``REFUSED``; see ``secagg.client.step``.
    With ``clear_evaluation`` also the metrics of evaluations. Not promised: that the server's model is
    harmless; it is not compared with the last one.
    """

    def mod(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        log: Path | None = None
        try:
            site = settings(context)
            log = site.journal
            return _answer(site, message, context, call_next)
        except Exception as error:  # of the user's app, too; its text stays in the site's own log
            _log(log, f"{type(error).__name__}: {error}")
            return Message(REFUSED, reply_to=message)

    return mod


def _answer(site: SiteSettings, message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Return the reply to a message; every refusal is an exception."""
    kind = message.metadata.message_type.partition(".")[0]
    if kind == MessageType.TRAIN:
        with site.folder.lock():
            site = site.with_accepted_roster()
            data = _sum_message(message)
            if message_type_of(data) is SumMessage.OFFER:
                reply = _join(site, message, context, call_next)
            else:
                reply = site.folder.step(site.terms, site.load_identity(), data)
        return Message(RecordDict({flat.PROTOCOL_RECORD: Record({"message": reply})}), reply_to=message)
    if kind == MessageType.EVALUATE and site.clear_evaluation:
        out = _call(call_next, message, context)
        return Message(RecordDict(dict(out.content.metric_records)), reply_to=message)
    raise ProtocolError(
        f"a message of type {message.metadata.message_type!r}; this site trains, and evaluates only with "
        "clear_evaluation = true"
    )


def _join(site: SiteSettings, message: Message, context: Context, call_next: ClientAppCallable) -> bytes:
    """Accept an offer, train unless that was done over this very model, and return the site's keys."""
    identity, offer = site.load_identity(), _sum_message(message)
    old = flat.to_arrays(flat.only_arrays(message.content))
    facts = RoundFacts(
        round_id=_field(message, "round"),
        counter=offered_counter(server_body(offer)),
        model_hash=flat.hash_arrays(old),
        length=flat.count_numbers(old),
        run_id=message.metadata.run_id,
        recipe=flat.hash_recipe(message.content, message.metadata.message_type, context.run_config),
    )
    # the whole offer is checked before anything is trained or written
    policy = site.terms.policy(facts)
    check_offer(open_server(offer, SumMessage.OFFER, policy), policy)
    flat.check_round_number(message.content, facts.counter)
    site.terms.roster.index(identity.name)
    made_for = site.terms.vector_hash(facts)
    if site.folder.kept_update(made_for) is None:
        update = _train(message, context, call_next, old)
        encoded = _encode(site, identity.name, update, facts)
        site.folder.keep_update(made_for, encoded)
    return site.folder.join(site.terms, identity, facts, offer, secrets.token_bytes)


def _train(message: Message, context: Context, call_next: ClientAppCallable, old: flat.Arrays) -> flat.Vector:
    """Let the app train as without a secure sum, and return its update."""
    task = copy.copy(message)
    task.content = RecordDict(
        {key: record for key, record in message.content.items() if key != flat.PROTOCOL_RECORD}
    )
    out = _call(call_next, task, context)
    return flat.update_of(flat.to_arrays(flat.only_arrays(out.content)), old)


def _encode(site: SiteSettings, name: str, update: flat.Vector, facts: RoundFacts) -> EncodedVector:
    encoding = site.terms.policy(facts).encoding
    clipped = encoding.count_clipped(update)
    if clipped:
        _log(site.journal, f"round {facts.counter}: {clipped} of {facts.length} entries were cut by the clip")
    return SecureSum().encode(update, encoding, site.terms.relative_weight(name))


def _call(call_next: ClientAppCallable, message: Message, context: Context) -> Message:
    out = call_next(message, context)
    if out.has_error():
        raise DataError(f"the app replies with an error: {out.error.reason}")
    return out


def _sum_message(message: Message) -> bytes:
    return _field(message, "message")


def _field(message: Message, name: str) -> bytes:
    """Return what the server's message says in the record of the sum."""
    record = message.content.config_records.get(flat.PROTOCOL_RECORD)
    value = None if record is None else record.get(name)
    if not isinstance(value, bytes):
        raise ProtocolError(
            f"a message to train without {name!r} of a secure sum; expected a server that runs the strategy "
            "SecAgg: no update leaves in the clear"
        )
    return value


def _log(folder: Path | None, text: str) -> None:
    """Write a line to the site's own log; what cannot be written is lost, and never goes to the server."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / "refused.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")
    except OSError:
        return
