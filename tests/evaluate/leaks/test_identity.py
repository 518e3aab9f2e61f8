from dataclasses import replace

import numpy as np
import pytest

from quintain.core.errors import DataError, SettingError
from quintain.core.statistics import binomial_lower
from quintain.data import from_arrays
from quintain.evaluate.leaks import identity
from quintain.evaluate.leaks.claims import leak_claims
from quintain.evaluate.leaks.goals import MEASURES
from quintain.evaluate.leaks.job import LeakJob, LeakTarget
from quintain.evaluate.leaks.people import is_other_class
from quintain.leakage.identity.gradient import InversionGradient
from quintain.leakage.judges.judge_net import JudgeRecipe
from quintain.results.quantity import Metric
from tests.leakage.identity.people import pictures, template_model

MEMBERS = pictures(range(4), 5, seed=1)
OTHERS = pictures(range(4), 2, seed=2)
PUBLIC = pictures(range(50, 60), 4, seed=3, first=4)


@pytest.fixture(autouse=True)
def _brief(monkeypatch):
    monkeypatch.setattr(identity, "JUDGE", JudgeRecipe(copies=1, epochs=50, learning_rate=3e-3))


def job(**changes):
    whole = LeakJob(
        target=LeakTarget(template_model(range(4)), "plain"),
        attacks=(InversionGradient(steps=60),),
        members=MEMBERS,
        others=OTHERS,
        public=PUBLIC,
        budget=200,
    )
    return replace(whole, **changes)


def test_a_model_that_has_its_people_as_weights_gives_their_faces_away(tmp_path):
    found = MEASURES["identity"](job(folder=tmp_path, show=True))
    by_measure = {one.measure: one for one in found.measurements}
    mean = by_measure["nearest mean picture"]
    assert mean.value >= 0.5
    assert mean.gain > 0
    assert by_measure["rank 1 of 14"].count == 4
    assert 0 < mean.queries <= 200
    assert found.notes[0] == (
        "Each of the 4 classes of arrays (0, 1, 2, 3) is taken for one person, and each of the 10 of arrays "
        "for another."
    )
    assert "ranks the right person first of 14 (4 private, 10 public)" in found.notes[1]
    assert "dB to the mean of them" in found.notes[2]
    assert len(found.pictures) == 4
    (claim,) = leak_claims(found.measurements, model="model", model_hash="m", data_hash="d")
    assert claim.bracket.lower.quantity.metric is Metric.REIDENTIFIED
    hits = round(4 * by_measure["rank 1 of 14"].value)
    assert claim.bracket.lower.value == binomial_lower(hits, 4, 0.95)
    assert all((tmp_path / one.original.path).exists() for one in found.pictures)


def test_private_pictures_stay_out_of_the_folder_unless_they_may_be_shown(tmp_path):
    assert not MEASURES["identity"](job(folder=tmp_path)).pictures
    assert not list(tmp_path.iterdir())


def test_public_people_may_be_among_the_others_under_labels_of_their_own():
    x = np.concatenate([one.batch(range(len(one)))[0].numpy() for one in (OTHERS, PUBLIC)])
    labels = np.concatenate([OTHERS.labels, PUBLIC.labels])
    joined = from_arrays(x, labels)
    assert MEASURES["identity"](job(others=joined, public=None)).measurements == (
        MEASURES["identity"](job()).measurements
    )


def test_fewer_candidates_are_drawn_by_the_seed():
    (first, *_) = MEASURES["identity"](job(candidates=2)).measurements
    assert first.count == 2


def test_data_whose_classes_are_no_people_are_refused_with_what_to_do():
    two = replace(job(), members=pictures(range(2), 5), others=pictures(range(2), 2, seed=5))
    with pytest.raises(SettingError, match=r"2 classes \(0, 1\); expected at least 3, each a person"):
        MEASURES["identity"](two)
    with pytest.raises(SettingError, match="pictures of 0 other people; expected those of at least 3"):
        MEASURES["identity"](job(public=None))


def test_public_examples_of_the_same_classes_are_no_other_people():
    same = pictures(range(50, 60), 4, seed=3, first=3)
    with pytest.raises(SettingError, match=r"1 classes of arrays, such as 3, are classes of arrays, too"):
        MEASURES["identity"](job(public=same))
    # what has no number of a private class is another
    x, y = same.batch(range(len(same)))
    named = from_arrays(x[:, 0].numpy(), y.numpy() + 1, class_names=[f"other {one}" for one in range(14)])
    assert MEASURES["identity"](job(public=named)).measurements == MEASURES["identity"](job()).measurements


def test_a_picture_in_two_groups_and_people_without_another_picture_are_refused():
    with pytest.raises(DataError, match=r"12 examples of .* are in"):
        MEASURES["identity"](job(public=pictures(range(4), 5, seed=1, first=4).subset(range(12))))
    with pytest.raises(DataError, match="no picture of 1 people, such as class 3"):
        MEASURES["identity"](job(others=OTHERS.subset(range(6))))


NAMES = ("Anna Example", "Bert Example", "Carl Example", "Dora Example")


def called(data, names, *, shift=0):
    """The same pictures under names, or under other numbers."""
    x, y = data.batch(range(len(data)))
    return from_arrays(x[:, 0].numpy(), y.numpy() + shift, class_names=names)


def test_names_of_private_people_are_neither_in_notes_nor_with_pictures(tmp_path):
    named = {"members": called(MEMBERS, NAMES), "others": called(OTHERS, NAMES)}
    found = MEASURES["identity"](job(folder=tmp_path, show=True, **named))
    assert found.notes[0].startswith("Each of the 4 classes of arrays (0, 1, 2, 3) is taken for one person")
    assert found.pictures[0].original.caption.startswith("class 0: nearest training picture")
    assert "Example" not in repr(found)
    with pytest.raises(SettingError) as refused:
        MEASURES["identity"](job(public=None, **named))
    assert "Example" not in str(refused.value)


def test_people_who_are_called_the_same_but_for_case_and_spaces_are_the_same():
    named = {"members": called(MEMBERS, NAMES), "others": called(OTHERS, NAMES)}
    people = [*(f"other {one}" for one in range(4, 13)), " anna example "]
    alike = called(PUBLIC, ["-", "-", "-", "-", *people], shift=4 - int(PUBLIC.labels.min()))
    with pytest.raises(SettingError, match="1 classes of arrays, such as 13, are classes of arrays, too"):
        MEASURES["identity"](job(public=alike, **named))


def test_numbers_beside_names_of_the_same_numbers_are_refused():
    named = {"members": called(MEMBERS, NAMES), "others": called(OTHERS, NAMES)}
    numbered = called(PUBLIC, (), shift=-int(PUBLIC.labels.min()))
    with pytest.raises(SettingError, match="only one of the two has class_names"):
        MEASURES["identity"](job(public=numbered, **named))
    assert MEASURES["identity"](job(**named)).measurements  # numbers that no private person has
    # what is called otherwise is another, whatever its number
    other = called(PUBLIC, [f"other {one}" for one in range(10)], shift=-int(PUBLIC.labels.min()))
    assert MEASURES["identity"](job(public=other, **named)).measurements


def test_a_class_is_another_by_its_name_or_its_number():
    assert not is_other_class(0, called(OTHERS, ["anna example ", "b", "c", "d"]), called(MEMBERS, NAMES))
    assert is_other_class(1, called(OTHERS, ["anna example ", "b", "c", "d"]), called(MEMBERS, NAMES))
    assert not is_other_class(1, OTHERS, called(MEMBERS, NAMES))
    assert is_other_class(int(PUBLIC.labels.max()), PUBLIC, called(MEMBERS, NAMES))
