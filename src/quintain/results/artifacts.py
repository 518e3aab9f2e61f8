"""What lies in a run folder beside the records, known by its hash: pictures, weights and inputs."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG file of the run folder.

    Args:
        path: Relative to the run folder.
        sha256: Of the file.
        caption: What is seen.
        frame: ``good``, ``bad``, ``reference`` or empty: what the color of its frame says.
    """

    path: str
    sha256: str
    caption: str
    frame: Literal["", "good", "bad", "reference"] = ""


Gallery = tuple[tuple[Picture, ...], ...]
"""Rows of pictures that belong together."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as it lies in the run folder.

    Args:
        name: Such as ``certified``.
        title: For people, such as ``certified training``.
        model_hash: Hash of weights and inference program.
        num_parameters: How many weights it has.
        path: Of the safetensors file, relative to the run folder; empty where the model is the user's own
            file.
        sha256: Of that file.
    """

    name: str
    title: str
    model_hash: str
    num_parameters: int
    path: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class AdversarialFile:
    """The file of a run folder with every adversarial example that was found; it holds the user's inputs.

    Args:
        path: Relative to the run folder.
        sha256: Of the file.
        num_stored: How many it has: one for each attack, threat and example that the attack broke.
    """

    path: str
    sha256: str
    num_stored: int
