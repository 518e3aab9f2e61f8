"""Drawn faces: pictures of one person are alike, and a picture does not depend on what else is drawn."""

import numpy as np
import pytest

from quintain.core.errors import SettingError
from quintain.data import draw_faces, load_data


def images(data):
    return data.batch(range(len(data)))[0].numpy()


def test_a_picture_follows_from_its_person_and_number_alone():
    several = draw_faces(range(3, 6), range(2, 6), size=20)
    assert several.shape == (1, 20, 20)
    assert several.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert several.class_names == ("drawn person 3", "drawn person 4", "drawn person 5")
    alone = draw_faces([4], [5, 3], size=20)
    assert np.array_equal(images(alone), images(several)[[7, 5]])
    assert not np.array_equal(images(alone), images(draw_faces([4], [5, 3], size=20, seed=1)))


def test_the_nearest_mean_picture_is_mostly_the_person_s_own():
    train, test = (images(draw_faces(range(20), numbers)) for numbers in (range(20), range(20, 25)))
    means = train.reshape(20, 20, -1).mean(1)
    nearest = np.square(test.reshape(100, 1, -1) - means).sum(2).argmin(1)
    assert (nearest == np.repeat(range(20), 5)).mean() > 0.5  # by chance 1 in 20


@pytest.mark.parametrize(
    ("people", "pictures", "size", "said"),
    [
        ([], [0], 28, r"got people \[\]; expected at least one number"),
        ([1, 1], [0], 28, r"got people \[1, 1\]; .* none twice"),
        ([1], [], 28, r"got pictures \[\]"),
        ([1], [0], 15, "size"),
    ],
)
def test_what_cannot_be_drawn_is_refused(people, pictures, size, said):
    with pytest.raises(SettingError, match=said):
        draw_faces(people, pictures, size=size)


def test_private_and_public_people_are_told_to_be_drawn_and_share_no_picture():
    private, public = load_data("synthetic-faces"), load_data("synthetic-public-faces")
    assert (len(private.train), len(private.test), len(public.test)) == (200, 50, 300)
    parts = (private.train, private.test, public.test)
    assert len({picture.tobytes() for part in parts for picture in images(part)}) == 550
    assert all(name.startswith("drawn person") for part in parts for name in part.class_names)
    assert not set(private.train.class_names) & set(public.test.class_names)
    assert private.train.name == "synthetic-faces.train"
