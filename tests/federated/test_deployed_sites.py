"""A deployed site over its life: two federations, a lost journal, one budget after another, a revoked key."""

import itertools
import json
import logging
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from quintain.core.errors import NotFoundError, PrivacyError, SettingError
from quintain.core.rounding import epsilon
from quintain.dp import Ledger
from quintain.dp.accounting.release import Release
from quintain.dp.randomness.stream import RandomStream
from quintain.federated import FederatedConfig, SitePrivacy, simulate
from quintain.federated.deployment import ClientSettings, ServerSettings, approve, load_plan
from quintain.federated.deployment.site_daemon import start_site
from quintain.federated.deployment.site_log import site_log
from quintain.federated.engine import local_engine
from quintain.federated.enrollment import save_identity, save_roster
from quintain.federated.grouped_sum import GroupedSum
from quintain.federated.secagg import FolderJournal, Identity, Roster
from quintain.federated.simulated_network import SimulatedNetwork
from quintain.models.weights import save_weights
from tests.federated.deployed import CLIENT, PLAN, RECIPE, SERVER, Asked, deployed
from tests.federated.settings import SHORT, Party, is_ready, weights

NINE = PLAN.replace("max_corrupt = 0\nthreshold = 2\n", "")
PRIVACY = "\n[privacy]\nepsilon = 2\nsteps = 2\nsample_rate = 0.25\n"
SILENT = logging.Logger("nobody reads it", logging.CRITICAL)


def settings_of(files, name, file="client.toml"):
    return ClientSettings.load(files.folder / name / file)


def clients_of(files, names=None, file="client.toml"):
    """The clients of sites that approve their plan."""
    clients = []
    for name in names or files.sites:
        settings = settings_of(files, name, file)
        approve(settings)
        clients.append(start_site(settings, SILENT).client)
    return clients


def run_rounds(files, clients, count=1, file="server.toml"):
    """Rounds by a server that starts from its state; returns it, the last report and the last network."""
    server = ServerSettings.load(files.folder / file).server()

    def work(carry):
        for _ in range(count):
            network = SimulatedNetwork(clients, carry, {}, server.aggregation.replies, lambda _: None)
            report = server.run_round(network)
        return server, report, network

    return local_engine([one.handle for one in clients], work)


def rotated(files, name):
    """Put the next version of the roster in place, in which a site has another key."""
    new = Identity.create(name)
    roster, identities = files.roster, {**files.identities, name: new}
    keys = tuple(identities[one].public for one in roster.names)
    second = Roster(roster.names, keys, 2, ((name, files.identities[name].public),), roster.digest)
    (files.folder / "roster.toml").unlink()
    save_roster(files.folder / "roster.toml", second, identities.values())
    (files.folder / name / "identity.toml").unlink()
    save_identity(files.folder / name / "identity.toml", new)


def test_two_federations_with_one_journal_do_not_subtract_to_a_sites_update(tmp_path):
    """One plan, one net, the same data; one of the four sites is not in the second federation."""
    plan = PLAN.replace("threshold = 2\n", "") + RECIPE
    files = deployed(tmp_path, num_sites=4, plan=plan, client=CLIENT + 'federation = "four"\n')
    *three, fourth = files.sites
    second = CLIENT.replace("../roster.toml", "../second.toml").replace('"socket"', '"socket-2"')
    identities = [files.identities[name] for name in three]
    save_roster(tmp_path / "second.toml", Roster.from_identities(*identities), identities)
    for name in three:
        one_journal = second.replace('"state"', '"state-2"') + 'federation = "three"\n'
        (tmp_path / name / "second.toml").write_text(one_journal)
        two_journals = second.replace('"state"', '"state-3"').replace('"journal"', '"journal-3"')
        (tmp_path / name / "third.toml").write_text(two_journals)
    for number in (2, 3):
        text = SERVER.replace('"roster.toml"', '"second.toml"')
        (tmp_path / f"server-{number}.toml").write_text(text.replace("server.", f"server-{number}."))

    clients = clients_of(files)
    server, report, _ = run_rounds(files, clients)
    assert report.survivors == tuple(files.sites)
    _, report, network = run_rounds(files, clients_of(files, three, "second.toml"), file="server-2.toml")
    assert report.survivors == ()
    assert all("for a roster of other sites" in network.refusals[name] for name in three)
    accepted = [path.parent.name for path in (tmp_path / three[0] / "journal").glob("*/roster-1.toml")]
    assert sorted(accepted) == ["federation-four", "federation-three"]

    # with a journal for each there are two sums, and they do
    other, report, _ = run_rounds(files, clients_of(files, three, "third.toml"), file="server-3.toml")
    assert report.survivors == tuple(three)
    sums = [one.plan.encoding.decode(one.state.published.integers) for one in (server, other)]
    encoding, encoded = server.plan.encoding, clients[list(files.sites).index(fourth)].update.encoded
    np.testing.assert_allclose(sums[0] - sums[1], encoding.decode(encoding.to_signed(encoded)), atol=1e-7)


ROBUST = (
    'robust = "trimmed-mean"\n'
    + NINE.replace("rounds = 3", "rounds = 1")
    + RECIPE
    + '[strategy]\nname = "fedprox"\nmu = 0.5\n'
)
NOISE = "[noise]\nclip_norm = 0.5\nnoise_multiplier = 1\n"
ADAPTIVE = '[strategy]\nname = "fedadam"\nlearning_rate = 0.05\n'
PLANS = {
    "groups and a pull": (9, ROBUST, {"aggregation": GroupedSum("trimmed-mean")}),
    "noise that sites share": (3, PLAN + RECIPE + NOISE + ADAPTIVE, {}),
    "noise by the server": (3, PLAN + RECIPE + NOISE + 'added_by = "server"\n', {}),
}


@pytest.mark.parametrize(("number", "plan", "settings"), PLANS.values(), ids=PLANS)
def test_a_plan_of_noise_groups_and_numbers_of_a_strategy_comes_to_the_simulated_model_bit_for_bit(
    tmp_path, monkeypatch, number, plan, settings
):
    files = deployed(tmp_path, num_sites=number, plan=plan)
    streams = itertools.count()
    monkeypatch.setattr(RandomStream, "from_os_entropy", lambda: RandomStream.from_seed(next(streams)))
    made = load_plan(tmp_path / "plan.toml", files.roster)
    server, report, _ = run_rounds(files, clients_of(files), made.plan.config.rounds)
    assert report.survivors == tuple(files.sites)
    streams = itertools.count()
    run = simulate(files.sites, made.net, made.plan.config, **settings)
    assert torch.equal(weights(server.net), weights(made.net))
    assert (run.privacy is None) == (made.plan.config.client_noise is None)


def test_a_state_without_its_journal_starts_no_daemon_and_is_not_approved(tmp_path):
    files = deployed(tmp_path, plan=PLAN + PRIVACY)
    home, clients = tmp_path / "site-1", clients_of(files)
    run_rounds(files, clients)
    shutil.copytree(home / "state", home / "copy")
    run_rounds(files, clients, 2)
    assert clients[0].ledger.steps == 6
    # the state is put back from a copy, and the journal is mistyped, or gone with its disk
    shutil.rmtree(home / "state")
    shutil.copytree(home / "copy", home / "state")
    path = home / "client.toml"
    path.write_text(CLIENT.replace('"journal"', '"jornal"'))
    for action in (approve, lambda settings: start_site(settings, SILENT)):
        with pytest.raises(
            SettingError, match=r"state was made with another journal than .*/jornal; expected"
        ):
            action(ClientSettings.load(path))
    assert not (home / "jornal").exists()
    path.write_text(CLIENT + 'federation = "xrys"\n')
    with pytest.raises(
        SettingError, match=r"federation = 'xrys', and .*/state was made for ''; expected that"
    ):
        approve(ClientSettings.load(path))
    # with its own journal it goes on, also where the state is lost
    path.write_text(CLIENT)
    assert start_site(ClientSettings.load(path), SILENT).client.ledger.steps == 6
    shutil.rmtree(home / "state")
    approve(ClientSettings.load(path))
    assert start_site(ClientSettings.load(path), SILENT).client.ledger.steps == 6
    # and where both are lost, it begins anew
    shutil.rmtree(home / "state")
    shutil.rmtree(home / "journal")
    approve(ClientSettings.load(path))
    assert start_site(ClientSettings.load(path), SILENT).client.ledger.steps == 0


@pytest.mark.parametrize("lost", ["all notes", "the last note"])
def test_an_update_file_that_knows_of_more_private_rounds_than_the_journal_starts_no_client(tmp_path, lost):
    config = FederatedConfig(3, SHORT, site_privacy=SitePrivacy(2.0, steps=2, sample_rate=0.25))
    party = Party(config=config, folder=tmp_path)
    name = next(iter(party.sites))
    party.clients[0] = party.client(name, update_file=tmp_path / "update")
    server = party.server()
    for _ in range(2):
        server.run_round(party.network())
    assert party.client(name, update_file=tmp_path / "update").ledger.steps == 4
    for note in (tmp_path / name).glob("*.spent-*" if lost == "all notes" else "*.spent-1"):
        note.unlink()
    with pytest.raises(
        PrivacyError, match=r"has notes of [02] private steps of this training, and 4 were taken"
    ):
        party.client(name, update_file=tmp_path / "update")


def test_approval_and_log_add_up_the_private_trainings_of_a_site(tmp_path):
    """Another first model makes another training, as after a rotation."""
    files = deployed(tmp_path, plan=PLAN + PRIVACY)
    home = tmp_path / "site-1"
    assert "spent here" in approve(settings_of(files, "site-1")).own
    assert (
        "nothing, by all private trainings that the journal knows (0); epsilon 2.00 for one record"
        in (approve(settings_of(files, "site-1")).own["spent here"])
    )
    run_rounds(files, clients_of(files), 3)
    (tmp_path / "plan.toml").write_text("seed = 1\n" + PLAN + PRIVACY)
    (tmp_path / "server.toml").write_text(SERVER.replace("server.", "second."))
    said = approve(settings_of(files, "site-1")).own["spent here"]
    assert "knows (1); " in said
    with site_log(home / "state") as log:
        site = start_site(settings_of(files, "site-1"), log)
        asked, server = Asked(), ServerSettings.load(tmp_path / "server.toml").server()
        for _ in range(3):
            server.run_round(asked)
        assert is_ready(site.handle(asked.task))
    notes = [json.loads(path.read_text()) for path in sorted((home / "journal").glob("*.spent-*"))]
    assert len(notes) == 4
    alone, first = Ledger([Release(**notes[0])] * 3), Release(**notes[0])
    whole = Ledger([*alone.releases, *[Release(**{**notes[0], "choice": 1})] * 3])
    so_far = Ledger([*alone.releases, Release(**{**notes[0], "choice": 1})])
    assert first.steps == 2
    assert said.startswith(f"epsilon {epsilon(alone.epsilon(1e-5))} for one record at delta 1e-05, by all")
    assert f"; epsilon {epsilon(whole.epsilon(1e-5))} for one record at delta 1e-05 after all rounds" in said
    assert whole.epsilon(1e-5) > 2.5
    last = (home / "state" / "daemon.log").read_text().splitlines()[-1]
    assert " of 2 spent at delta 1e-05, " in last
    assert f"epsilon {epsilon(so_far.epsilon(1e-5))} for one record at delta 1e-05 by all 2 private" in last


def test_approval_says_how_far_given_first_weights_are_from_a_sites_own_last_model(tmp_path):
    """The server's model begins another training; it may have made that up."""
    files, told = deployed(tmp_path), {}
    server, _, _ = run_rounds(files, clients_of(files), 3)
    assert "first weights here" not in approve(settings_of(files, "site-1")).own
    (tmp_path / "plan.toml").write_text('initial_weights = "first.safetensors"\n' + PLAN + RECIPE)
    save_weights(server.net, tmp_path / "first.safetensors")
    (tmp_path / "site-2" / "state" / "update.safetensors").unlink()
    said = approve(settings_of(files, "site-2")).own["first weights here"]
    assert said.startswith("this site has no earlier model to hold them against")
    for planted in (0.0, 7.0):
        with torch.no_grad():
            next(server.net.parameters())[0] += planted
        save_weights(server.net, tmp_path / "first.safetensors")
        told[planted] = approve(settings_of(files, "site-1")).own["first weights here"]
    assert re.match(r"no weight is farther than 0\.\d+ from this site's last model, of round 3", told[0.0])
    assert "more than one round" not in told[0.0]
    assert "; a round moves a weight by at most 1, " in told[7.0]
    assert "That is more than one round: unless this site has missed some, the server may have" in told[7.0]
    # once the training has begun there is nothing to compare
    (tmp_path / "server.toml").write_text(SERVER.replace("server.", "second."))
    run_rounds(files, clients_of(files), file="server.toml")
    assert "first weights here" not in approve(settings_of(files, "site-1")).own


def test_approval_says_whom_some_images_of_a_folder_are_of(tmp_path):
    """A list in the order of a file manager has the right length, too."""
    plan = PLAN.replace("[6]", "[1, 2, 3]").replace("classes = 2", 'classes = ["a", "b"]') + PRIVACY
    client = CLIENT.replace("data.npz", "images") + 'units = "units.txt"\n'
    files = deployed(tmp_path, plan=plan + 'unit = "patient"\n', client=client)
    home = tmp_path / "site-1"
    for label in "ab":
        folder = home / "images" / "train" / label
        folder.mkdir(parents=True)
        for number in (2, 10):
            Image.fromarray(np.zeros((2, 3), np.uint8)).save(folder / f"{number}.png")
    (home / "units.txt").write_text("p2\np10\nq2\nq10\n")
    said = approve(settings_of(files, "site-1")).own["patients here"]
    assert said == "a/10.png is of 'p2', a/2.png is of 'p10', b/10.png is of 'q2', b/2.png is of 'q10'"
    (home / "images" / "train").rename(home / "moved")
    (home / "images").rmdir()
    (home / "moved").rename(home / "images")
    with pytest.raises(NotFoundError, match="images' has no split to train on, only test; expected a folder"):
        approve(settings_of(files, "site-1"))


def test_trainings_that_protect_different_units_are_told_apart(tmp_path):
    files = deployed(tmp_path, plan=PLAN + PRIVACY, client=CLIENT)
    run_rounds(files, clients_of(files))
    (tmp_path / "plan.toml").write_text(PLAN + PRIVACY + 'unit = "patient"\n')
    home = tmp_path / "site-1"
    number = len(files.sites["site-1"])
    (home / "client.toml").write_text(CLIENT + 'units = "units.txt"\n')
    (home / "units.txt").write_text("".join(f"p{row // 2}\n" for row in range(number)), encoding="utf-8-sig")
    own = approve(settings_of(files, "site-1")).own
    assert own["data here"] == f"{number} examples of {(number + 1) // 2} patients"
    assert "epsilon 2.00 for one patient and epsilon " in own["spent here"].split("; ")[1]
    assert " for one patient" not in own["spent here"].split("; ")[0]
    # nor does a training without privacy go on in silence where an epsilon was promised
    (tmp_path / "plan.toml").write_text(PLAN + RECIPE)
    (home / "client.toml").write_text(CLIENT)
    said = approve(settings_of(files, "site-1")).own["spent here"]
    assert "by 1 private trainings that the journal knows, and this plan has no [privacy]" in said


def test_a_running_daemon_takes_no_round_of_a_revoked_roster_or_without_its_approval(tmp_path):
    files = deployed(tmp_path)
    sites, logs = {}, {}
    for name in ("site-1", "site-2"):
        approve(settings_of(files, name))
        logs[name] = tmp_path / name / "state" / "daemon.log"
    with site_log(tmp_path / "site-1" / "state") as one, site_log(tmp_path / "site-2" / "state") as other:
        for name, log in (("site-1", one), ("site-2", other)):
            sites[name] = start_site(settings_of(files, name), log)
        asked, server = Asked(), ServerSettings.load(tmp_path / "server.toml").server()
        server.run_round(asked)
        assert all(is_ready(site.handle(asked.task)) for site in sites.values())
        # the key of the third site is stolen and revoked; the first approves that, its daemon runs on
        rotated(files, "site-3")
        approve(settings_of(files, "site-1"))
        (tmp_path / "site-2" / "state" / "approved.toml").unlink()
        server.run_round(asked)
        assert [site.handle(asked.task) for site in sites.values()] == [b"", b""]
    told = logs["site-1"].read_text()
    assert "since this daemon was started, the site has approved another digest, roster, site site-3" in told
    assert ", accepted roster (version 2, " in told
    assert "has not approved" in logs["site-2"].read_text()


def test_a_journal_has_one_name_for_life_and_another_journal_has_another(tmp_path):
    one, other = FolderJournal(tmp_path / "one"), FolderJournal(tmp_path / "other")
    assert one.names == frozenset()
    assert not (tmp_path / "one").exists()
    name = one.name()
    assert one.name() == name == FolderJournal(tmp_path / "one").name()
    assert one.names == {name}
    assert other.name() != name


def test_an_approval_says_where_noisy_sums_have_told_of_the_site_before(tmp_path):
    files = deployed(tmp_path, plan=PLAN + RECIPE + NOISE)
    run_rounds(files, clients_of(files), 1)
    assert "noisy sums" not in approve(settings_of(files, "site-1")).own
    (tmp_path / "plan.toml").write_text(PLAN + RECIPE + NOISE + "delta = 1e-6\n")
    said = approve(settings_of(files, "site-1")).own["noisy sums"]
    assert said.startswith("of 1 other trainings that the journal knows")
    assert said.endswith("their epsilons for it add to this plan's")
    (tmp_path / "plan.toml").write_text(PLAN + RECIPE)
    assert approve(settings_of(files, "site-1")).own["noisy sums"].endswith("without a bound")
