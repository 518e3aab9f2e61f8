"""The log of a site's daemon: what the site may know and the server may not, one line for each message."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

from quintain.core.errors import ProtocolError, QuintainError, StorageError
from quintain.core.rounding import epsilon
from quintain.federated.client import Client
from quintain.federated.round_messages import RoundMessage, early_answer, is_round_message, open_header
from quintain.federated.secagg.messages import MessageType

LOG_FILE = "daemon.log"
MAX_LOG_BYTES, OLD_LOGS = 10_000_000, 5
"""A log is full with so many bytes, some 50,000 lines, and so many older ones are kept."""
TASK = "task"
_KINDS = {
    RoundMessage.TRAIN: TASK,
    RoundMessage.CANCEL: "abandoned by the server",
    RoundMessage.CHALLENGE: "asked for its name",
}
_STAGES = {
    MessageType.KEYS: "keys",
    MessageType.SHARES: "shares",
    MessageType.MASKED: "vector",
    MessageType.CONSISTENCY: "survivors signed",
    MessageType.UNMASK: "sum opened",
}


@contextmanager
def site_log(folder: Path) -> Iterator[logging.Logger]:
    """Log to standard output and to a file that only its owner may read; what ends a stage goes to both.

    Args:
        folder: The site's state.

    Raises:
        StorageError: If the file cannot be opened.
    """
    path = folder / LOG_FILE
    try:
        file = _OwnLogFile(path, maxBytes=MAX_LOG_BYTES, backupCount=OLD_LOGS, encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write the log {path}: {error.strerror}") from error
    log = logging.Logger("quintain.client", logging.DEBUG)
    screen: logging.Handler = logging.StreamHandler(sys.stdout)
    for one, level in ((screen, logging.INFO), (file, logging.DEBUG)):
        one.setLevel(level)
        one.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(one)
    try:
        yield log
    finally:
        file.close()


class _OwnLogFile(RotatingFileHandler):
    """A log that is renamed to ``.1`` when it is full, and each older one to the next number."""

    def _open(self) -> TextIOWrapper:
        handle = os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        return os.fdopen(handle, "a", encoding=self.encoding)


class LoggedClient:
    """A client whose messages are logged; what it refuses is an empty reply, and the reason stays here.

    Args:
        client: The site's own.
        log: Where to.
        check_task: Raises where the site takes no further task, before its client sees one.
        spent_in_all: What private trainings of the site have spent together, in words; asked after each round
            of one.
        clock: Seconds that never go back.

    Attributes:
        client: The client.
    """

    def __init__(
        self,
        client: Client,
        log: logging.Logger,
        *,
        check_task: Callable[[], None] = lambda: None,
        spent_in_all: Callable[[], str] = lambda: "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client, self._log, self._clock = client, log, clock
        self._check_task, self._spent_in_all = check_task, spent_in_all
        self._stage = 0

    def handle(self, message: bytes) -> bytes:
        """Return the client's reply; nothing where it refuses, or fails in whatever way."""
        started, what = self._clock(), self._what(message)
        if what == TASK:
            self._say(f"{TASK} of {len(message):,} bytes: checked, then trained for")
        try:
            if what == TASK:
                self._check_task()
            reply = self.client.handle(message)
        except Exception as error:  # of the user's net; its text stays in the site's own log
            error_text = (
                str(error) if isinstance(error, QuintainError) else f"{type(error).__name__}: {error}"
            )
            self._say(
                f"{what}: refused after {self._clock() - started:.2f} s, {len(message):,} bytes: {error_text}"
            )
            self._log.debug("where that was", exc_info=error)
            return b""
        # the reply to a task may hold the first one of the sum
        self._stage = int(bool(early_answer(reply))) if what == TASK else self._stage + 1
        self._say(
            f"{self._round}, {what}: {self._clock() - started:.2f} s, {len(message):,} bytes in, "
            f"{len(reply):,} out{self._about() if what == TASK else ''}"
        )
        for remark in self.client.remarks if what == TASK else ():
            self._say(f"{self._round}, note: {remark}")
        return reply

    @property
    def _round(self) -> str:
        return f"round {self.client.last_index + 1} of {self.client.config.plan.config.rounds}"

    def _what(self, message: bytes) -> str:
        """What a message is for."""
        if not is_round_message(message):
            replies = self.client.config.aggregation.replies
            return _STAGES[replies[min(self._stage, len(replies) - 1)]]
        try:
            return _KINDS[open_header(message)[0]]
        except ProtocolError:
            return "message"

    def _about(self) -> str:
        """What has come of training: loss, clipped entries, and what it has spent."""
        client, update = self.client, self.client.update
        facts = []
        if update is not None:
            length = client.config.plan.length
            facts += [] if math.isnan(update.loss) else [f"loss {update.loss:.4g}"]
            facts += [f"{update.num_clipped:,} of {length:,} entries clipped"]
        budget = client.config.plan.config.site_privacy
        if budget is not None:
            spent = epsilon(client.ledger.epsilon(budget.delta))
            facts += [
                f"epsilon {spent} of {budget.epsilon:g} spent at delta {budget.delta:g}",
                self._spent_in_all(),
            ]
        return "".join(f", {one}" for one in facts if one)

    def _say(self, text: str) -> None:
        """Log one line; what another party wrote in it can neither break nor color it."""
        self._log.info("%s", "".join(letter if letter.isprintable() else " " for letter in text))
