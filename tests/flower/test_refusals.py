"""What a site refuses: nothing is revealed, the server gets one error for all, the reason stays there."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideFixedClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    FedTrimmedAvg,
    Krum,
)

from quintain.core.errors import SettingError
from quintain.federated.enrollment import save_identity, save_roster
from quintain.federated.flower import SecAgg, secagg_mod, secure_strategy
from quintain.federated.flower.arrays import PROTOCOL_RECORD
from quintain.federated.hidden import require_hidden
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg.encoding import finest_encoding
from quintain.federated.secagg.messages import MessageType, message_type_of
from quintain.federated.view import RecordedMessage, ServerView
from tests.flower.app import EVALUATED, NUM_SITES, client_app, config, net, trained
from tests.flower.federation import InProcessGrid, enroll, kind_of, settings_in, start, terms_of

NAMES = tuple(f"hospital-{site}" for site in range(NUM_SITES))


def run(folder, *, strategy=None, mods=(), rounds=1, more="", model=None, **grid):
    """Run rounds of the app with the mod; the strategy and the grid."""
    strategy = strategy or SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(folder, more=more)))
    grid = InProcessGrid(client_app([secagg_mod(settings_in(folder)), *mods]), **grid)
    start(strategy, grid, ArrayRecord((model or net()).state_dict()), rounds, config())
    return strategy, grid


def refusals(folder, site=0):
    path = folder / f"journal-{site}" / "refused.log"
    return path.read_text() if path.exists() else ""


def errors(grid):
    return [(reply.error.code, reply.error.reason) for _, reply in grid.received if reply.has_error()]


def test_a_server_without_the_strategy_gets_no_update(tmp_path):
    enroll(tmp_path)
    _, grid = run(tmp_path, strategy=FedAvg())
    assert errors(grid) == [(6, "refused")] * len(grid.received)
    assert "no update leaves in the clear" in refusals(tmp_path)


def test_evaluations_are_refused_unless_the_site_allows_them_and_then_carry_metrics_alone(tmp_path):
    both = []
    for name, more in (("no", ""), ("yes", "clear_evaluation = true\n")):
        folder = tmp_path / name
        folder.mkdir()
        _, grid = run(folder, strategy=SecAgg(FedAvg(), terms_of(enroll(folder, more=more))))
        both.append([reply for _, reply in grid.received if reply.metadata.message_type == "evaluate"])
    refused, allowed = both
    assert all(reply.has_error() for reply in refused)
    assert [dict(reply.content["metrics"]) for reply in allowed] == [EVALUATED] * NUM_SITES
    assert not any(reply.content.array_records for reply in allowed)


def change_learning_rate(message):
    message.content["config"]["lr"] = 1e-9


def change_model(message):
    arrays = message.content["arrays"]
    message.content["arrays"] = ArrayRecord({k: v + 1 for k, v in arrays.to_torch_state_dict().items()})


def change_round(message):
    message.content["config"]["server-round"] = 9


def say_round_as_text(message):
    message.content["config"]["server-round"] = "1"


def swap_round_id(message):
    message.content[PROTOCOL_RECORD]["round"] = bytes(16)


def drop_offer(message):
    del message.content[PROTOCOL_RECORD]


def lower_threshold(message):
    """Byte 32 on is the offer's threshold, behind header and number of sites."""
    offer = bytearray(message.content[PROTOCOL_RECORD]["message"])
    assert int.from_bytes(offer[29:33], "big") == 4
    offer[32] = 3
    message.content[PROTOCOL_RECORD]["message"] = bytes(offer)


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (change_learning_rate, "the server offers recipe"),
        (change_model, "the server offers model hash"),
        (change_round, "says 9 to the app"),
        (say_round_as_text, "says '1' to the app"),
        (swap_round_id, "a replay is refused"),
        (drop_offer, "no update leaves in the clear"),
        (lower_threshold, "the server offers threshold = 3"),
    ],
)
def test_a_site_that_is_lied_to_refuses_by_name_before_it_trains(tmp_path, lie, reason):
    trainings = []

    def counted(message, context, call_next):
        trainings.append(context.node_config["partition-id"])
        return call_next(message, context)

    def tamper(site, message):
        if site == 0 and kind_of(message) is MessageType.OFFER:
            lie(message)
        return message

    strategy, grid = run(tmp_path, mods=[counted], tamper=tamper)
    assert strategy.reports[0].survivors == NAMES[1:]
    assert sorted(trainings) == [1, 2, 3, 4]
    assert errors(grid) == [(6, "refused")]
    assert reason in refusals(tmp_path)


def fails(message, context, call_next):
    raise RuntimeError("patient 17 has no image")


def gives_nan(message, context, call_next):
    out = call_next(message, context)
    state = out.content["arrays"].to_torch_state_dict()
    out.content["arrays"] = ArrayRecord(
        {name: value * float("nan") if value.is_floating_point() else value for name, value in state.items()}
    )
    return out


def gives_others(message, context, call_next):
    out = call_next(message, context)
    out.content["arrays"] = ArrayRecord({"weight": net().state_dict()["0.weight"]})
    return out


@pytest.mark.parametrize(
    ("mod", "reason"),
    [
        (fails, "RuntimeError: patient 17 has no image"),
        (gives_nan, "DataError: entry 0 is nan"),
        (gives_others, "ProtocolError: the app returns other arrays"),
    ],
)
def test_whatever_goes_wrong_at_a_site_the_server_learns_that_it_refused(tmp_path, mod, reason):
    strategy, grid = run(tmp_path, mods=[mod])
    assert strategy.reports[0].survivors == ()
    assert errors(grid) == [(6, "refused")] * NUM_SITES
    assert reason in refusals(tmp_path)


def test_a_message_that_comes_twice_is_refused_and_the_round_goes_on(tmp_path):
    again = []

    class Twice(InProcessGrid):
        def answer(self, site, message):
            reply = super().answer(site, message)
            if site == 0 and kind_of(message) is not MessageType.OFFER:
                again.append(super().answer(site, message))
            return reply

    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path)))
    grid = Twice(client_app([secagg_mod(settings_in(tmp_path))]))
    start(strategy, grid, ArrayRecord(net().state_dict()), 1, config())
    assert strategy.reports[0].survivors == NAMES
    assert len(again) == 4
    assert all(reply.has_error() for reply in again)


def test_a_folder_that_is_rolled_back_masks_no_second_time(tmp_path):
    """The folder of the round's secrets is put back to what it was; the journal is not."""
    masked = []

    class RolledBack(InProcessGrid):
        def answer(self, site, message):
            if site == 0 and kind_of(message) is MessageType.DELIVERY:
                shutil.copytree(tmp_path / "rounds-0", tmp_path / "copy")
                masked.append(super().answer(site, message))
                shutil.rmtree(tmp_path / "rounds-0")
                shutil.move(tmp_path / "copy", tmp_path / "rounds-0")
            return super().answer(site, message)

    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path)))
    grid = RolledBack(client_app([secagg_mod(settings_in(tmp_path))]))
    start(strategy, grid, ArrayRecord(net().state_dict()), 1, config())
    assert not masked[0].has_error()
    assert "was masked before" in refusals(tmp_path)
    assert strategy.reports[0].survivors == NAMES[1:]


def test_a_roster_that_is_put_back_to_an_older_version_is_refused_by_each_site(tmp_path):
    identities = [Identity.create(name) for name in NAMES]
    roster = enroll(tmp_path)
    run(tmp_path, strategy=SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(roster)))
    (tmp_path / "roster.toml").rename(tmp_path / "first.toml")
    revoked = tuple(zip(NAMES, roster.keys, strict=True))
    new = Roster.from_identities(*identities)
    second = replace(new, version=2, revoked=revoked, previous=roster.digest)
    save_roster(tmp_path / "roster.toml", second, identities)
    for site, identity in enumerate(identities):
        (tmp_path / f"identity-{site}.toml").unlink()
        save_identity(tmp_path / f"identity-{site}.toml", identity)
    moved = net()
    with torch.no_grad():
        next(moved.parameters()).add_(1)  # over the old model the sites sum with the old keys only
    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(second))
    assert run(tmp_path, strategy=strategy, model=moved)[0].reports[0].survivors == NAMES
    shutil.copy(tmp_path / "first.toml", tmp_path / "roster.toml")
    _, grid = run(tmp_path, strategy=SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(roster)))
    assert set(errors(grid)) == {(6, "refused")}
    assert "version 1 of the roster, and this site has accepted the later version 2" in refusals(tmp_path)


def test_the_view_of_the_server_holds_no_update_no_metric_and_no_array(tmp_path, monkeypatch):
    policies = []
    opened = secure_strategy.server.open_round
    monkeypatch.setattr(
        secure_strategy.server, "open_round", lambda policy: policies.append(policy) or opened(policy)
    )
    _, grid = run(tmp_path)
    for _, reply in grid.received:
        assert list(reply.content) == [PROTOCOL_RECORD]
        assert list(reply.content[PROTOCOL_RECORD]) == ["message"]
    view = ServerView(
        policies[0],
        *(
            tuple(
                RecordedMessage(site, message_type_of(data), data)
                for site, message in messages
                for data in [message.content[PROTOCOL_RECORD]["message"]]
            )
            for messages in (grid.sent, grid.received)
        ),
    )
    state = net().state_dict()
    floats = [name for name, value in state.items() if value.is_floating_point()]
    truth = {}
    for site, name in enumerate(NAMES):
        new = trained(state, site, 0.1)
        update = np.concatenate([(new[n].double() - state[n].double()).numpy().ravel() for n in floats])
        truth[name] = finest_encoding(len(update), 1.0, NUM_SITES).quantize(update)
    assert set(view.masked_vectors) == set(NAMES)
    require_hidden(view, truth)


def test_after_a_round_a_site_keeps_its_update_and_its_journal_and_only_its_owner_reads_them(tmp_path):
    run(tmp_path)
    files = list((tmp_path / "rounds-0").iterdir())
    assert sorted(path.name for path in files) == ["lock", "update"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert (tmp_path / "rounds-0").stat().st_mode & 0o777 == 0o700
    assert any(path.suffix == ".unmasked" for path in (tmp_path / "journal-0").iterdir())


@pytest.mark.parametrize(
    "wrapper", [DifferentialPrivacyServerSideFixedClipping, DifferentialPrivacyClientSideFixedClipping]
)
def test_flowers_own_noise_around_a_secure_sum_is_refused_since_nothing_is_clipped_there(tmp_path, wrapper):
    inside = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path)))
    with pytest.raises(SettingError, match="replies to a secure sum hold no update to clip"):
        run(tmp_path, strategy=wrapper(inside, 1.0, 1e-3, NUM_SITES))


@pytest.mark.parametrize("strategy", [Krum, FedMedian, FedTrimmedAvg])
def test_a_strategy_that_needs_single_updates_is_refused_with_the_reason(tmp_path, strategy):
    with pytest.raises(SettingError, match="a secure sum shows none of them"):
        SecAgg(strategy(), terms_of(enroll(tmp_path)))


def test_a_strategy_that_tells_nodes_different_things_is_refused(tmp_path):
    class Uneven(FedAvg):
        def configure_train(self, server_round, arrays, config, grid):
            for k, task in enumerate(super().configure_train(server_round, arrays, config, grid)):
                task.content = type(task.content)({"arrays": arrays, "config": ConfigRecord({"lr": 0.1 * k})})
                yield task

    with pytest.raises(SettingError, match="tells the nodes different things"):
        run(tmp_path, strategy=SecAgg(Uneven(), terms_of(enroll(tmp_path))))


def other_type(message):
    return Message(message.content, message.metadata.dst_node_id, "train.probe")


def other_names(message):
    content = {"model" if key == "arrays" else key: record for key, record in message.content.items()}
    return Message(RecordDict(content), message.metadata.dst_node_id, message.metadata.message_type)


@pytest.mark.parametrize("change", [other_type, other_names])
def test_one_site_that_is_to_run_another_function_than_all_others_gets_no_sum(tmp_path, change):
    app = client_app([secagg_mod(settings_in(tmp_path))])

    @app.train("probe")
    def probe(message, context):
        content = {"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 60})}
        return Message(RecordDict(content), reply_to=message)

    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path)))
    grid = InProcessGrid(
        app,
        tamper=lambda site, message: (
            change(message) if site and kind_of(message) is MessageType.OFFER else message
        ),
    )
    start(strategy, grid, ArrayRecord(net().state_dict()), 1, config())
    assert strategy.reports[0].survivors == ()
    assert "recipe" in refusals(tmp_path, 1)
    assert refusals(tmp_path, 0) == ""


@pytest.mark.parametrize("told", [{"lr": 0.1}, None])
def test_the_configuration_of_the_run_is_part_of_the_terms(tmp_path, told):
    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path)), run_config=told)
    grid = InProcessGrid(client_app([secagg_mod(settings_in(tmp_path))]))
    for site, context in enumerate(grid.contexts.values()):
        context.run_config = {"lr": 0.1 if site else 1e-9}
    start(strategy, grid, ArrayRecord(net().state_dict()), 1, config())
    assert strategy.reports[0].survivors == (NAMES[1:] if told else ())
    assert "recipe" in refusals(tmp_path, 0)
    assert ("recipe" in refusals(tmp_path, 1)) == (told is None)


@pytest.mark.parametrize(("learning_rate", "is_summed"), [(1e-4, False), (0.1, True)])
@pytest.mark.parametrize("is_another_run", [True, False])
def test_an_update_that_was_trained_in_another_way_is_not_sent_again(
    tmp_path, monkeypatch, learning_rate, is_summed, is_another_run
):
    """A round breaks off when the vectors are in; then all start from the same first model."""
    terms = terms_of(enroll(tmp_path))
    trainings = []

    def counted(message, context, call_next):
        trainings.append(context.node_config["partition-id"])
        return call_next(message, context)

    def play(lr, rounds, silent):
        strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms)
        grid = InProcessGrid(client_app([secagg_mod(settings_in(tmp_path)), counted]), silent=silent)
        start(strategy, grid, ArrayRecord(net().state_dict()), rounds, ConfigRecord({"lr": lr}))
        return strategy.reports[-1].survivors

    assert play(0.1, 1, lambda _site, kind, _turn: kind is MessageType.SURVIVORS) == ()
    if is_another_run:
        monkeypatch.setattr("tests.flower.federation.RUN", 78)
    # the first round of a run of the same number is a replay; its second one is not
    assert play(learning_rate, 2, lambda _site, _kind, turn: turn == 0) == (NAMES if is_summed else ())
    assert len(trainings) == NUM_SITES * (1 if is_summed and not is_another_run else 2)
    assert ("another vector" in refusals(tmp_path)) != is_summed


def test_a_node_that_is_not_on_the_roster_takes_nobodys_place(tmp_path):
    """The node of the first site answers with the keys of the second: it is nobody, the second is itself."""
    held = {}

    class Copying(InProcessGrid):
        def answer(self, site, message):
            reply = super().answer(site, message)
            if kind_of(message) is MessageType.OFFER:
                held[site] = reply
                if site == 0:
                    reply.content[PROTOCOL_RECORD]["message"] = b"QSA3" + bytes(200)
            return reply

    strategy = SecAgg(FedAvg(fraction_evaluate=0.0), terms_of(enroll(tmp_path)))
    grid = Copying(client_app([secagg_mod(settings_in(tmp_path))]))
    start(strategy, grid, ArrayRecord(net().state_dict()), 1, config())
    assert strategy.reports[0].survivors == NAMES[1:]


def test_the_facts_of_a_round_under_way_are_in_its_file_and_no_key_of_a_site_is(tmp_path):
    seen = {}

    def look(site, message):
        if site == 0 and kind_of(message) is MessageType.SURVIVORS:
            content = (tmp_path / "rounds-0" / "round").read_bytes()
            seen.update(json.loads(content[8 : 8 + int.from_bytes(content[:8], "big")]))
        return message

    run(tmp_path, tamper=look)
    assert set(seen) == {"round_id", "counter", "model_hash", "length", "run_id", "recipe", "seed"}
    assert seen["counter"] == 1
