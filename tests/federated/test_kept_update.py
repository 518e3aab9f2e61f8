"""What a client keeps of a round is sent by the net that made it alone, and with noise for so many models."""

import shutil

import numpy as np
import pytest
from torch import nn

from quintain.core.errors import ProtocolError
from quintain.federated import Client, ClientConfig, ClientNoise, FederatedConfig
from quintain.federated.model_bytes import add_update, model_digest
from quintain.federated.round_messages import PublishedSum
from quintain.federated.secagg import FolderJournal, MemoryJournal
from tests.federated.settings import SHORT, Party, is_ready, linear
from tests.federated.test_client import task_of

NAME = "hospital-1"


def hard():
    """The names, shapes and weights of ``linear``, and other activations."""
    net = linear()
    net[2] = nn.Hardtanh()
    return net


def test_an_update_that_another_net_made_of_the_same_weights_is_not_sent(tmp_path):
    """A plan knows the file of a net, and not what that file imports."""
    assert model_digest(hard()) == model_digest(linear())
    party = Party()
    config = ClientConfig(party.plan(), update_file=tmp_path / "update")

    def update_by(net, counter):
        client = Client(config, party.identities[NAME], party.sites[NAME], net, MemoryJournal())
        kept = client.update
        message = task_of(party.plan(), linear(), counter=counter, round_id=bytes([counter]) * 16).pack()
        assert is_ready(client.handle(message))
        return kept, client.update

    nothing, first = update_by(linear(), 0)
    kept, again = update_by(linear(), 1)
    assert nothing is None
    assert again is kept
    np.testing.assert_array_equal(again.encoded, first.encoded)
    kept, other = update_by(hard(), 2)
    assert other is not kept
    assert (other.encoded != first.encoded).any()


@pytest.mark.parametrize("added_by", ["sites", "server"])
def test_noisy_updates_are_sent_over_as_many_models_as_epsilon_counts(tmp_path, added_by):
    """The update file is put back from a copy, and the server says that the sum was another one."""
    noise = ClientNoise(clip_norm=0.5, noise_multiplier=2.0, max_dropped=1, added_by=added_by)
    party = Party(config=FederatedConfig(2, SHORT, client_noise=noise), folder=tmp_path)
    plan, file, copy = party.plan(), tmp_path / "update", tmp_path / "copy"
    counters = iter(range(99))

    def told(index, *, first_word=0, sends=True):
        """What a client that starts anew says to the task of a round, before its vector leaves."""
        counter, net, published = next(counters), linear(), None
        client = party.client(NAME, update_file=file)
        if first_word:
            integers = np.zeros(plan.encoding.num_words, dtype=np.int64)
            integers[0] = first_word
            # of the other sites: this one has sent no vector
            published = PublishedSum(client.last_counter, (1, 2, 3), integers)
            add_update(net, plan.step(integers, plan.roster.names[1:], {})[0])
        task = task_of(
            plan, net, index=index, counter=counter, round_id=bytes([counter]) * 16, published=published
        )
        reply = client.handle(task.pack())
        if sends:
            policy = plan.policy(counter, task.round_id, model_digest(net))
            journal = client._participant._state.context.journal
            journal.claim_update(policy.task.federation, counter, policy.model_hash, task.round_id)
        return reply

    # a task of which nothing comes
    assert is_ready(told(0, sends=False))
    assert not list((tmp_path / NAME).glob("*noise*"))
    assert is_ready(told(0))
    shutil.copy(file, copy)
    assert is_ready(told(1, first_word=1000))
    # the same models again: one vector each, whose noise counts once
    assert is_ready(told(1, first_word=1000))
    shutil.copy(copy, file)
    assert is_ready(told(0))
    kept = file.read_bytes()
    with pytest.raises(ProtocolError, match=r"noisy updates over 2 models .* its epsilon counts 2 sums"):
        told(1, first_word=2000)
    assert file.read_bytes() == kept
    assert is_ready(told(1, first_word=1000))


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_journal_counts_noisy_sums_by_their_models(kind, tmp_path):
    def journal():
        return notes if kind == "memory" else FolderJournal(tmp_path)

    notes = MemoryJournal()
    models = [bytes([place]) * 32 for place in range(3)]
    for model in (*models[:2], models[0]):
        journal().claim_noise("training", model, 2)
    with pytest.raises(ProtocolError, match="over 2 models of this training, and its epsilon counts 2 sums"):
        journal().claim_noise("training", models[2], 2)
    journal().claim_noise("training", models[1], 2)
    journal().claim_noise("another", models[2], 2)
    assert journal().noted_spending("training") == ()


def test_a_note_of_noise_that_a_crash_cut_off_counts(tmp_path):
    FolderJournal(tmp_path).claim_noise("training", b"a" * 32, 1)
    (note,) = tmp_path.glob("*noise*")
    note.write_bytes(b"")
    with pytest.raises(ProtocolError, match="over 1 models"):
        FolderJournal(tmp_path).claim_noise("training", b"a" * 32, 1)


def test_made_up_tasks_use_up_no_noise_and_lock_no_site_out(tmp_path):
    noise = ClientNoise(clip_norm=0.5, noise_multiplier=2.0)
    party = Party(config=FederatedConfig(2, SHORT, client_noise=noise), folder=tmp_path)
    plan, server, client = party.plan(), party.server(), party.clients[0]

    def claims():
        return len(list((tmp_path / NAME).glob("*noise*")))

    assert len(server.run_round(party.network()).survivors) == 4
    assert claims() == 1
    for number, word in enumerate((1000, 2000, 3000), 5):
        integers, net = np.zeros(plan.encoding.num_words, dtype=np.int64), linear()
        integers[0] = word
        add_update(net, plan.step(integers, plan.roster.names, {})[0])
        published = PublishedSum(0, (0, 1, 2, 3), integers)
        task = task_of(plan, net, index=1, counter=number, round_id=bytes([number]) * 16, published=published)
        assert is_ready(client.handle(task.pack()))
    assert claims() == 1
    assert len(server.run_round(party.network()).survivors) == 4
    assert claims() == 2
