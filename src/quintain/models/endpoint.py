"""A remote classifier, described: where it is, how a question is written, and where the answer lies in what comes back."""

import base64
import io
import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from quintain.core.errors import ModelError, SettingError
from quintain.core.limits import at_least
from quintain.core.store import read_bytes, sha256

PLACES = ("{x}", "{xs}", "{png}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is sent to a classifier over HTTP, and how its answer is read.

    In ``body`` the text ``"{x}"`` stands for one input as nested lists, ``"{xs}"`` for a batch of them, and ``{png}``, which may be
    part of a longer text, for one image as a PNG in base64, rounded to 8 bits. ``answer`` is a path such as ``prediction.label`` or
    ``results.0.scores``; after ``{xs}`` it leads to a list with one answer an input.

    Args:
        url: Where questions are posted, ``http://`` or ``https://``.
        body: A JSON value with one of the places.
        answer: Where the answer lies: scores as a list, or as an object by class name; or one label, a number or a class name.
        access: Whether answers are ``scores`` or ``labels``.
        names: Class names in the order of their numbers, where the endpoint speaks in names.
        headers: Sent along; ``${NAME}`` is read from the environment, so that keys need not be written down.
        batch: Inputs in one request, where ``body`` has ``{xs}``.
        rate: Requests a second at most; as fast as they are answered if not given.
        retries: How often a request is tried again after a failed connection, a 429 or a 5xx, waiting twice as long each time.
        timeout: Seconds to wait for an answer.
        budget: How many inputs may be asked about in all, the ones known from the cache not counted; no limit if not given.
        cache: A file that keeps every answer, so that no input is asked about twice, also by a later run; delete it when the model behind
            the address changes. Nothing is kept if not given.

    Raises:
        SettingError: If a setting is out of its range, or ``body`` does not have one place for inputs.
    """

    url: str
    body: Any = field(default_factory=lambda: {"inputs": "{xs}"})
    answer: str = "scores"
    access: Literal["labels", "scores"] = "scores"
    names: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    batch: int = 64
    rate: float | None = None
    retries: int = 5
    timeout: float = 30.0
    budget: int | None = None
    cache: str | Path | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise SettingError(f"url = {self.url!r}; expected http://host:port/path or https://...")
        text = json.dumps(self.body)
        if sum(text.count(place) for place in PLACES) != 1:
            raise SettingError(f"body = {text}; expected exactly one of {', '.join(PLACES)}, where the inputs go")
        if self.access not in ("labels", "scores"):
            raise SettingError(f"access = {self.access!r}; expected 'labels' or 'scores'")
        at_least(1, batch=self.batch, budget=1 if self.budget is None else self.budget)
        at_least(0, retries=self.retries)
        for name, amount in (("rate", self.rate), ("timeout", self.timeout)):
            if amount is not None and not amount > 0:
                raise SettingError(f"{name} = {amount}; expected a positive number")

    @property
    def together(self) -> int:
        """How many inputs go into one request."""
        return self.batch if self._batched else 1

    @property
    def _batched(self) -> bool:
        return "{xs}" in json.dumps(self.body)

    @property
    def hash(self) -> str:
        """SHA-256 of the address and of how it is asked: what the model behind it computes cannot be seen."""
        asked = [self.url, self.body, self.answer, self.access, list(self.names)]
        return sha256(json.dumps(asked, sort_keys=True).encode())

    def question(self, x: np.ndarray) -> Any:
        """The body for inputs (n, *S)."""
        return _filled(self.body, x)

    def read(self, told: Any, count: int) -> list[Any]:
        """The answers for ``count`` inputs: lists of floats, or integers.

        Raises:
            ModelError: If the path leads nowhere, or what lies there is no answer.
        """
        found = told
        for key in self.answer.split(".") if self.answer else ():
            found = _step(found, key, self.answer, told)
        found = found if self._batched else [found]
        if not isinstance(found, list) or len(found) != count:
            raise ModelError(f"{self.url} gives {_short(found)} for {count} inputs; expected a list of {count} at {self.answer!r}")
        return [self._label(one) if self.access == "labels" else self._scores(one) for one in found]

    def _label(self, one: Any) -> int:
        if isinstance(one, str) and one in self.names:
            return self.names.index(one)
        if isinstance(one, int) and not isinstance(one, bool):
            return one
        known = f", or one of the names {', '.join(self.names)}" if self.names else "; give names=(...) where it speaks in names"
        raise ModelError(f"{self.url} gives the label {_short(one)}; expected a whole number{known}")

    def _scores(self, one: Any) -> list[float]:
        if isinstance(one, dict) and set(one) == set(self.names):
            one = [one[name] for name in self.names]
        if isinstance(one, list) and len(one) > 1 and all(isinstance(value, int | float) for value in one):
            return [float(value) for value in one]
        raise ModelError(
            f"{self.url} gives {_short(one)}; expected a list with a score for each class, or an object of the classes in names=(...)"
        )


def read_endpoint(path: str | Path) -> Endpoint:
    """The endpoint that a TOML file describes, key by key as ``Endpoint`` takes them; a relative ``cache`` lies beside the file.

    Raises:
        SettingError: If a key is unknown or missing, or a value is refused.
        ModelError: If it is not TOML.
    """
    path = Path(path)
    try:
        settings = tomllib.loads(read_bytes(path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no TOML file: {error}") from error
    known = [one.name for one in fields(Endpoint)]
    unknown = sorted(set(settings) - set(known))
    if unknown or "url" not in settings:
        what = f"does not know {', '.join(unknown)}" if unknown else "has no url"
        raise SettingError(f"{path} {what}; expected url, and of {', '.join(known[1:])} what differs from the defaults")
    if "names" in settings:
        settings["names"] = tuple(settings["names"])
    if "cache" in settings:
        settings["cache"] = path.parent / settings["cache"]
    return Endpoint(**settings)


def expanded(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with each ``${NAME}`` read from the environment.

    Raises:
        SettingError: If a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise SettingError(f"a header needs the environment variable {match[1]}, which is not set")
        return os.environ[match[1]]

    return {name: re.sub(r"\$\{(\w+)\}", value, text) for name, text in headers.items()}


def _filled(part: Any, x: np.ndarray) -> Any:
    if isinstance(part, Mapping):
        return {key: _filled(value, x) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_filled(value, x) for value in part]
    if part == "{xs}":
        return x.tolist()
    if part == "{x}":
        return x[0].tolist()
    return part.replace("{png}", _png(x[0])) if isinstance(part, str) and "{png}" in part else part


def _png(image: np.ndarray) -> str:
    from PIL import Image

    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ModelError(f"inputs of shape {image.shape} cannot be sent as PNG; expected (1, H, W) or (3, H, W), or {{x}} in the body")
    levels = (image.clip(0, 1) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _step(found: Any, key: str, path: str, told: Any) -> Any:
    if isinstance(found, Mapping) and key in found:
        return found[key]
    if isinstance(found, Sequence) and not isinstance(found, str) and key.isdigit() and int(key) < len(found):
        return found[int(key)]
    raise ModelError(f"the answer {_short(told)} has nothing at {path!r} ({key!r} is missing); say where it lies with answer=...")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
