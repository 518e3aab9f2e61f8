"""A classifier behind an address: a server on this machine, and no clock but one that is handed in."""

import gzip
import itertools
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event, Thread

import httpx
import numpy as np
import pytest
import torch

from quintain.attacks import PGD, RayS
from quintain.core.errors import ExecutionError, ModelError, SettingError
from quintain.models import Endpoint, connect, load_model
from quintain.models.endpoint_client import SILENCE, call_after
from quintain.testing import brightness_scores, running_endpoint
from quintain.threats import Linf


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_endpoint() as running:
        yield running


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now, self.naps = 100.0, []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.now += seconds


def line(server, clock=None, *, classes=None, **settings):
    clock = clock or Clock()
    return connect(Endpoint(server.url, **settings), num_classes=classes, sleep=clock.sleep, clock=clock)


def images(count, *, seed=0, channels=1):
    return torch.rand(count, channels, 2, 3, generator=torch.Generator().manual_seed(seed))


def test_an_address_alone_is_asked_in_batches_and_its_bits_arrive(server):
    model, x = load_model(server.url), images(150)
    assert torch.equal(model(x).float(), torch.from_numpy(brightness_scores(x.numpy())))
    assert [len(request["inputs"]) for request in server.requests] == [64, 64, 22]
    assert np.array_equal(np.stack(server.images), x.numpy())
    assert (model.access, model.num_classes, model.name) == ("scores", 2, server.url)


@pytest.mark.parametrize(
    ("settings", "access"),
    [
        ({"body": {"image": "{x}", "note": ["a", 1]}, "response_path": "one.scores"}, "scores"),
        ({"body": {"image": "{x}"}, "response_path": "one.label", "access": "labels"}, "labels"),
        (
            {
                "body": {"image": "{x}"},
                "response_path": "one.name",
                "access": "labels",
                "class_names": ("dark", "bright"),
            },
            "labels",
        ),
        ({"response_path": "by name", "class_names": ("dark", "bright")}, "scores"),
        ({"body": {"png": "data:image/png;base64,{png}"}, "response_path": "one.scores"}, "scores"),
    ],
)
def test_questions_and_answers_of_other_forms(server, settings, access):
    model, x = line(server, classes=2, **settings), (images(3) * 255).round() / 255
    assert model.access == access
    assert model.predict(x).tolist() == brightness_scores(x.numpy()).argmax(1).tolist()
    assert np.allclose(np.stack(server.images), x.numpy(), atol=1e-6)
    assert "note" not in settings.get("body", {}) or server.requests[0]["note"] == ["a", 1]


def test_a_colour_image_is_sent_as_png(server):
    x = (images(2, channels=3) * 255).round() / 255
    line(server, body={"png": "{png}"}, response_path="one.scores")(x)
    assert np.allclose(np.stack(server.images), x.numpy(), atol=1e-6)
    with pytest.raises(ModelError, match="cannot be sent as PNG"):
        line(server, body={"png": "{png}"}, response_path="one.scores")(images(2, channels=2))


def test_nothing_is_asked_twice(server):
    model, x = line(server), images(4)
    first = model(torch.cat([x, x[:2]]))
    assert len(server.images) == 4
    assert torch.equal(first[4:], first[:2])
    assert torch.equal(model(x.flip(0)), first[:4].flip(0))
    assert len(server.images) == 4
    model(x + 1e-7)
    assert len(server.images) > 4


def test_another_run_goes_on_from_the_cache(server, tmp_path):
    cache, x = tmp_path / "kept" / "answers.sqlite", images(5)
    first = line(server, cache=cache)(x)
    assert torch.equal(line(server, cache=cache)(x), first)
    assert len(server.images) == 5
    assert cache.stat().st_mode & 0o777 == 0o600


def test_a_cache_does_not_mix_endpoints_that_are_asked_in_other_ways(server, tmp_path):
    x = images(1)
    by_batch = line(server, cache=tmp_path / "c")(x)
    by_label = line(
        server,
        cache=tmp_path / "c",
        body={"image": "{x}"},
        response_path="one.label",
        access="labels",
        classes=2,
    )(x)
    assert by_batch.shape == by_label.shape == (1, 2)
    assert len(server.images) == 2


def test_an_attack_on_an_endpoint_that_dies_half_way_is_resumed_without_asking_twice(server, tmp_path):
    x, y = images(4) * 0.3 + 0.1, torch.zeros(4, dtype=torch.long)
    whole = RayS(queries=60)(line(server), x, y, Linf(0.5))
    paid = len(server.images)
    server.images.clear()
    server.failures = [None] * 10 + [(503, {})] * 6
    settings = {"cache": tmp_path / "answers.sqlite"}
    with pytest.raises(
        ExecutionError,
        match=r"gives no answer after 6 tries \(HTTP 503 .*after \d+ answers; "
        r"all \d+ are kept in .*goes on from there",
    ):
        RayS(queries=60)(line(server, **settings), x, y, Linf(0.5))
    assert 0 < len(server.images) < paid
    again = RayS(queries=60)(line(server, **settings), x, y, Linf(0.5))
    assert torch.equal(again.adversarial, whole.adversarial)
    assert again.success.all()
    assert len(server.images) == paid
    assert len({one.tobytes() for one in server.images}) == paid


def test_what_fails_for_a_moment_is_tried_again_twice_as_late_each_time(server):
    clock = Clock()
    server.failures = [(500, {}), (502, {}), (429, {})]
    assert line(server, clock)(images(1)).shape == (1, 2)
    assert clock.naps == [0.5, 1.0, 2.0]


def test_retry_after_is_respected_in_seconds_and_as_a_date(server):
    clock = Clock()
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.failures = [
        (429, {"Retry-After": "7"}),
        (503, {"Retry-After": later}),
        (503, {"Retry-After": "soon"}),
    ]
    line(server, clock)(images(1))
    assert clock.naps[0] == 7.0
    assert 50 < clock.naps[1] <= 60
    assert clock.naps[2] == 2.0


def test_a_pause_of_hours_ends_the_run(server):
    clock = Clock()
    server.failures = [(429, {"Retry-After": "7200"})]
    with pytest.raises(
        ExecutionError, match=r"asks for a pause of 7200 s .*which are lost with this run; give cache=FILE"
    ):
        line(server, clock)(images(1))
    assert clock.naps == []


def test_a_connection_that_breaks_is_tried_again_and_then_told(server):
    clock = Clock()
    server.is_dead = True
    with pytest.raises(ExecutionError, match=r"gives no answer after 3 tries \(RemoteProtocolError"):
        line(server, clock, retries=2)(images(1))
    assert len(server.requests) == 3
    server.is_dead = False
    assert line(server, clock, retries=0)(images(1)).shape == (1, 2)


def test_nobody_at_the_address():
    clock = Clock()
    with running_endpoint() as gone:
        url = gone.url
    with pytest.raises(ExecutionError, match=r"after one try \(ConnectError"):
        connect(Endpoint(url, retries=0), sleep=clock.sleep, clock=clock)(images(1))


@pytest.mark.parametrize("status", [301, 400, 401, 404, 422])
def test_a_refusal_is_not_tried_again(server, status):
    server.failures = [(status, {})]
    with pytest.raises(
        ExecutionError, match=rf"refuses the request: HTTP {status} .*see its url, headers and body"
    ):
        line(server)(images(1))
    assert len(server.requests) == 1


def test_the_rate_is_kept_by_requests_and_retries(server):
    clock = Clock()
    server.failures = [(500, {})]
    line(server, clock, requests_per_second=0.5, batch_size=1)(images(3))
    assert clock.naps == [0.5, 1.5, 2.0, 2.0]


def test_the_budget_counts_what_is_asked_and_not_what_is_known(server, tmp_path):
    x, cache = images(8), tmp_path / "answers.sqlite"
    with pytest.raises(
        ExecutionError, match=r"the budget of 5 queries is spent, after 5 answers; all 5 are kept"
    ):
        line(server, query_budget=5, cache=cache)(x)
    assert len(server.images) == 5
    assert line(server, query_budget=5, cache=cache)(x).shape == (8, 2)
    assert len(server.images) == 8


def test_headers_are_sent_with_what_the_environment_holds(server, monkeypatch):
    monkeypatch.setenv("KEY_OF_TEST", "abc")
    line(server, headers={"Authorization": "Bearer ${KEY_OF_TEST}", "X-Plain": "$5"})(images(1))
    assert server.request_headers[0]["Authorization"] == "Bearer abc"
    assert server.request_headers[0]["X-Plain"] == "$5"
    monkeypatch.delenv("KEY_OF_TEST")
    with pytest.raises(SettingError, match="environment variable KEY_OF_TEST, which is not set"):
        line(server, headers={"Authorization": "${KEY_OF_TEST}"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"response_path": "scores.nothing"},
            r"has nothing at 'scores.nothing' \('nothing' is missing\); "
            r"give the path to the answer with response_path=",
        ),
        ({"response_path": "text"}, r'gives "hello" for 2 inputs; expected a list of 2'),
        ({"body": {"image": "{x}"}, "response_path": "text"}, "expected a list with a number for each class"),
        (
            {"body": {"image": "{x}"}, "response_path": "one.name", "access": "labels"},
            r"give class_names=\(...\)",
        ),
        (
            {
                "body": {"image": "{x}"},
                "response_path": "one.name",
                "access": "labels",
                "class_names": ("a", "b"),
            },
            "or one of the names a, b",
        ),
    ],
)
def test_an_answer_that_is_not_where_it_was_said_to_be(server, settings, message):
    with pytest.raises(ModelError, match=message):
        line(server, classes=2, **settings)(images(2))


def test_a_gradient_attack_on_an_address_is_refused_before_anything_is_sent(server):
    with pytest.raises(ModelError, match="pgd needs gradients, and the model gives scores only"):
        PGD()(load_model(server.url), images(1), torch.zeros(1, dtype=torch.long), Linf(0.1))
    assert server.requests == []


def test_without_the_extra_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(ModelError, match=r"pip install 'quintain\[http\]'"):
        connect(Endpoint("http://127.0.0.1:1/"))


def test_a_silence_is_said_with_the_address_and_what_is_waited_for_and_ends_with_the_answer(server, caplog):
    server.hangs_after = 0

    @contextmanager
    def after(seconds, say):
        if seconds == Endpoint(server.url).timeout:
            yield
            return

        def wait():
            # the request has arrived, so that it is waited for; only then do the ten seconds pass
            assert server.hanging.wait(30)
            say()
            server.released.set()

        assert seconds == SILENCE
        thread = Thread(target=wait)
        thread.start()
        yield
        thread.join()

    model = connect(Endpoint(server.url), after=after)
    assert model(images(2)).shape == (2, 2)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{server.url}: no answer for 10 s to try 1 of 6 of a request, after 0 answers; each try may take "
        "30 s (timeout)"
    )


def test_an_endpoint_that_hangs_ends_the_call_after_its_timeouts(server, caplog):
    server.hangs_after = 1
    model = line(server, timeout=0.05, retries=1, batch_size=1)
    with pytest.raises(ExecutionError, match=r"gives no answer after 2 tries \(ReadTimeout.*after 1 answers"):
        model(images(2))
    assert caplog.records == []


class Drip(httpx.SyncByteStream):
    """A response of which a byte comes each second, and never the last one."""

    def __init__(self, clock, count):
        self.clock, self.count = clock, count

    def __iter__(self):
        for _ in range(self.count):
            self.clock.now += 1.0
            yield b" "
        yield b'{"scores": [[0.25, 0.75]]}'


def dripping(clock, counts, **settings):
    """An endpoint whose responses take so many seconds, and the requests that it was sent."""
    asked, left = [], iter(counts)

    def answer(request):
        asked.append(request)
        return httpx.Response(200, stream=Drip(clock, next(left)))

    client = httpx.Client(transport=httpx.MockTransport(answer))
    endpoint = Endpoint("http://drip.test/", **settings)
    return connect(endpoint, client=client, sleep=clock.sleep, clock=clock), asked


def test_a_response_that_comes_byte_by_byte_has_until_the_timeout_and_no_longer(caplog):
    clock = Clock()
    model, asked = dripping(clock, itertools.repeat(10**6), timeout=5, retries=1)
    with pytest.raises(
        ExecutionError,
        match=r"http://drip.test/ gives no answer after 2 tries \(ReadTimeout: 6 bytes of a response and no "
        r"end of it within 5 s\), after 0 answers",
    ):
        model(images(1))
    assert clock.now == 100.0 + 6 + 0.5 + 6
    assert len(asked) == 2
    assert caplog.records == []


def test_a_slow_response_within_the_timeout_is_read_after_tries_that_were_too_slow_which_are_said(caplog):
    clock = Clock()
    model, asked = dripping(clock, [100, 100, 100, 4], timeout=5)
    assert model(images(1)).tolist() == [[0.25, 0.75]]
    assert len(asked) == 4
    # The tries took 6 s each: ten seconds of silence were over after the second one, and none since were.
    (record,) = caplog.records
    assert record.getMessage() == (
        "http://drip.test/: ReadTimeout: 6 bytes of a response and no end of it within 5 s; "
        "trying again in 1 s"
    )


def test_a_compressed_response_is_read():
    body = gzip.compress(b'{"scores": [[0.25, 0.75]]}')
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(body))
    client = httpx.Client(transport=httpx.MockTransport(lambda _request: answer))
    assert connect(Endpoint("http://zip.test/"), client=client)(images(1)).tolist() == [[0.25, 0.75]]


def test_a_long_pause_that_the_endpoint_asks_for_is_said(server, caplog):
    server.failures = [(429, {"Retry-After": "60"})]
    line(server)(images(1))
    (record,) = caplog.records
    assert record.getMessage().endswith("; trying again in 60 s")


def test_what_is_called_after_a_while_is_not_called_once_the_context_has_ended():
    called = Event()
    with call_after(3600, called.set):
        pass
    with call_after(0, called.set):
        assert called.wait(30)
