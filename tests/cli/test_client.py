"""``quintain client``: a site looks at a plan, approves it, and runs that one and no other."""

import sys

import pytest

from quintain.federated.enrollment import save_roster
from quintain.federated.key_words import fingerprint
from quintain.federated.secagg import Identity, Roster
from tests.federated.deployed import CLIENT, NET, PLAN, RECIPE, deployed

PRIVACY = '[privacy]\nepsilon = 3\nunit = "patient"\n'


@pytest.fixture
def files(tmp_path):
    return deployed(tmp_path)


@pytest.fixture
def client(call, files, monkeypatch):
    """Run ``quintain client`` for the first site, whose daemon must not come to be."""
    serves = "quintain.federated.deployment.site_daemon.serve_daemon"
    monkeypatch.setattr(serves, lambda *_: pytest.fail("it serves"))
    return lambda *words: call("client", *words, "--config", files.client("site-1"))


def test_approve_shows_the_plan_in_plain_words_and_keeps_it_at_the_site(client, files):
    code, out, _ = client("approve")
    assert code == 0
    for said in (
        "model: net.py:make, SHA-256 ",
        "an update has 74 numbers",
        "rounds: 3",
        "epochs 1, batch_size 32, learning_rate 0.05",
        "objective: cross-entropy",
        "sum: secagg: the server learns the sum",
        "threshold: 2 of 3 sites",
        "privacy: none: sums may tell of records",
        *(fingerprint(key) for key in files.roster.keys),
    ):
        assert said in out
    state = files.folder / "site-1" / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "approved.toml").stat().st_mode & 0o777 == 0o600
    before = (state / "approved.toml").read_bytes()
    assert client("approve")[0] == 0
    assert (state / "approved.toml").read_bytes() == before


def test_approve_shows_the_budget_with_its_unit(client, files):
    (files.folder / "plan.toml").write_text(PLAN + PRIVACY)
    home, number = files.folder / "site-1", len(files.sites["site-1"])
    (home / "units.txt").write_text("".join(f"p{row // 2}\n" for row in range(number)))
    (home / "client.toml").write_text(CLIENT + 'units = "units.txt"\n')
    code, out, _ = client("approve")
    assert code == 0
    assert f"data here: {number} examples of {(number + 1) // 2} patients" in out
    assert "spent here: nothing, by all private trainings that the journal knows (0); epsilon 3.00" in out
    assert "privacy: epsilon 3 at delta 1e-05 for one patient over all rounds" in out


def test_a_plan_that_is_not_approved_does_not_run_nor_does_its_models_program(client, files):
    (files.folder / "net.py").write_text(f"open('ran', 'w')\n{NET}")
    code, _, err = client()
    assert code == 2
    assert "has not approved" in err
    assert "quintain client approve --config" in err
    assert not (files.folder / "ran").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda folder: (folder / "plan.toml").write_text(PLAN + RECIPE.replace("0.05", "5e-9")),
            "recipe was",
        ),
        (
            lambda folder: (folder / "plan.toml").write_text(PLAN.replace("3", "4") + RECIPE),
            "rounds was '3', is",
        ),
        (
            lambda folder: (folder / "plan.toml").write_text("min_survivors = 3\n" + PLAN + RECIPE),
            "threshold was",
        ),
        (
            lambda folder: (folder / "plan.toml").write_text("min_cohort_change = 3\n" + PLAN + RECIPE),
            "cohorts",
        ),
        (
            lambda folder: (folder / "plan.toml").write_text('secure = "none"\n' + PLAN + RECIPE),
            "sum was",
        ),
        (lambda folder: (folder / "plan.toml").write_text(PLAN + PRIVACY), "privacy was 'none"),
        (lambda folder: (folder / "net.py").write_text(f"open('ran', 'w')\n{NET}"), "model was 'net.py:make"),
        (lambda folder: (folder / "layers.py").write_text("WIDTH = 12\n"), "parameters was"),
    ],
)
def test_a_plan_that_has_changed_since_does_not_run_and_what_has_is_said(
    client, files, monkeypatch, change, said
):
    (files.folder / "layers.py").write_text("WIDTH = 8\n")
    (files.folder / "net.py").write_text(NET.replace("6, 8", "6, WIDTH").replace("8, num", "WIDTH, num"))
    with (files.folder / "net.py").open("a") as file:
        file.write("\n\nfrom layers import WIDTH\n")
    assert client("approve")[0] == 0
    change(files.folder)
    monkeypatch.delitem(sys.modules, "layers")
    code, _, err = client()
    assert code == 2
    assert "has changed since this site approved it" in err
    assert said in err
    assert not (files.folder / "ran").exists()


def test_the_next_version_of_a_roster_is_to_be_approved_again(client, files):
    (files.folder / "plan.toml").write_text(PLAN.split("max_corrupt")[0] + RECIPE)
    assert client("approve")[0] == 0
    names, keys, path = files.roster.names, files.roster.keys, files.folder / "roster.toml"
    known, other = list(files.identities.values()), Identity.create("site-4")
    joined = Roster((*names, "site-4"), (*keys, other.public), 2, (), files.roster.digest)
    path.unlink()
    save_roster(path, joined, [*known, other])
    code, _, err = client()
    assert code == 2
    assert "roster was 'version 1, " in err
    assert f"site site-4 is new: '{fingerprint(other.public)}'" in err
    assert client("approve")[0] == 0
    left = Roster(names, keys, 3, (("site-4", other.public),), joined.digest)
    path.unlink()
    save_roster(path, left, known)
    code, _, err = client()
    assert code == 2
    assert f"site site-4 is gone: '{fingerprint(other.public)}'" in err


def test_an_approval_that_was_changed_by_hand_or_is_open_to_others_counts_for_nothing(client, files):
    assert client("approve")[0] == 0
    place = files.folder / "site-1" / "state" / "approved.toml"
    text = place.read_text()
    place.write_text(text.replace('"rounds" = "3"', '"rounds" = "4"'))
    (files.folder / "plan.toml").write_text(PLAN.replace("rounds = 3", "rounds = 4") + RECIPE)
    code, _, err = client()
    assert code == 2
    assert "another digest than its terms" in err
    (files.folder / "plan.toml").write_text(PLAN + RECIPE)
    place.write_text(text)
    place.chmod(0o666)
    code, _, err = client()
    assert code == 2
    assert "has mode 0666" in err


def test_folders_and_keys_that_others_may_use_are_refused(client, files):
    home = files.folder / "site-1"
    assert client("approve")[0] == 0
    (home / "state").chmod(0o755)
    for action in ((), ("approve",)):
        code, _, err = client(*action)
        assert code == 2
        assert "has mode 0755; expected 0700" in err
    (home / "state").chmod(0o700)
    (home / "journal").chmod(0o770)
    code, _, err = client()
    assert code == 2
    assert f"{home / 'journal'} has mode 0770" in err
    (home / "journal").chmod(0o755)
    (home / "identity.toml").chmod(0o640)
    code, _, err = client()
    assert code == 2
    assert "identity.toml has mode 0640; expected 0600" in err


def test_what_is_missing_or_wrong_is_one_line_and_nothing_is_written(client, files):
    for text, said in (
        (CLIENT.replace("data.npz", "none.npz"), "there is no"),
        (CLIENT.replace("../plan.toml", "../plans.toml"), "no file"),
        (CLIENT + 'sockets = "x"\n', "no key is called 'sockets'. Did you mean socket"),
        (CLIENT + "seed = \n", "is no TOML"),
        (CLIENT.replace('"socket"', f'"{"s" * 200}"'), "cannot listen at"),
    ):
        files.client("site-1").write_text(text)
        refused = [(code, err) for code, _, err in (client("approve"), client()) if code]
        assert refused[-1:] != []
        assert all(code in (2, 5) and err.count("\n") == 1 for code, err in refused)
        assert said in refused[0][1]
    (files.folder / "site-1" / "client.toml").unlink()
    code, _, err = client()
    assert code == 2
    assert "no file" in err
