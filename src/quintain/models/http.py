"""A classifier behind an address: asked politely, never twice, and where it dies the next run goes on."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from quintain.core.errors import ModelError, TargetError
from quintain.models.answers import Answers
from quintain.models.blackbox import BlackBox
from quintain.models.endpoint import Endpoint, expanded

if TYPE_CHECKING:
    import httpx

PAUSE = 0.5  # seconds before the first retry; then twice as long each time
PATIENCE = 300.0  # seconds: an endpoint that wants a longer pause is left for another run


def connect(
    endpoint: Endpoint,
    *,
    classes: int | None = None,
    client: "httpx.Client | None" = None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> BlackBox:
    """The classifier behind an endpoint.

    Every answer is kept at once, in memory or in the endpoint's cache; the same input, bit for bit, is never asked about again. An
    endpoint that answers at random thus looks as if it did not.

    Args:
        endpoint: Where it is and how it is asked.
        classes: Number of classes; that of the names, or of the first scores, if not given.
        client: What sends the requests; an ``httpx.Client`` with the endpoint's headers and timeout if not given.
        sleep: Waits for so many seconds.
        clock: Seconds that pass.

    Raises:
        ModelError: If httpx is not installed; when called, if an answer cannot be read.
        TargetError: When called, if the endpoint refuses, stays silent after all retries, or the budget is spent: answers so far are kept.
        SettingError: If a header needs an environment variable that is not set.
    """
    try:
        import httpx
    except ImportError as error:
        raise ModelError(f"{endpoint.url} needs httpx, which is not installed; run: pip install 'quintain[http]'") from error
    client = client or httpx.Client(headers=expanded(endpoint.headers), timeout=endpoint.timeout)
    line = Line(endpoint, client, Answers(endpoint.cache, endpoint.hash), sleep, clock)
    known = classes or len(endpoint.names) or None
    return BlackBox(line.ask, access=endpoint.access, classes=known, name=endpoint.url, hash=endpoint.hash, kept=True)


@dataclass(slots=True, eq=False)
class Line:
    """The line to an endpoint: what was answered, and when the last request went out.

    Args:
        endpoint: Where it is and how it is asked.
        client: Sends the requests.
        answers: Those that are known.
        sleep: Waits for so many seconds.
        clock: Seconds that pass.
    """

    endpoint: Endpoint
    client: "httpx.Client"
    answers: Answers
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    asked: int = field(default=0, init=False)
    _last: float | None = field(default=None, init=False)

    def ask(self, x: np.ndarray) -> np.ndarray:
        """Answers for inputs (B, *S): scores (B, K) or labels (B,)."""
        questions = [self.answers.question(one) for one in x]
        known = self.answers.known(questions)
        new = {question: one for question, one in zip(questions, x, strict=True) if question not in known}
        while new:
            some = list(new)[: self._allowed()]
            told = self._post(self.endpoint.question(np.stack([new.pop(question) for question in some])))
            fresh = dict(zip(some, self.endpoint.read(told, len(some)), strict=True))
            self.answers.keep(fresh)
            self.asked += len(some)
            known |= fresh
        kind = np.int64 if self.endpoint.access == "labels" else np.float64
        widths = {len(known[question]) for question in questions} if kind is np.float64 else set()
        if len(widths) > 1:
            raise ModelError(f"{self.endpoint.url} gives {' or '.join(map(str, sorted(widths)))} scores an input; expected one a class")
        return np.array([known[question] for question in questions], dtype=kind).reshape(len(x), *widths)

    def _allowed(self) -> int:
        """How many inputs go into the next request."""
        budget = self.endpoint.budget
        if budget is None:
            return self.endpoint.together
        if self.asked >= budget:
            raise TargetError(f"{self.endpoint.url}: the budget of {budget} questions is spent, {self._account()}")
        return min(self.endpoint.together, budget - self.asked)

    def _post(self, question: Any) -> Any:
        """The endpoint's answer to one request, tried again as often as is allowed."""
        import httpx

        for attempt in range(self.endpoint.retries + 1):
            self._wait_for_turn()
            pause = PAUSE * 2**attempt
            try:
                response = self.client.post(self.endpoint.url, json=question)
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            else:
                if response.status_code < 300:
                    return self._decoded(response)
                trouble = f"HTTP {response.status_code} {response.text[:200].strip()}".strip()
                if response.status_code != 429 and response.status_code < 500:
                    raise TargetError(f"{self.endpoint.url} refuses the request: {trouble}; see its url, headers and body")
                pause = max(pause, _wanted(response.headers.get("Retry-After", "")))
            if pause > PATIENCE:
                raise TargetError(f"{self.endpoint.url} asks for a pause of {pause:.0f} s ({trouble}), {self._account()}")
            if attempt < self.endpoint.retries:
                self.sleep(pause)
        tries = f"{self.endpoint.retries + 1} tries" if self.endpoint.retries else "one try"
        raise TargetError(f"{self.endpoint.url} gives no answer after {tries} ({trouble}), {self._account()}")

    def _decoded(self, response: "httpx.Response") -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise ModelError(f"{self.endpoint.url} answers {response.text[:120]!r}; expected JSON") from error

    def _wait_for_turn(self) -> None:
        now = self.clock()
        if self.endpoint.rate is not None and self._last is not None:
            early = self._last + 1 / self.endpoint.rate - now
            if early > 0:
                self.sleep(early)
                now += early
        self._last = now

    def _account(self) -> str:
        """What was reached, and how to go on."""
        if self.answers.path is None:
            return f"after {self.asked} answers, which are lost with this run; give cache=FILE, so that a rerun goes on where it ended"
        return f"after {self.asked} answers; all {len(self.answers)} are kept in {self.answers.path}: the same run again goes on from there"


def _wanted(text: str) -> float:
    """The seconds of a ``Retry-After``, a number or a date; 0 where there is none."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
