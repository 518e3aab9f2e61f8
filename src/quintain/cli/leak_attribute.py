"""What ``--attribute`` names: a number of vectors, by its place or its name, or a block of pixels."""

import re
from typing import TYPE_CHECKING

from quintain.core.errors import SettingError

if TYPE_CHECKING:
    from quintain.cli.call import VerbCall
    from quintain.data.dataset import Dataset
    from quintain.leakage.hidden_attribute import HiddenAttribute

BLOCK = re.compile(r"(\d+):(\d+),(\d+):(\d+)")
"""Rows and columns of pixels, as slices of Python."""


def read_attribute(text: str, call: "VerbCall", others: "Dataset") -> "HiddenAttribute":
    """Return what ``--attribute`` names, with all values that it has in the data.

    Args:
        text: What the option says.
        call: Of the command, whose train split has the members.
        others: Examples that the model never saw.

    Raises:
        SettingError: If the examples have nothing of this name or at this place.
        DataError: If it has one value or more than ten.
    """
    from quintain.data.joined import join
    from quintain.leakage.hidden_attribute import block_attribute, feature_attribute

    data = join([call.train.with_classes(others.num_classes), others], name=call.data)
    shape = data.shape
    block = BLOCK.fullmatch(text)
    if block is not None:
        if len(shape) != 3:
            raise SettingError(f"--attribute {text}: {call.data} has no pixels but {shape[0]} numbers each")
        top, bottom, left, right = map(int, block.groups())
        if not (top < bottom <= shape[1] and left < right <= shape[2]):
            raise SettingError(
                f"--attribute {text}: {call.data} has images of {shape[1]} rows and {shape[2]} columns; "
                "expected first:end of each within them, such as 0:4,0:4 for the first four"
            )
        return block_attribute(data, (top, bottom), (left, right))
    if len(shape) != 1:
        raise SettingError(
            f"--attribute {text}: {call.data} has images of shape {shape}; expected rows and columns of the "
            "pixels that are sensitive, such as 0:4,0:4"
        )
    position = _position(text, call.data, shape[0])
    return feature_attribute(data, position, name="" if text.isdecimal() else text)


def _position(text: str, spec: str, count: int) -> int:
    """Return the place of a number of vectors, from 0.

    Raises:
        SettingError: If there is none of this name, or at this place, or several have the name.
    """
    from quintain.data.npz import feature_names

    names = feature_names(spec)
    if names and len(names) != count:
        raise SettingError(f"{spec} has {len(names)} feature_names for {count} numbers; expected one each")
    if names.count(text) > 1:
        places = " and ".join(str(place) for place, name in enumerate(names) if name == text)
        raise SettingError(
            f"--attribute {text}: feature_names of {spec} has this name for the numbers {places}; expected "
            "names that differ, or --attribute with the place"
        )
    if text in names:
        return names.index(text)
    if text.isdecimal() and int(text) < count:
        return int(text)
    known = f"one of {', '.join(names)}, or " if names else ""
    no_names = "" if names or text.isdecimal() else f"; {spec} has no array feature_names"
    raise SettingError(f"--attribute {text}: expected {known}a number from 0 to {count - 1}{no_names}")
