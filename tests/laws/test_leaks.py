"""Every registered attack on what a model or a site gives away."""

import copy
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch

from quintain.core.errors import SettingError
from quintain.core.registry import declared_entries
from quintain.data import from_arrays
from quintain.evaluate.leaks import identity
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakJob, LeakTarget, TargetTraining
from quintain.evaluate.leaks.membership import run_trial
from quintain.evaluate.leaks.membership_trial import MISLABELED, own_target
from quintain.leakage import Candidates, EpsilonDelta, Knowledge, ModelView, judge_membership
from quintain.leakage.extraction.student import Student
from quintain.leakage.hidden_attribute import HiddenAttribute
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.models import Classifier, mlp
from quintain.training import Recipe, fit
from tests.leakage.identity.people import classes, faces, pictures, template_model

FOUND = declared_entries("leak")
GOALS = ("membership", "identity", "pictures", "updates", "agreement", "attributes", "exposure")
ACCESS = ("labels", "scores", "gradients", "update", "sum")


@pytest.mark.parametrize("name", sorted(FOUND))
def test_it_says_what_it_seeks_what_it_reads_and_what_it_guarantees(name):
    assert FOUND[name].guarantee
    assert FOUND[name].fact("goal") in GOALS
    assert FOUND[name].fact("access") in ACCESS


# Extraction: a copy of a model

copies = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("goal") == "agreement")
)
THE_MODEL = Candidates(y=torch.zeros(1, dtype=torch.long), ids=torch.zeros(1, dtype=torch.long), shape=(4,))


def copied(name, budget, *, max_queries=None, seed=7):
    """What an attack copies of a small net, and the view that it asked."""
    net = mlp(3, 4, 1, seed=1).eval()
    x = np.random.default_rng(0).random((60, 4), dtype=np.float32)
    view = ModelView(Classifier(net, num_classes=3), max_queries=max_queries)
    public = from_arrays(x, np.arange(60) % 3)
    before = copy.deepcopy(net.state_dict())
    guess = FOUND[name].load()().guess(view, Knowledge(public=public), THE_MODEL, budget=budget, seed=seed)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    return guess, view


@pytest.fixture
def brief_students(monkeypatch):
    """Nets of attackers are trained for few steps; nothing is said here of how good they are."""
    monkeypatch.setattr(Student, "__post_init__", lambda self: object.__setattr__(self, "min_steps", 20))
    monkeypatch.setattr("quintain.leakage.attributes.imputer.STEPS", 20)


@copies
@pytest.mark.usefixtures("brief_students")
def test_a_copy_follows_from_the_seed_and_its_budget_is_kept(name):
    z = torch.rand(20, 4, generator=torch.Generator().manual_seed(2))
    first, view = copied(name, 24, max_queries=24)
    again, _ = copied(name, 24)
    assert first.queries == view.queries <= 24
    assert torch.equal(first.model(z), again.model(z))
    assert not torch.equal(first.model(z), copied(name, 24, seed=8)[0].model(z))


@copies
@pytest.mark.usefixtures("brief_students")
def test_a_copy_that_took_more_than_its_budget_would_be_seen(name):
    with pytest.raises(SettingError, match="it must keep to its budget"):
        copied(name, 24, max_queries=23)


# Attributes: a hidden value of each candidate

inferences = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("goal") == "attributes")
)
COIN = HiddenAttribute("coin", (0,), ((0.0,), (1.0,)))


def people(count, seed):
    """Examples (n, 4) whose first feature is a coin, and labels."""
    rng = np.random.default_rng(seed)
    x = rng.random((count, 4), dtype=np.float32)
    x[:, 0] = rng.random(count) < 0.5
    return from_arrays(x, np.arange(count) % 2)


def inferred(name, rows, *, budget=2, max_queries=None, seed=7):
    """What an attack infers of some of 30 candidates."""
    x, y = people(30, 1).batch(rows)
    view = ModelView(Classifier(mlp(2, 4, 1, seed=1).eval(), num_classes=2), max_queries=max_queries)
    knowledge = Knowledge(public=people(60, 2), attribute=COIN)
    candidates = Candidates(y=y, ids=torch.from_numpy(rows), shape=(4,), x=COIN.hide(x))
    return FOUND[name].load()().guess(view, knowledge, candidates, budget=budget, seed=seed), view


@inferences
@pytest.mark.usefixtures("brief_students")
def test_an_inference_follows_from_the_seed_and_not_from_its_neighbors(name):
    whole, view = inferred(name, np.arange(30), max_queries=60)
    assert view.queries == 60
    assert whole.queries == 2
    assert set(whole.labels.tolist()) <= {0, 1}
    parts = [inferred(name, rows)[0] for rows in (np.arange(11)[::-1].copy(), np.arange(11, 30))]
    assert torch.equal(torch.cat([parts[0].labels.flip(0), parts[1].labels]), whole.labels)
    assert torch.allclose(torch.cat([parts[0].scores.flip(0), parts[1].scores]), whole.scores, atol=1e-6)


@inferences
@pytest.mark.usefixtures("brief_students")
def test_an_inference_keeps_to_its_budget(name):
    with pytest.raises(SettingError, match="it must keep to its budget"):
        inferred(name, np.arange(30), max_queries=59)
    with pytest.raises(SettingError, match="a budget of 1 queries"):
        inferred(name, np.arange(30), budget=1)


# Exposure: canaries among patterns that were not used

rankings = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("goal") == "exposure")
)


def scored(name, rows, *, max_queries=None):
    """Scores of some of 30 patterns under labels."""
    x, y = people(30, 1).batch(rows)
    view = ModelView(Classifier(mlp(2, 4, 1, seed=1).eval(), num_classes=2), max_queries=max_queries)
    candidates = Candidates(y=y, ids=torch.from_numpy(rows), shape=(4,), x=x)
    knowledge = Knowledge(public=people(60, 2))
    return FOUND[name].load()().guess(view, knowledge, candidates, budget=1, seed=7).scores


@rankings
@pytest.mark.usefixtures("brief_students")
def test_the_score_of_a_canary_does_not_follow_from_its_neighbors_and_keeps_to_its_budget(name):
    whole = scored(name, np.arange(30), max_queries=30)
    assert whole.dtype == torch.float64
    parts = [scored(name, rows) for rows in (np.arange(11)[::-1].copy(), np.arange(11, 30))]
    assert torch.allclose(torch.cat([parts[0].flip(0), parts[1]]), whole, atol=1e-5)
    with pytest.raises(SettingError, match="it must keep to its budget"):
        scored(name, np.arange(30), max_queries=29)


@rankings
@pytest.mark.usefixtures("brief_students")
def test_canaries_that_were_not_trained_on_stand_anywhere(name):
    """The measured exposure of a training that never saw them is that of chance, and below any ceiling."""
    stranger = people(60, 5)
    target = LeakTarget(
        Classifier(mlp(2, 4, 1, seed=1).eval(), num_classes=2),
        "stranger",
        build=lambda seed: mlp(2, 4, 1, seed=seed),
        train=lambda net, _data, seed: fit(net, stranger, Recipe(epochs=5), seed=seed),
        epsilon=0.0,
        delta=0.0,
    )
    attack = FOUND[name].load()()
    found = MEASURES["exposure"](LeakJob(target, (attack,), people(400, 3), people(60, 2)))
    for one in found.measurements:
        assert one.low <= one.baseline <= one.high
        assert one.low <= one.ceiling


# Model inversion: the face of a class

inversions = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("goal") == "identity")
)
PEOPLE = range(4)
STRANGERS = pictures(range(100, 120), 3, first=4)


def inverted(name, y=PEOPLE, *, model=None, budget=300, max_queries=None, seed=5):
    """The faces that an attack makes of classes, and the view that it asked."""
    attack = FOUND[name].load()()
    view = ModelView(model or template_model(PEOPLE), access=attack.access, max_queries=max_queries)
    guess = attack.guess(view, Knowledge(public=STRANGERS), classes(*y), budget=budget, seed=seed)
    return guess, view


@inversions
def test_one_face_a_class_follows_from_the_seed_alone_and_its_budget_is_kept(name):
    first, view = inverted(name, max_queries=300 * len(PEOPLE))
    assert first.images.shape == (4, 1, 8, 8)
    assert ((first.images >= 0) & (first.images <= 1)).all()
    assert first.queries == view.queries / len(PEOPLE) <= 300
    assert torch.equal(first.images, inverted(name)[0].images)
    few, asked = inverted(name, budget=7, max_queries=7 * len(PEOPLE))
    assert few.images.shape == (4, 1, 8, 8)
    assert asked.queries <= 7 * len(PEOPLE)


@inversions
def test_a_split_of_the_classes_changes_no_face(name):
    parts = [inverted(name, y)[0].images for y in ((2,), (0, 3), (1,))]
    whole = inverted(name, (2, 0, 3, 1))[0].images
    assert torch.equal(torch.cat(parts), whole)


@inversions
def test_an_attack_that_asks_beyond_its_budget_would_be_seen(name):
    with pytest.raises(SettingError, match="it must keep to its budget"):
        inverted(name, max_queries=5)


@inversions
def test_faces_that_a_linear_model_has_as_its_weights_are_found(name):
    made = inverted(name, budget=1500)[0].images.double().flatten(1)
    people = torch.from_numpy(faces(PEOPLE)).flatten(1)
    mean = torch.from_numpy(faces(range(100, 120))).flatten(1).mean(0)
    # The face that each picture resembles most, by correlation.
    alike = (
        torch.nn.functional.normalize(made - mean, dim=1)
        @ torch.nn.functional.normalize(people - mean, dim=1).T
    )
    assert (alike.argmax(1) == torch.arange(4)).sum() >= 3


@pytest.fixture
def brief_judge(monkeypatch):
    """The judge is trained for few steps, on these pictures enough."""
    monkeypatch.setattr(identity, "JUDGE", JudgeRecipe(copies=1, epochs=50, learning_rate=3e-3))


@inversions
@pytest.mark.usefixtures("brief_judge")
def test_a_model_that_never_saw_the_people_gives_no_face_away(name):
    attack = FOUND[name].load()()
    for model in (template_model(range(200, 204)), Classifier(mlp(4, 1, 8, seed=3).eval(), num_classes=4)):
        found = identity.measure(
            LeakJob(
                target=LeakTarget(model, "never saw them"),
                attacks=(attack,),
                members=pictures(PEOPLE, 4, seed=1),
                others=pictures(PEOPLE, 2, seed=2),
                public=STRANGERS,
                access=attack.access,
                budget=200,
            )
        )
        assert all(one.low <= one.baseline for one in found.measurements)


# Membership: whom a model was trained on

members_told = pytest.mark.parametrize(
    "name", sorted(name for name, entry in FOUND.items() if entry.fact("goal") == "membership")
)
THE_PUBLIC = from_arrays(
    np.random.default_rng(20).random((60, 6, 6), dtype=np.float32),
    np.random.default_rng(21).integers(0, 2, 60),
)


def small_net(seed):
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(36, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2)
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.uniform_(-0.17, 0.17, generator=generator)
    return net.eval()


def learn_by_heart(net, data, seed):
    fit(net, data, Recipe(epochs=60, batch_size=32, learning_rate=0.01), seed=seed)


def learn_nothing(net, data, seed):
    """Leave the net as it is."""


def small_trial(train, canaries):
    rng = np.random.default_rng(22)
    data = from_arrays(rng.random((120, 6, 6), dtype=np.float32), rng.integers(0, 2, 120))
    training = TargetTraining("small", small_net, train)
    trial = own_target(training, data, THE_PUBLIC, canaries=canaries, seed=5)
    return trial, trial.train_shadows(count=4, seed=6, workers=1)


@pytest.fixture(scope="module")
def memorized():
    """A net that knows its mislabeled examples by heart, and its shadow models."""
    return small_trial(learn_by_heart, 60)


@pytest.fixture(scope="module")
def untrained():
    """A net that saw none of its candidates, and its shadow models."""
    return small_trial(learn_nothing, 0)


def membership_scores(name, trial, shadows, rows=None, model=None):
    """What an attack guesses about some candidates."""
    rows = torch.arange(len(trial.pool)) if rows is None else torch.as_tensor(rows)
    x, y = trial.pool.batch(rows)
    view = ModelView(model or trial.target.model, access=FOUND[name].fact("access"))
    guess = (
        FOUND[name]
        .load()()
        .guess(
            view,
            Knowledge(public=THE_PUBLIC, shadows=shadows),
            Candidates(y=y, ids=rows, shape=trial.pool.shape, x=x),
            budget=20,
            seed=3,
        )
    )
    assert guess.queries * len(rows) == pytest.approx(view.queries)
    assert guess.scores.dtype == torch.float64
    return guess.scores.numpy()


@members_told
def test_a_model_that_never_saw_the_data_tells_no_member(name, untrained):
    trial, shadows = untrained
    scores = membership_scores(name, trial, shadows)
    for one in judge_membership(scores, trial.is_member, max_tpr=EpsilonDelta(0.0)):
        assert one.low <= one.baseline
        assert one.low <= one.ceiling + 1e-3


@members_told
def test_labels_that_a_model_knows_by_heart_tell_its_members(name, memorized):
    trial, shadows = memorized
    canaries = trial.groups[MISLABELED]
    found = judge_membership(membership_scores(name, trial, shadows)[canaries], trial.is_member[canaries])
    area = found[-1]
    assert area.measure == "AUC"
    assert area.low > 0.5


@members_told
def test_guesses_of_membership_are_the_same_under_any_split_and_order(name, memorized):
    trial, shadows = memorized
    whole = membership_scores(name, trial, shadows)
    order = np.random.default_rng(7).permutation(len(trial.pool))
    parts = [membership_scores(name, trial, shadows, rows) for rows in (order[:7], order[7:50], order[50:])]
    # a matrix product rounds a row by where it stands in the batch
    assert whole[order] == pytest.approx(np.concatenate(parts), rel=1e-4, abs=1e-4)


@members_told
def test_no_guess_of_membership_is_above_what_a_private_mechanism_allows(name, untrained):
    trial, shadows = untrained
    mu, crossed = 1.0, 0

    def allowed(fpr):
        return NormalDist().cdf(NormalDist().inv_cdf(fpr) + mu) if 0 < fpr < 1 else fpr

    for run in range(10):
        rng = np.random.default_rng((8, run))
        truth = rng.random(len(trial.pool)) < 0.5
        model = TellsInNoise(trial.pool, mu * truth + rng.standard_normal(len(truth)))
        scores = membership_scores(name, trial, shadows, model=model)
        crossed += any(one.low > one.ceiling for one in judge_membership(scores, truth, max_tpr=allowed))
    # four measures, each at 2.5 %: four or more of ten have a probability of 1.3 %, if they are independent
    assert crossed <= 3


class TellsInNoise:
    """A mechanism of mu-GDP: each candidate's log odds are its membership in noise of its own."""

    access, name, num_classes, hash, num_parameters = "scores", "noisy", 2, "", 0
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, pool, phi):
        self.x, self.y = pool.batch(torch.arange(len(pool)))
        self.phi = torch.from_numpy(phi)

    def __call__(self, x):
        nearest = torch.cdist(x.flatten(1), self.x.flatten(1)).argmin(1)
        signs = 2.0 * self.y[nearest] - 1
        return torch.stack([-signs * self.phi[nearest] / 2, signs * self.phi[nearest] / 2], 1)

    def predict(self, x):
        return self(x).argmax(1)


@members_told
def test_a_guess_of_membership_does_not_see_the_answer(name, untrained):
    trial, _ = untrained
    attack = FOUND[name].load()()

    def areas(truth):
        found = run_trial(replace(trial, is_member=truth), [attack], budget=20, shadows=4, workers=1, seed=6)
        return {one.candidates: one.value for one in found.measurements if one.measure == "AUC"}

    told, turned = areas(trial.is_member), areas(~trial.is_member)
    assert turned == {group: pytest.approx(1 - area) for group, area in told.items()}
