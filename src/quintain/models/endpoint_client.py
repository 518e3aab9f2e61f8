"""Client of a remote classifier: rate limits, retries, a query budget, and a cache for the next run.

Long silences of the endpoint are said as warnings of the logger ``quintain.models.endpoint_client``, which
Python shows on standard error where nothing else was set up.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from quintain.core.errors import ExecutionError, ModelError
from quintain.models.blackbox import BlackBox
from quintain.models.endpoint import Endpoint, expand_environment
from quintain.models.query_cache import QueryCache

if TYPE_CHECKING:
    import httpx

FIRST_RETRY_WAIT = 0.5  # seconds before the first retry; then twice as long each time
MAX_RETRY_WAIT = 300.0  # seconds: for a longer one the run ends, to be repeated later
SILENCE = 10.0  # seconds without an answer, after which it is said what is waited for

CallAfter = Callable[[float, Callable[[], None]], AbstractContextManager[None]]
"""Opens a context; calls a function after so many seconds unless the context has ended before."""

_LOGGER = logging.getLogger(__name__)


@contextmanager
def call_after(seconds: float, function: Callable[[], None]) -> Iterator[None]:
    """Call a function from another thread after so many seconds, unless the context has ended before."""
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def connect(
    endpoint: Endpoint,
    *,
    num_classes: int | None = None,
    client: "httpx.Client | None" = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    after: CallAfter = call_after,
) -> BlackBox:
    """Return the classifier behind an endpoint.

    Every answer is stored at once, in memory or in the endpoint's cache; the same input, bit for bit, is
    never sent again. Randomness of the endpoint is therefore invisible.

    Args:
        endpoint: Its address, its request body and the path to its answer.
        num_classes: Number of classes; that of the class names, or of the first scores, if not given.
        client: Sends the requests; an ``httpx.Client`` with the endpoint's headers and timeout if not given.
        sleep: Waits for a number of seconds.
        clock: Returns the time in seconds.
        after: Says after some seconds what is waited for.

    Raises:
        ModelError: If httpx is not installed; when called, if an answer cannot be read.
        ExecutionError: When called, if the endpoint refuses, gives no answer after all retries, or the query
            budget is spent: the answers so far are stored.
        SettingError: If a header needs an environment variable that is not set.
    """
    try:
        import httpx
    except ImportError as error:
        raise ModelError(
            f"{endpoint.url} needs httpx, which is not installed; run: pip install 'quintain[http]'"
        ) from error
    client = client or httpx.Client(headers=expand_environment(endpoint.headers), timeout=endpoint.timeout)
    endpoint_client = EndpointClient(
        endpoint=endpoint,
        client=client,
        cache=QueryCache(endpoint.cache, endpoint.hash),
        sleep=sleep,
        clock=clock,
        after=after,
    )
    known = num_classes or len(endpoint.class_names) or None
    return BlackBox(
        endpoint_client.query,
        access=endpoint.access,
        num_classes=known,
        name=endpoint.url,
        hash=endpoint.hash,
        cached=True,
    )


@dataclass(slots=True, eq=False, kw_only=True)
class EndpointClient:
    """Queries one endpoint, with its cache of answers and the time of the last request.

    Args:
        endpoint: Its address, its request body and the path to its answer.
        client: Sends the requests.
        cache: The answers so far.
        sleep: Waits for a number of seconds.
        clock: Returns the time in seconds.
        after: Says after some seconds what is waited for.
    """

    endpoint: Endpoint
    client: "httpx.Client"
    cache: QueryCache
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    after: CallAfter
    queries_sent: int = field(default=0, init=False)
    _last: float | None = field(default=None, init=False)
    _connection: Any = field(default=None, init=False)

    def query(self, x: np.ndarray) -> np.ndarray:
        """Return the endpoint's answers for inputs (B, *S): scores (B, K) or labels (B,)."""
        # The cache first; then new inputs in requests of the allowed size, each stored before the next
        # request.
        keys = [self.cache.key(one) for one in x]
        known = self.cache.lookup(keys)
        new = {key: one for key, one in zip(keys, x, strict=True) if key not in known}
        while new:
            request_keys = list(new)[: self._next_request_size()]
            response_json = self._post(
                self.endpoint.request_body(np.stack([new.pop(key) for key in request_keys]))
            )
            new_answers = dict(
                zip(request_keys, self.endpoint.parse_response(response_json, len(request_keys)), strict=True)
            )
            self.cache.store(new_answers)
            self.queries_sent += len(request_keys)
            known |= new_answers
        dtype = np.int64 if self.endpoint.access == "labels" else np.float64
        score_counts = {len(known[key]) for key in keys} if dtype is np.float64 else set()
        if len(score_counts) > 1:
            listed = " or ".join(map(str, sorted(score_counts)))
            raise ModelError(f"{self.endpoint.url} gives {listed} scores an input; expected one a class")
        return np.array([known[key] for key in keys], dtype=dtype).reshape(len(x), *score_counts)

    def _next_request_size(self) -> int:
        """Return how many inputs go into the next request."""
        budget = self.endpoint.query_budget
        if budget is None:
            return self.endpoint.inputs_per_request
        if self.queries_sent >= budget:
            raise ExecutionError(
                f"{self.endpoint.url}: the budget of {budget} queries is spent, {self._progress_note()}"
            )
        return min(self.endpoint.inputs_per_request, budget - self.queries_sent)

    def _post(self, request_body: Any) -> Any:
        """Send one request, with retries, and return the decoded response."""
        import httpx

        last_said = self.clock()
        for attempt in range(self.endpoint.retries + 1):
            self._wait_for_slot()
            pause = FIRST_RETRY_WAIT * 2**attempt  # exponential backoff, or longer if Retry-After says so
            try:
                with self.after(SILENCE, partial(self._say_silence, attempt)):
                    response = self._exchange(request_body)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            else:
                if response.status_code < 300:
                    return self._decode(response)
                trouble = f"HTTP {response.status_code} {response.text[:200].strip()}".strip()
                if response.status_code != 429 and response.status_code < 500:
                    raise ExecutionError(
                        f"{self.endpoint.url} refuses the request: {trouble}; see its url, headers and body"
                    )
                pause = max(pause, _retry_after(response.headers.get("Retry-After", "")))
            if pause > MAX_RETRY_WAIT:
                raise ExecutionError(
                    f"{self.endpoint.url} asks for a pause of {pause:.0f} s ({trouble}), "
                    f"{self._progress_note()}"
                )
            if attempt < self.endpoint.retries:
                if pause >= SILENCE or self.clock() - last_said >= SILENCE:
                    _LOGGER.warning("%s: %s; trying again in %.3g s", self.endpoint.url, trouble, pause)
                    last_said = self.clock()
                self.sleep(pause)
        tries = f"{self.endpoint.retries + 1} tries" if self.endpoint.retries else "one try"
        raise ExecutionError(
            f"{self.endpoint.url} gives no answer after {tries} ({trouble}), {self._progress_note()}"
        )

    def _exchange(self, request_body: Any) -> "httpx.Response":
        """Send a request once, and return its whole response.

        The client's own timeout is that of a silence, so that a response that comes byte by byte would never
        end: the time is looked at after each part of its body, and while its headers come the connection is
        shut down from another thread.

        Raises:
            httpx.TransportError: If there is no connection, or no whole response within the timeout.
        """
        import httpx

        deadline = self.clock() + self.endpoint.timeout
        too_late = threading.Event()

        def hang_up() -> None:
            too_late.set()
            self._shut_down()

        with ExitStack() as opened:
            try:
                with self.after(self.endpoint.timeout, hang_up):
                    response = opened.enter_context(
                        self.client.stream(
                            "POST",
                            self.endpoint.url,
                            json=request_body,
                            extensions={"trace": self._keep_connection},
                        )
                    )
            except httpx.TransportError as error:
                if not too_late.is_set():
                    raise
                raise httpx.ReadTimeout(
                    f"no end of the headers of a response within {self.endpoint.timeout:g} s",
                    request=error.request,
                ) from error
            parts = []
            for part in response.iter_raw():
                parts.append(part)
                if self.clock() > deadline:
                    raise httpx.ReadTimeout(
                        f"{sum(map(len, parts)):,} bytes of a response and no end of it within "
                        f"{self.endpoint.timeout:g} s",
                        request=response.request,
                    )
        return httpx.Response(response.status_code, headers=response.headers, content=b"".join(parts))

    def _keep_connection(self, _event: str, facts: dict[str, Any]) -> None:
        """Keep the connection that httpx opens, by its trace of a request; later requests use it again."""
        made = facts.get("return_value")
        if hasattr(made, "get_extra_info"):
            self._connection = made

    def _shut_down(self) -> None:
        """Shut the connection down, so that a thread that reads from it goes on with an error."""
        found = self._connection.get_extra_info("socket") if self._connection else None
        if isinstance(found, socket.socket):
            with suppress(OSError):
                # That of the plain socket: TLS would first take apart what the other thread reads with.
                socket.socket.shutdown(found, socket.SHUT_RDWR)

    def _say_silence(self, attempt: int) -> None:
        """Say which request has had no answer for long, and how long it is waited for."""
        if self.endpoint.timeout > SILENCE:
            _LOGGER.warning(
                "%s: no answer for %.0f s to try %d of %d of a request, after %d answers; each try may take "
                "%g s (timeout)",
                self.endpoint.url,
                SILENCE,
                attempt + 1,
                self.endpoint.retries + 1,
                self.queries_sent,
                self.endpoint.timeout,
            )

    def _decode(self, response: "httpx.Response") -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise ModelError(f"{self.endpoint.url} answers {response.text[:120]!r}; expected JSON") from error

    def _wait_for_slot(self) -> None:
        now = self.clock()
        if self.endpoint.requests_per_second is not None and self._last is not None:
            early = self._last + 1 / self.endpoint.requests_per_second - now
            if early > 0:
                self.sleep(early)
                now += early
        self._last = now

    def _progress_note(self) -> str:
        """Say how many answers came, and how to go on."""
        came = f"after {self.queries_sent} answers"
        if self.cache.path is None:
            return (
                f"{came}, which are lost with this run; give cache=FILE, so that a rerun goes on where it "
                "ended"
            )
        return (
            f"{came}; all {len(self.cache)} are kept in {self.cache.path}: the same run again goes on from "
            "there"
        )


def _retry_after(text: str) -> float:
    """Return the seconds of a ``Retry-After`` header, a number or a date; 0 where there is none."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
