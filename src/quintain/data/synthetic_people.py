"""Data sets of drawn faces: people whom a model is to know, and people whom everybody knows."""

from quintain.core.registry import declare
from quintain.data.face_drawing import draw_faces
from quintain.data.splits import Splits

PRIVATE, TRAINED, HELD_OUT = 10, 20, 5
PUBLIC, PUBLIC_PICTURES = 30, 10


@declare(
    name="synthetic-faces",
    summary="28x28 gray faces of 10 people who do not exist, drawn by numbers: train 20 pictures of each, "
    "test 5 others",
    is_public=True,
    noun="drawn faces",
)
def synthetic_faces() -> Splits:
    """Draw 10 people who do not exist, each a class of its own: 200 pictures to train on, 50 others to test.

    They stand for people who are private: whose face does a model of them give away?
    """
    people = range(PRIVATE)
    return Splits(
        "synthetic-faces",
        train=draw_faces(people, range(TRAINED), name="synthetic-faces.train"),
        test=draw_faces(people, range(TRAINED, TRAINED + HELD_OUT), name="synthetic-faces.test"),
    )


@declare(
    name="synthetic-public-faces",
    summary="28x28 gray faces of 30 other people who do not exist, drawn by numbers: test 10 pictures of "
    "each",
    is_public=True,
    noun="drawn faces",
)
def synthetic_public_faces() -> Splits:
    """Draw 30 other people, none of whom is among those of ``synthetic_faces``: 10 pictures of each.

    They stand for pictures that everybody has, such as an attacker.
    """
    people = range(PRIVATE, PRIVATE + PUBLIC)
    return Splits(
        "synthetic-public-faces",
        test=draw_faces(people, range(PUBLIC_PICTURES), name="synthetic-public-faces.test"),
    )
