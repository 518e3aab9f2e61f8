"""A plain and a private net of the same people beside each other: whose face do their scores give away?"""

import pytest
from torch import nn

from quintain.core.errors import DataError
from quintain.data import draw_faces
from quintain.evaluate.privacy_target import PrivacyTarget
from quintain.evaluate.steps.identity import run_identity
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.models import initialize
from quintain.results.quantity import Basis, Metric
from quintain.training import Recipe

PEOPLE, SIZE = range(4), 16


def build(seed):
    layers = (nn.Flatten(), nn.Linear(SIZE * SIZE, 32), nn.ReLU(), nn.Linear(32, len(PEOPLE)))
    return initialize(nn.Sequential(*layers), seed)


def run(members=None, **changes):
    return run_identity(
        members or draw_faces(PEOPLE, range(12), size=SIZE),
        draw_faces(PEOPLE, range(12, 15), size=SIZE),
        draw_faces(range(4, 10), range(4), size=SIZE),
        build=build,
        recipe=Recipe(epochs=40, batch_size=8, learning_rate=3e-3),
        private=PrivacyTarget(epsilon=0.1, batch_size=24, steps=3),
        budget=200,
        judge=JudgeRecipe(copies=2, epochs=10),
        **changes,
    )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return run(folder=folder, show=True), folder


def test_both_nets_are_asked_by_scores_and_ranked_among_all_people(found):
    measured = found[0].result.measurements
    titles = ("plain, 4 people", "private, epsilon 0.1 a picture, 4 people")
    assert tuple(dict.fromkeys(one.model for one in measured)) == titles
    assert {one.access for one in measured} == {"scores"}
    assert all(0 < one.queries <= 200 and one.count == 4 for one in measured)
    for title in titles:
        measures = [one.measure for one in measured if one.model == title]
        assert measures == [
            "rank 1 of 10", "top 5 of 10", "nearest training picture", "nearest mean picture",
        ]  # fmt: skip


def test_no_epsilon_bounds_what_is_found_of_a_person_and_no_claim_is_primary(found):
    claims = found[0].claims
    assert [claim.model for claim in claims] == ["plain-4-people", "private-epsilon-0.1-a-picture-4-people"]
    for claim in claims:
        assert claim.bracket.quantity.metric is Metric.REIDENTIFIED
        assert claim.bracket.upper.basis is Basis.TRIVIAL
        assert not claim.primary
    assert len({claim.bracket.quantity.subject_hash for claim in claims}) == 2


def test_the_notes_say_how_right_each_net_is_and_whose_epsilon_it_is(found):
    notes = found[0].notes
    assert notes[0].startswith("plain, 4 people: right on ")
    assert "right on " in notes[1]
    assert "a person has about 12" in notes[2]
    assert sum("ranks the right person first of 10" in note for note in notes) == 1
    assert sum(note.startswith("private, ") and " dB to " in note for note in notes) == 1


def test_each_net_has_pictures_of_its_own_and_none_are_stored_unless_they_may_be(found, tmp_path):
    shown, folder = found
    paths = [one.reconstructed.path for one in shown.result.pictures]
    assert len(set(paths)) == len(paths) == 2 * len(PEOPLE)
    assert all((folder / path).exists() for path in paths)
    assert not run(folder=tmp_path).result.pictures
    assert not list(tmp_path.iterdir())


def test_a_picture_that_was_trained_on_is_no_other_picture():
    same = draw_faces(PEOPLE, range(10, 14), size=SIZE)
    with pytest.raises(DataError, match="are in"):
        run(members=same)
