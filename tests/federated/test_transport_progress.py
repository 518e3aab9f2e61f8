"""A server's progress: a line for each stage of a round, with who is late, bytes and seconds."""

import re

from quintain.federated.transport import DropoutStage
from quintain.federated.transport_progress import TransportProgress, report_text
from tests.federated.settings import Party

STAGES = ["training", "keys", "shares", "masked", "consistency", "unmask"]


def told(party, server, dropouts=None):
    """Run one round; return its lines, the transport and the report."""
    lines, seconds = [], iter(range(100))
    transport = TransportProgress(
        party.network(dropouts),
        party.roster.names,
        server.aggregation.replies,
        lines.append,
        lambda: next(seconds),
    )
    report = server.run_round(transport)
    return lines, transport, report


def test_each_stage_of_a_round_is_one_line_with_sites_bytes_and_seconds():
    party = Party()
    lines, transport, report = told(party, party.server())
    assert lines[0] == "training: the task goes to " + ", ".join(party.roster.names)
    assert [line.partition(":")[0] for line in lines[1:]] == STAGES
    for line in lines[1:]:
        assert re.fullmatch(r"\w+: 4 of 4 sites; \S+ k?B down, \S+ k?B up, 1\.0 s", line), line
    assert transport.silent == set()
    assert report_text(report).startswith(
        f"the sum of {', '.join(party.roster.names)}; dropped out: nobody; "
    )


def test_who_falls_silent_is_named_in_the_stage_in_which_it_does():
    party = Party()
    name = party.roster.names[2]
    lines, transport, report = told(party, party.server(), {2: DropoutStage.MASKED})
    assert [f"late or silent: {name};" in line for line in lines[1:]] == [
        stage == "masked" for stage in STAGES
    ]
    assert "masked: 3 of 4 sites" in lines[4]
    assert transport.silent == {2}
    assert f"dropped out: {name}; " in report_text(report)


def test_a_round_that_is_abandoned_is_told_with_its_reason():
    party = Party()
    dropouts = dict.fromkeys((0, 1, 2), DropoutStage.KEYS)
    lines, transport, report = told(party, party.server(), dropouts)
    assert lines[-1].startswith("keys: 1 of 4 sites, late or silent: ")
    assert transport.silent == {0, 1, 2}
    assert report_text(report) == f"abandoned, the model is as it was: {report.abort_reason}"
    assert report.abort_reason
