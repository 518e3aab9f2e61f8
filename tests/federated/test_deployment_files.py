"""The files of a deployment: each key is known, what is wrong is one line, and all read one plan."""

import os
import re
from dataclasses import replace

import pytest
import torch

from quintain.core.errors import (
    ModelError,
    NotFoundError,
    ProtocolError,
    RunFolderError,
    SettingError,
    StorageError,
)
from quintain.core.rounding import bound
from quintain.federated import (
    ClientNoise,
    Deadlines,
    FedAdam,
    FederatedConfig,
    FedProx,
    PersonalHead,
    PlainMean,
    SecureSum,
    SitePrivacy,
)
from quintain.federated.deployment import ClientSettings, ServerSettings, approve, load_plan
from quintain.federated.deployment.approval import file_terms, net_terms
from quintain.federated.deployment.plan_file import PlanFile
from quintain.federated.enrollment import save_identity, save_roster
from quintain.federated.homomorphic_sum import HomomorphicSum
from quintain.federated.model_bytes import model_digest
from quintain.federated.secagg import Identity, Roster
from quintain.federated.secagg.message_bodies import check_offer, pack_offer
from quintain.federated.site_privacy import private_sites
from quintain.models.weights import save_weights
from tests.federated.deployed import CLIENT, NET, PLAN, RECIPE, SERVER, deployed, save_data
from tests.federated.settings import SHORT, weights

HUGE = "9" * 400
PRIVACY = '[privacy]\nepsilon = 3\nunit = "patient"\n'


@pytest.fixture
def files(tmp_path):
    return deployed(tmp_path)


def written(files, plan):
    (files.folder / "plan.toml").write_text(plan)
    return load_plan(files.folder / "plan.toml", files.roster)


def client_of(settings):
    identity, roster = settings.members()
    return settings.client(settings.deployment(PlanFile.load(settings.plan), roster), identity)


def test_a_plan_says_model_recipe_and_terms_and_is_the_same_for_all_who_read_it(files):
    one, other = (load_plan(files.folder / "plan.toml", files.roster) for _ in range(2))
    assert one.plan.config == FederatedConfig(3, SHORT, threshold=2, max_corrupt=0)
    assert one.plan.policy(0, bytes(16), bytes(32)) == other.plan.policy(0, bytes(16), bytes(32))
    assert isinstance(one.aggregation, SecureSum)
    assert torch.equal(weights(one.net), weights(other.net))
    seeded = written(files, 'seed = 1\nsecure = "none"\n' + PLAN + RECIPE)
    assert isinstance(seeded.aggregation, PlainMean)
    assert not torch.equal(weights(one.net), weights(seeded.net))
    save_weights(seeded.net, files.folder / "first.safetensors")
    given = written(files, 'initial_weights = "first.safetensors"\n' + PLAN + RECIPE)
    assert torch.equal(weights(given.net), weights(seeded.net))


def test_a_plan_with_privacy_has_the_budget_of_the_command_line_and_a_unit_in_its_terms(files):
    made = written(files, PLAN + PRIVACY)
    assert made.plan.config.site_privacy == private_sites(3.0, 1e-5, None)
    assert "patient" in made.plan.data
    fewer = written(files, PLAN + PRIVACY + "steps = 8\n")
    assert fewer.plan.config.site_privacy == SitePrivacy(3.0, 1e-5, steps=8)


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (PLAN.replace("rounds", "round") + RECIPE, "no key is called 'round'. Did you mean rounds?"),
        (PLAN.replace("rounds = 3", "") + RECIPE, "plan.toml: rounds is missing"),
        (PLAN.replace("3", '"three"') + RECIPE, "plan.toml: rounds = 'three'; expected a whole number"),
        (PLAN.replace("3", "true") + RECIPE, "plan.toml: rounds = True; expected a whole number"),
        (PLAN.replace("3", "0") + RECIPE, "plan.toml: rounds = 0; expected at least 1"),
        (PLAN.replace("classes = 2", "classes = 1") + RECIPE, "plan.toml: classes = 1; expected"),
        (PLAN.replace("classes = 2", 'classes = ["a", "a"]') + RECIPE, "plan.toml: classes = "),
        (PLAN.replace("[6]", "[0]") + RECIPE, r"plan.toml: shape = \[0\]; expected"),
        (PLAN.replace("[6]", "[6, 99999999]") + RECIPE, r"plan.toml: shape = .* at most 268,435,456 numbers"),
        (PLAN.replace("threshold = 2", "threshold = 1") + RECIPE, "plan.toml: .*threshold"),
        (PLAN.replace("= 0", "= -1") + RECIPE, "plan.toml: .*corrupt"),
        (PLAN + "clip_value = nan\n" + RECIPE, "plan.toml: .*clip"),
        (PLAN, r"plan.toml: \[recipe\] is missing"),
        (PLAN + RECIPE + PRIVACY, r"plan.toml: \[recipe\] beside \[privacy\]"),
        (
            PLAN + RECIPE + "epoch = 2\n",
            r"plan.toml: \[recipe\] no key is called 'epoch'. Did you mean epochs",
        ),
        (PLAN + RECIPE.replace("0.05", "-1"), r"plan.toml: \[recipe\] learning_rate = -1.0; expected"),
        (PLAN + RECIPE + 'optimizer = "adm"\n', r"plan.toml: \[recipe\] optimizer = 'adm'; expected one of"),
        (PLAN + "recipe = 3\n", "plan.toml: recipe = 3; expected a table"),
        (PLAN + PRIVACY.replace("3", "-3"), r"plan.toml: \[privacy\] got epsilon = -3.0; expected"),
        (PLAN + PRIVACY.replace("patient", "doctor"), r"\[privacy\] unit = 'doctor'; expected one of"),
        (PLAN + 'secure = "segagg"\n' + RECIPE, "plan.toml: .*'segagg'. Did you mean secagg"),
        (PLAN + 'strategy = "fedproxy"\n' + RECIPE, "plan.toml: .*Did you mean fedprox"),
        (PLAN + 'secure = "he"\n' + RECIPE, "plan.toml: key_id = None"),
        (PLAN + 'secure = "he"\nkey_id = "00"\n' + RECIPE, "plan.toml: key_id = '00'"),
        (PLAN + 'key_id = "00"\n' + RECIPE, "plan.toml: key_id = '00'.*leave it out"),
        (PLAN + RECIPE + "[weights]\nsite-1 = 1\n", "plan.toml: weights does not fit"),
        (
            PLAN + RECIPE + "[weights]\nsite-1 = 1.5\n",
            r"plan.toml: \[weights\] site-1 = 1.5; expected a whole",
        ),
        (PLAN + "rounds = 4\n" + RECIPE, "plan.toml is no TOML"),
        (PLAN + "[recipe\n", "plan.toml is no TOML"),
        *(
            (
                plan,
                rf"plan.toml: {key} = .*\.\.\. \(\d+ characters\); expected whole numbers of at most 64 bits",
            )
            for key, plan in {
                "clip_value": f"clip_value = {HUGE}\n{PLAN}{RECIPE}",
                "rounds": PLAN.replace("rounds = 3", f"rounds = {HUGE}") + RECIPE,
                "seed": f"seed = -{HUGE}\n{PLAN}{RECIPE}",
                "classes": PLAN.replace("classes = 2", f"classes = {HUGE}") + RECIPE,
                "shape": PLAN.replace("[6]", f"[6, {HUGE}]") + RECIPE,
                r"\[recipe\] learning_rate": PLAN + RECIPE.replace("0.05", HUGE),
                r"\[privacy\] epsilon": PLAN + PRIVACY.replace("3", HUGE),
                r"\[weights\] site-1": f"{PLAN}{RECIPE}[weights]\nsite-1 = {HUGE}\n",
            }.items()
        ),
        (PLAN.replace("rounds = 3", f"rounds = {2**63}") + RECIPE, f"plan.toml: rounds = {2**63}; expected"),
    ],
)
def test_what_is_wrong_in_a_plan_is_one_line_with_file_and_key(files, plan, complaint):
    with pytest.raises(SettingError, match=complaint) as caught:
        written(files, plan)
    assert "\n" not in str(caught.value)


def test_all_unknown_and_missing_keys_and_wrong_types_are_said_at_once(files):
    with pytest.raises(SettingError) as caught:
        written(files, PLAN.replace("rounds = 3", 'modle = "x"\nseed = "one"'))
    for said in ("'modle'", "rounds is missing", "seed = 'one'"):
        assert said in str(caught.value)


def test_a_model_that_is_missing_broken_or_of_other_examples_is_refused(files):
    with pytest.raises(NotFoundError, match=r"no file .*nets\.py"):
        written(files, PLAN.replace("net.py", "nets.py") + RECIPE)
    with pytest.raises(NotFoundError, match="has no 'mak'"):
        written(files, PLAN.replace(":make", ":mak") + RECIPE)
    with pytest.raises(ModelError, match=r"fails on an input of shape \(2, 7\)"):
        written(files, PLAN.replace("[6]", "[7]") + RECIPE)
    (files.folder / "net.py").write_text("raise ValueError('no')\n")
    with pytest.raises(ModelError, match=r"net\.py, line 1: ValueError: no"):
        written(files, PLAN + RECIPE)
    with pytest.raises(NotFoundError, match="no file"):
        load_plan(files.folder / "none.toml", files.roster)


def test_a_homomorphic_sum_takes_the_key_at_a_site_and_its_id_in_the_plan(files):
    from quintain.federated import SharedKey

    key = SharedKey.create()
    key.save(files.folder / "key")
    said = f'secure = "he"\nkey_id = "{key.key_id.hex()}"\n'
    made = written(files, said + PLAN + RECIPE)
    assert isinstance(made.aggregation, HomomorphicSum)
    path = files.client("site-1")
    plan = PlanFile.load(files.folder / "plan.toml")
    with pytest.raises(SettingError, match="key is missing"):
        ClientSettings.load(path).deployment(plan, files.roster)
    path.write_text(CLIENT + 'key = "../key"\n')
    settings = ClientSettings.load(path)
    assert settings.deployment(plan, files.roster).aggregation.key_id == key.key_id
    other = SharedKey.create()
    other.save(files.folder / "other")
    path.write_text(CLIENT + 'key = "../other"\n')
    with pytest.raises(SettingError, match=f"{other.key_id.hex()}; expected that of"):
        ClientSettings.load(path).deployment(plan, files.roster)
    (files.folder / "plan.toml").write_text(PLAN + RECIPE)
    with pytest.raises(SettingError, match=r"sums by secagg.*leave it out"):
        settings.deployment(PlanFile.load(files.folder / "plan.toml"), files.roster)


def test_a_sites_settings_make_its_client_with_paths_relative_to_the_file(files):
    settings = ClientSettings.load(files.client("site-2"))
    assert settings.socket == files.folder / "site-2" / "socket"
    client = client_of(settings)
    assert client.name == "site-2"
    assert client.config.update_file == files.folder / "site-2" / "state" / "update.safetensors"
    assert client.last_counter == -1


@pytest.mark.parametrize(
    ("client", "complaint"),
    [
        (CLIENT + "sede = 1\n", "client.toml: no key is called 'sede'. Did you mean seed"),
        (CLIENT.replace('socket = "socket"', ""), "client.toml: socket is missing"),
        (CLIENT + 'seed = "1"\n', "client.toml: seed = '1'; expected a whole number"),
        (CLIENT.replace('"journal"', "3"), "client.toml: journal = 3; expected the path"),
        (
            CLIENT.replace('"journal"', '"state"'),
            "client.toml: state = '.*' and journal = '.*' are one folder",
        ),
        (CLIENT.replace('"journal"', '"state/journal"'), "or one is in the other; expected two beside each"),
        (CLIENT.replace('"state"', '"journal/state"'), "or one is in the other; expected two beside each"),
        (CLIENT + "[seed\n", "client.toml is no TOML"),
    ],
)
def test_what_is_wrong_in_a_sites_settings_is_one_line_with_file_and_key(files, client, complaint):
    files.client("site-1").write_text(client)
    with pytest.raises(SettingError, match=complaint):
        ClientSettings.load(files.client("site-1"))


def test_a_site_that_the_roster_does_not_list_or_whose_files_are_loose_is_refused(files):
    settings = ClientSettings.load(files.client("site-1"))
    settings.identity.chmod(0o644)
    with pytest.raises(SettingError, match="mode 0644; expected 0600"):
        settings.members()
    settings.identity.unlink()
    save_identity(settings.identity, Identity.create("site-1"))
    with pytest.raises(SettingError, match=r"roster\.toml: the roster lists another key for 'site-1'"):
        settings.members()
    settings.identity.unlink()
    save_identity(settings.identity, Identity.create("site-9"))
    with pytest.raises(SettingError, match=r"roster\.toml: no site is called 'site-9'"):
        settings.members()
    settings.identity.unlink()
    with pytest.raises(NotFoundError, match=r"identity\.toml"):
        settings.members()


def test_data_of_another_shape_or_other_classes_than_the_plans_are_refused(files):
    settings = ClientSettings.load(files.client("site-1"))
    data = files.folder / "site-1" / "data.npz"
    own = files.sites["site-1"]
    save_data(data, own, class_names=["ill", "well"])
    with pytest.raises(SettingError, match=r"has the classes ill, well; expected .*2 without names"):
        client_of(settings)
    (files.folder / "plan.toml").write_text(PLAN.replace("= 2\nsh", '= ["well", "ill"]\nsh') + RECIPE)
    with pytest.raises(SettingError, match=r"has the classes ill, well; expected .*well, ill"):
        client_of(settings)
    save_data(data, own, class_names=["well", "ill"])
    assert client_of(settings).name == "site-1"
    save_data(data, own, class_names=["0", "1", "2"])
    with pytest.raises(SettingError, match=r"labels up to 2; expected 2 classes"):
        client_of(settings)
    (files.folder / "plan.toml").write_text(PLAN.replace("[6]", "[2, 3]") + RECIPE)
    with pytest.raises(SettingError, match=r"has examples of shape \(6,\); expected \(2, 3\)"):
        client_of(settings)
    data.unlink()
    with pytest.raises(NotFoundError, match=r"data\.npz"):
        client_of(settings)


def test_units_are_given_where_the_plan_protects_patients_and_nowhere_else(files):
    settings = ClientSettings.load(files.client("site-1"))
    (files.folder / "plan.toml").write_text(PLAN + PRIVACY)
    with pytest.raises(SettingError, match="units is missing"):
        client_of(settings)
    units = files.folder / "site-1" / "patients.txt"
    files.client("site-1").write_text(CLIENT + 'units = "patients.txt"\n')
    settings = ClientSettings.load(files.client("site-1"))
    with pytest.raises(SettingError, match=r"cannot read .*patients\.txt"):
        client_of(settings)
    units.write_text("a\nb\n")
    with pytest.raises(SettingError, match=r"patients\.txt: got 2 keys of units for"):
        client_of(settings)
    units.write_text("a\n\n")
    with pytest.raises(SettingError, match=r"patients\.txt, line 2 is empty"):
        client_of(settings)
    for line in ("a ", "\u00a0a", "a\u200b", "a\t"):
        units.write_text(f"a\n{line}\n")
        with pytest.raises(SettingError, match=r"patients\.txt, line 2 is .*; expected no blank at an end"):
            client_of(settings)
    units.write_text("a\n\u3164\n")
    with pytest.raises(SettingError, match=r"patients\.txt, line 2 is empty"):
        client_of(settings)
    unseen = [("p0", f"p{one}0") for one in "\ufe0f\u034f\u3164\u2800\U000e0100"]
    hyphens = [("a-1", f"a{one}1") for one in "\u2010\u2011\u2212\u2013"]
    joined = ("M\u00fcller", "Mu\u034f\u0308ller")
    for one, other in (("M\u00fcller", "Mu\u0308ller"), joined, ("J. D", "J.  D"), *unseen, *hyphens):
        units.write_text(f"{one}\nb\n{other}\n")
        with pytest.raises(SettingError, match=r"line 3 is .*, and line 1 is .*, which looks the same"):
            client_of(settings)
    units.write_text("".join(f"{row // 2}\n" for row in range(len(files.sites["site-1"]))))
    assert client_of(settings).name == "site-1"
    (files.folder / "plan.toml").write_text(PLAN + RECIPE)
    with pytest.raises(SettingError, match="protects single records or none"):
        client_of(settings)


def test_a_servers_settings_make_a_server_that_goes_on_from_its_state(files):
    path = files.folder / "server.toml"
    settings = ServerSettings.load(path)
    assert settings.deadlines == Deadlines()
    server = settings.server()
    assert not server.is_finished
    assert settings.save_model(server)
    assert (files.folder / "federated.safetensors").exists()
    path.write_text(SERVER + "[deadlines]\ntrain = 5\n")
    assert ServerSettings.load(path).deadlines == Deadlines(train=5.0)
    for text, complaint in (
        (SERVER + "[deadlines]\nstage = -1\n", r"server\.toml: \[deadlines\] stage = -1.0"),
        (SERVER + "[deadline]\nstage = 1\n", r"server\.toml: no key is called 'deadline'. Did you mean"),
        (SERVER.replace("roster", "rooster", 1), r"server\.toml: no key is called 'rooster'"),
        (SERVER.replace("federated", "server"), r"server\.toml: state and model are one file"),
    ):
        path.write_text(text)
        with pytest.raises(SettingError, match=complaint):
            ServerSettings.load(path)


def test_a_server_does_not_write_its_model_over_the_first_weights(files):
    settings = ServerSettings.load(files.folder / "server.toml")
    settings.save_model(settings.server())
    (files.folder / "plan.toml").write_text('initial_weights = "federated.safetensors"\n' + PLAN + RECIPE)
    with pytest.raises(SettingError, match=r"server\.toml: model = .* is the file of the first weights"):
        settings.server()
    settings.model.rename(files.folder / "first.safetensors")
    (files.folder / "plan.toml").write_text('initial_weights = "first.safetensors"\n' + PLAN + RECIPE)
    assert not settings.server().is_finished


def test_settings_with_a_mark_of_their_encoding_are_read(files):
    files.client("site-1").write_text(CLIENT, encoding="utf-8-sig")
    assert ClientSettings.load(files.client("site-1")).data.endswith("data.npz")


def test_a_folder_of_another_user_is_refused_by_name(files, monkeypatch):
    settings = ClientSettings.load(files.client("site-1"))
    settings.state.mkdir(mode=0o700)
    monkeypatch.setattr(os, "access", lambda path, mode: path != settings.state)
    with pytest.raises(StorageError, match=r"the folder .*/state is another user's; expected one of who"):
        approve(settings)


@pytest.mark.parametrize(
    ("line", "another"),
    [
        ("learning_rate = 0.05", "learning_rate = 0.06"),
        ("rounds = 3", "rounds = 4"),
        ("rounds = 3", "rounds = 3\nmin_cohort_change = 3"),
    ],
)
def test_sites_with_different_plans_refuse_each_others_rounds_by_name(files, line, another):
    one = written(files, PLAN + RECIPE).plan
    other = written(files, (PLAN + RECIPE).replace(line, another)).plan
    with pytest.raises(ProtocolError, match="recipe"):
        check_offer(pack_offer(one.policy(0, bytes(16), bytes(32))), other.policy(0, bytes(16), bytes(32)))


HARD = NET.replace("nn.Tanh()", "nn.Hardtanh()")
"""A net with the names, shapes and first weights of ``NET``, and other activations."""


def test_a_net_of_another_program_is_another_term_though_its_weights_are_the_same(files):
    one = written(files, PLAN + RECIPE)
    (files.folder / "net.py").write_text(HARD)
    other = written(files, PLAN + RECIPE)
    assert model_digest(one.net) == model_digest(other.net)
    assert one.plan.fingerprint != other.plan.fingerprint
    offered = pack_offer(one.plan.policy(0, bytes(16), model_digest(one.net)))
    with pytest.raises(ProtocolError, match="the server offers data"):
        check_offer(offered, other.plan.policy(0, bytes(16), model_digest(other.net)))
    (files.folder / "net.py").write_text(NET + "\n\nother = make\n")
    for factory in ("make", "other"):
        plan = written(files, PLAN.replace("net.py:make", f"net.py:{factory}") + RECIPE).plan
        assert f"for the model that {factory} makes in a file of SHA-256 " in plan.data
    named = replace(PlanFile.load(files.folder / "plan.toml"), model="xray-cnn")
    assert named.program_text == "the model xray-cnn"


def with_another_key(files):
    path, name = files.folder / "roster.toml", "site-2"
    identities = {**files.identities, name: Identity.create(name)}
    path.unlink()
    save_roster(path, Roster.from_identities(*identities.values()), identities.values())


OF_ANOTHER = {
    "key": with_another_key,
    "net": lambda files: (files.folder / "net.py").write_text(HARD),
    "first model": lambda files: (files.folder / "plan.toml").write_text("seed = 7\n" + PLAN + RECIPE),
}


@pytest.mark.parametrize("term", OF_ANOTHER)
def test_the_state_of_a_server_is_of_one_roster_one_net_and_one_first_model(files, term):
    settings = ServerSettings.load(files.folder / "server.toml")
    server = settings.server()
    server._save()
    assert settings.server().state == server.state
    OF_ANOTHER[term](files)
    with pytest.raises(RunFolderError, match="a training under other terms"):
        settings.server()


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ("", "of 3 sites; for one of them, which can take its own off it, it is two others' updates"),
        ("max_corrupt = 0\nthreshold = 3\n", "of 3 sites; for one of them, "),
        (
            "max_corrupt = 0\nthreshold = 3\nmin_survivors = 2\n",
            "of 2 sites; .* it is another site's update: ",
        ),
        ("max_corrupt = 0\nmin_survivors = 4\n", None),
        ("max_corrupt = 1\nmin_survivors = 4\n", None),
        ("max_corrupt = 2\nthreshold = 4\n", "of 4 sites; for 2 of them, .* two others' .* = 5 leaves 3"),
        ('secure = "none"\n', None),
    ],
)
def test_an_approval_says_how_little_is_left_of_the_smallest_sum(tmp_path, terms, said):
    lines = "".join(
        one for one in PLAN.splitlines(keepends=True) if "corrupt" not in one and "thresh" not in one
    )
    files = deployed(tmp_path, num_sites=4, plan=terms + lines + RECIPE)
    shown = file_terms(PlanFile.load(tmp_path / "plan.toml"), files.roster)
    assert ("smallest sum" in shown) == (said is not None)
    assert said is None or re.match(said, shown["smallest sum"])


def test_the_state_of_a_server_or_a_site_is_no_first_weights_and_is_told_as_that(files):
    state = files.folder / "server.safetensors"
    server = ServerSettings.load(files.folder / "server.toml").server()
    server.run_round(Nobody())
    assert state.exists()
    complaint = r"initial_weights = '.*server\.safetensors' is the state of a server or a site; expected the"
    with pytest.raises(SettingError, match=complaint):
        written(files, 'initial_weights = "server.safetensors"\n' + PLAN + RECIPE)


def test_a_site_joins_late_if_its_own_settings_say_so(files):
    path = files.client("site-1")
    assert not client_of(ClientSettings.load(path)).config.joins_late
    path.write_text(CLIENT + "joins_late = true\n")
    assert client_of(ClientSettings.load(path)).config.joins_late
    path.write_text(CLIENT + "joins_late = 1\n")
    with pytest.raises(SettingError, match="joins_late = 1; expected true or false"):
        ClientSettings.load(path)


class Nobody:
    """A transport on which nobody answers."""

    def broadcast(self, message, sites):
        return {}

    def exchange(self, outgoing):
        return {}

    def cancel(self, message, sites):
        pass


NOISE = "\n[noise]\nclip_norm = 0.5\nnoise_multiplier = 1\n"
NINE = PLAN.replace("max_corrupt = 0\nthreshold = 2\n", "")


def test_a_plan_with_noise_a_robust_average_or_a_strategys_numbers_is_that_of_the_command_line(files):
    made = written(files, PLAN + RECIPE + NOISE + "max_dropped = 1\n")
    assert made.plan.config.client_noise == ClientNoise(0.5, 1.0, max_dropped=1)
    assert made.plan.min_survivors == 2
    by_server = written(files, PLAN + RECIPE + NOISE + 'added_by = "server"\ndelta = 1e-6\n')
    assert by_server.plan.config.client_noise == ClientNoise(0.5, 1.0, added_by="server", delta=1e-6)
    pulled = written(files, PLAN + RECIPE + '[strategy]\nname = "fedprox"\nmu = 1\n')
    assert pulled.plan.strategy == FedProx(mu=1.0)
    assert written(files, PLAN + 'strategy = "fedprox"\n' + RECIPE).plan.strategy == FedProx()
    adaptive = written(files, PLAN + RECIPE + '[strategy]\nname = "fedadam"\nlearning_rate = 0.1\n')
    assert adaptive.plan.strategy == FedAdam(learning_rate=0.1)
    head = written(files, PLAN + RECIPE + '[strategy]\nname = "personal-head"\nprefix = "3."\n')
    assert head.plan.strategy == PersonalHead(prefix="3.")


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        (PLAN + RECIPE + "[noise]\nclip_norm = 1\n", r"plan.toml: \[noise\] noise_multiplier is missing"),
        (PLAN + RECIPE + NOISE + "add_by = 1\n", r"\[noise\] no key is called 'add_by'. Did you mean added"),
        (PLAN + RECIPE + NOISE + 'added_by = "us"\n', r"\[noise\] added_by = 'us'; expected one of"),
        (PLAN + RECIPE + NOISE.replace("0.5", "-1"), r"\[noise\] clip_norm = -1.0; expected a positive"),
        (PLAN + PRIVACY + NOISE, "plan.toml: site_privacy and client_noise are both set"),
        (PLAN + "clip_value = 0.01\n" + RECIPE + NOISE, r"plan.toml: clip_value beside \[noise\], which dec"),
        (PLAN + 'secure = "none"\n' + RECIPE + NOISE, "plan.toml: sites share the noise, and the aggreg"),
        (PLAN + RECIPE + NOISE + "max_dropped = 2\n", "plan.toml: 3 sites, of which 2 may drop out"),
        (PLAN + 'robust = "median"\n' + RECIPE, "plan.toml: 3 sites in groups of 3; expected at least 3"),
        (PLAN + 'robust = "krum"\n' + RECIPE, "plan.toml: krum compares single updates"),
        (PLAN + 'robust = "mode"\n' + RECIPE, "plan.toml: the robust average 'mode'; expected median"),
        (PLAN + 'robust = "median"\nsecure = "none"\n' + RECIPE, "plan.toml: .*expected secagg"),
        (PLAN + RECIPE + '[strategy]\nname = "fedprox"\nmo = 1\n', r"\[strategy\] no key is called 'mo'"),
        (PLAN + RECIPE + '[strategy]\nname = "fedavg"\nmu = 1\n', r"\[strategy\] no key is called 'mu'"),
        (PLAN + RECIPE + '[strategy]\nname = "fedprox"\nmu = "1"\n', r"\[strategy\] mu = '1'; expected a n"),
        (PLAN + RECIPE + '[strategy]\nname = "fedprox"\nmu = -1\n', r"\[strategy\] mu = -1.0; expected 0 or"),
        (PLAN + RECIPE + '[strategy]\nname = "fedpro"\n', r"plan.toml: \[strategy\] .*Did you mean fedprox"),
        (PLAN + RECIPE + "[strategy]\nmu = 1\n", r"plan.toml: strategy = .*expected a name of"),
        (PLAN + "strategy = 3\n" + RECIPE, "plan.toml: strategy = 3; expected a name of"),
        (PLAN + "min_cohort_change = 3\nsecure = 'none'\n" + RECIPE, "plan.toml: min_cohort_change with"),
    ],
)
def test_noise_groups_and_a_strategys_numbers_that_do_not_go_together_are_refused(files, plan, complaint):
    with pytest.raises(SettingError, match=complaint) as caught:
        written(files, plan)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (NOISE, NOISE.replace("multiplier = 1", "multiplier = 0.5")),
        (NOISE, NOISE + 'added_by = "server"\n'),
        ('[strategy]\nname = "fedprox"\nmu = 1\n', '[strategy]\nname = "fedprox"\n'),
    ],
)
def test_sites_with_other_noise_or_other_numbers_of_a_strategy_refuse_the_round(files, one, other):
    plans = [written(files, PLAN + RECIPE + more).plan for more in (one, other)]
    offered, own = (plan.policy(0, bytes(16), bytes(32)) for plan in plans)
    with pytest.raises(ProtocolError, match=r"the server offers \w+"):
        check_offer(pack_offer(offered), own)


def test_an_approval_shows_groups_noise_its_epsilon_and_the_numbers_of_a_strategy(tmp_path):
    files = deployed(tmp_path, num_sites=9, plan='robust = "median"\n' + NINE + RECIPE)
    shown = file_terms(PlanFile.load(tmp_path / "plan.toml"), files.roster)
    assert shown["sum"].startswith("secagg-median-3: the server learns the sum of each fixed group")
    assert "a sum of its own: 3 of site-1, site-2, site-3; 3 of site-4" in shown["threshold"]
    assert "it is two others' updates" in shown["smallest sum"]
    assert "min_survivors" not in shown["smallest sum"]
    tail = '[strategy]\nname = "fedprox"\nmu = 0.5\n'
    made = written(files, NINE + RECIPE + NOISE + tail)
    shown = {**file_terms(made.file, files.roster), **net_terms(made)}
    assert shown["strategy"] == "FedProx(mu=0.5)"
    assert "noise of 1 times that is added to each sum by the sites, each a share of it" in shown["privacy"]
    assert shown["clip"].startswith("the norm of an update within 0.5; ")
    assert "of 9 or more" in shown["threshold"]
    worst = made.plan.noise.guarantee([9, 9, 9], 1e-5).epsilon
    assert f"epsilon {bound(worst, up=True)} at delta 1e-05 for one client" in shown["privacy of a site"]
    assert "useless" in shown["privacy of a site"]
    made = written(files, NINE + RECIPE + NOISE + 'added_by = "server"\n')
    assert "by the server, which sees the sums without it" in file_terms(made.file, files.roster)["privacy"]
    assert "the server sees the sums without noise" in net_terms(made)["privacy of a site"]
