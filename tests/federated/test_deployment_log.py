"""What a site's daemon logs, and the server never learns."""

import logging

import pytest

from quintain.core.errors import StorageError
from quintain.federated import ClientNoise, FederatedConfig, SitePrivacy
from quintain.federated.deployment import site_log as deployment_log
from quintain.federated.deployment.site_log import LoggedClient, site_log
from quintain.federated.remarks import clip_remark
from quintain.federated.round_messages import pack_cancel, pack_challenge
from tests.federated.deployed import Asked
from tests.federated.settings import SHORT, Party, is_ready

TARGET = SitePrivacy(5.0, 1e-5, sample_rate=0.25, steps=2)


class Broken:
    """A client that fails in a given way."""

    last_index = 0

    def __init__(self, config, error):
        self.config, self.error = config, error

    def handle(self, message):
        raise self.error


def lines_of(folder):
    return (folder / "daemon.log").read_text().splitlines()


def test_a_private_round_says_what_is_spent_of_the_budget_and_no_loss(tmp_path):
    party = Party(FederatedConfig(2, SHORT, site_privacy=TARGET))
    asked = Asked()
    party.server().run_round(asked)
    with site_log(tmp_path) as log:
        assert is_ready(LoggedClient(party.clients[0], log).handle(asked.task))
    _, task = lines_of(tmp_path)
    assert "round 1 of 2, task: " in task
    assert " of 5 spent at delta 1e-05" in task
    assert 0 < float(task.split("epsilon ")[1].split()[0]) <= 5
    assert "loss" not in task
    assert "entries clipped" in task


def test_a_clip_far_above_the_updates_is_told_once_with_a_smaller_one(tmp_path):
    party = Party(FederatedConfig(2, SHORT, clip_value=100.0))
    server, asked = party.server(), Asked()
    with site_log(tmp_path) as log:
        client = LoggedClient(party.clients[0], log)
        for _ in range(2):
            server.run_round(asked)
            assert is_ready(client.handle(asked.task))
    (note,) = [line for line in lines_of(tmp_path) if "note: " in line]
    assert "round 1 of 2, note: a server may move any weight by 100 in a round" in note
    largest, clip = party.clients[0].update.largest, float(note.split("such as ")[1])
    assert 0 < largest < 1
    assert clip == pytest.approx(3 * largest, rel=0.5)


def test_a_clip_near_the_updates_and_one_that_noise_decides_are_not_remarked_on():
    plan = Party(FederatedConfig(2, SHORT, clip_value=1.0)).plan()
    assert [clip_remark(plan, largest) for largest in (0.11, 0.0)] == ["", ""]
    assert "by 1 in a round" in clip_remark(plan, 0.09)
    noisy = Party(FederatedConfig(2, SHORT, client_noise=ClientNoise(0.5, 1.0))).plan()
    assert clip_remark(noisy, 1e-9) == ""


def test_messages_around_a_sum_are_told_by_what_they_are(tmp_path):
    with site_log(tmp_path) as log:
        client = LoggedClient(Party().clients[0], log)
        assert client.handle(pack_challenge(bytes(16)))
        assert client.handle(pack_cancel(bytes(16))) == b""
    who, cancel = lines_of(tmp_path)
    assert "asked for its name" in who
    assert "abandoned by the server" in cancel


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StorageError("disk full"), ": disk full"),
        (ValueError("a\nb\x1b[31m"), ": ValueError: a b [31m"),
        (MemoryError(), ": MemoryError: "),
    ],
)
def test_whatever_fails_is_an_empty_reply_one_line_and_where_it_was_in_the_file_alone(
    tmp_path, capsys, error, said
):
    config = Party().clients[0].config
    with site_log(tmp_path) as log:
        assert LoggedClient(Broken(config, error), log).handle(b"message") == b""
    (line,) = capsys.readouterr().out.splitlines()
    assert said in line
    assert "keys: refused after" in line
    assert "Traceback" in (tmp_path / "daemon.log").read_text()


def test_a_log_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "daemon.log").mkdir()
    with pytest.raises(StorageError, match="cannot write the log"), site_log(tmp_path):
        pass
    assert logging.getLogger("quintain.client").handlers == []


def test_a_full_log_makes_room_and_each_of_the_files_is_the_sites_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(deployment_log, "MAX_LOG_BYTES", 400)
    monkeypatch.setattr(deployment_log, "OLD_LOGS", 2)
    with site_log(tmp_path) as log:
        for number in range(40):
            log.info("line %d of a log that is soon full", number)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["daemon.log", "daemon.log.1", "daemon.log.2"]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    assert all(path.stat().st_size <= 400 for path in tmp_path.iterdir())
    assert "line 39" in lines_of(tmp_path)[-1]
    with site_log(tmp_path) as log:
        log.info("goes on")
    assert lines_of(tmp_path)[-1].endswith("goes on")
