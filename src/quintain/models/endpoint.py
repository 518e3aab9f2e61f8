"""Description of a remote classifier: its address, a request's body, and the answer's path in a response."""

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

from quintain.core.errors import ModelError, NotFoundError, SettingError
from quintain.core.files import read_bytes, sha256
from quintain.core.limits import require_at_least

PLACEHOLDERS = ("{x}", "{xs}", "{png}")

OLD_KEYS = {
    "answer": "response_path",
    "names": "class_names",
    "batch": "batch_size",
    "rate": "requests_per_second",
    "budget": "query_budget",
}
"""Keys of files that were written for earlier versions, which are still read."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to query a classifier over HTTP, and how to read its response.

    In ``body`` the placeholder ``"{x}"`` stands for one input as nested lists, ``"{xs}"`` for a batch of
    them, and ``{png}``, which may be part of a longer text, for one image as a PNG in base64, rounded to 8
    bits. ``response_path`` is a path such as ``prediction.label`` or ``results.0.scores``; after ``{xs}`` it
    leads to a list with one answer an input.

    Args:
        url: The address to which requests are posted, ``http://`` or ``https://``.
        body: A JSON value with one placeholder.
        response_path: Path to the answer in the response: scores as a list, or as an object by class name; or
            one label, a number or a class name.
        access: Whether answers are ``scores`` or ``labels``.
        class_names: Class names in the order of their numbers, where the endpoint answers with names.
        headers: Sent with each request; ``${NAME}`` is read from the environment, so that keys need not be
            written down.
        batch_size: Inputs in one request, where ``body`` has ``{xs}``.
        requests_per_second: Largest rate of requests; as fast as they are answered if not given.
        retries: How often a request is tried again after a failed connection, a 429 or a 5xx, waiting twice
            as long each time.
        timeout: Seconds to wait for the whole response; after that the request is tried again.
        query_budget: How many inputs may be sent in all, those in the cache not counted; no limit if not
            given.
        cache: A file that stores every answer, so that no input is sent twice, also by a later run; delete it
            when the model behind the address changes. By default answers are stored in memory alone.

    Raises:
        SettingError: If a setting is out of its range, or ``body`` does not have one placeholder for inputs.
    """

    url: str
    body: Any = field(default_factory=lambda: {"inputs": "{xs}"})
    response_path: str = "scores"
    access: Literal["labels", "scores"] = "scores"
    class_names: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 64
    requests_per_second: float | None = None
    retries: int = 5
    timeout: float = 30.0
    query_budget: int | None = None
    cache: str | Path | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise SettingError(f"url = {self.url!r}; expected http://host:port/path or https://...")
        text = json.dumps(self.body)
        if sum(text.count(placeholder) for placeholder in PLACEHOLDERS) != 1:
            raise SettingError(
                f"body = {text}; expected exactly one of {', '.join(PLACEHOLDERS)}, where the inputs go"
            )
        if self.access not in ("labels", "scores"):
            raise SettingError(f"access = {self.access!r}; expected 'labels' or 'scores'")
        require_at_least(
            1, batch_size=self.batch_size, query_budget=1 if self.query_budget is None else self.query_budget
        )
        require_at_least(0, retries=self.retries)
        for name, amount in (("requests_per_second", self.requests_per_second), ("timeout", self.timeout)):
            if amount is not None and not amount > 0:
                raise SettingError(f"{name} = {amount}; expected a positive number")

    @property
    def inputs_per_request(self) -> int:
        """Number of inputs in one request."""
        return self.batch_size if self._batched else 1

    @property
    def _batched(self) -> bool:
        return "{xs}" in json.dumps(self.body)

    @property
    def hash(self) -> str:
        """SHA-256 of the address and of the settings of a request; the model behind it cannot be seen."""
        settings = [self.url, self.body, self.response_path, self.access, list(self.class_names)]
        return sha256(json.dumps(settings, sort_keys=True).encode())

    def request_body(self, x: np.ndarray) -> Any:
        """Return the body of a request for inputs (n, *S)."""
        return _fill_placeholders(self.body, x)

    def parse_response(self, response_json: Any, count: int) -> list[Any]:
        """Read the answers for ``count`` inputs from a decoded response: lists of floats, or integers.

        Raises:
            ModelError: If the path leads nowhere, or not to an answer.
        """
        found = response_json
        for key in self.response_path.split(".") if self.response_path else ():
            found = _follow_path(found, key, self.response_path, response_json)
        found = found if self._batched else [found]
        if not isinstance(found, list) or len(found) != count:
            raise ModelError(
                f"{self.url} gives {_short(found)} for {count} inputs; expected a list of {count} at "
                f"{self.response_path!r}"
            )
        return [self._label(one) if self.access == "labels" else self._scores(one) for one in found]

    def _label(self, one: Any) -> int:
        if isinstance(one, str) and one in self.class_names:
            return self.class_names.index(one)
        if isinstance(one, int) and not isinstance(one, bool):
            return one
        hint = "; give class_names=(...) where it answers with names"
        if self.class_names:
            hint = f", or one of the names {', '.join(self.class_names)}"
        raise ModelError(f"{self.url} gives the label {_short(one)}; expected a whole number{hint}")

    def _scores(self, one: Any) -> list[float]:
        if isinstance(one, dict) and set(one) == set(self.class_names):
            one = [one[name] for name in self.class_names]
        if isinstance(one, list) and len(one) > 1 and all(map(_is_number, one)):
            return [float(value) for value in one]
        raise ModelError(
            f"{self.url} gives {_short(one)}; expected a list with a number for each class, or an object of "
            "the classes in class_names=(...)"
        )


def read_endpoint(path: str | Path) -> Endpoint:
    """Read an endpoint from a TOML file, whose keys are the arguments of ``Endpoint``.

    A relative ``cache`` lies beside the file.

    Raises:
        NotFoundError: If there is no such file.
        SettingError: If it is not TOML, a key is unknown or missing, or a value is refused.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f"there is no file {path}; expected a TOML file that describes an endpoint")
    try:
        settings = {
            OLD_KEYS.get(key, key): value for key, value in tomllib.loads(read_bytes(path).decode()).items()
        }
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} is no TOML file: {error}; see docs/endpoints.md for its keys") from error
    known = [one.name for one in fields(Endpoint)]
    unknown = sorted(set(settings) - set(known))
    if unknown or "url" not in settings:
        what = f"does not know {', '.join(unknown)}" if unknown else "has no url"
        raise SettingError(
            f"{path} {what}; expected url, and of {', '.join(known[1:])} what differs from the defaults"
        )
    if "class_names" in settings:
        settings["class_names"] = tuple(settings["class_names"])
    if "cache" in settings:
        settings["cache"] = path.parent / settings["cache"]
    return Endpoint(**settings)


def expand_environment(headers: Mapping[str, str]) -> dict[str, str]:
    """Replace each ``${NAME}`` in the headers by the environment variable of that name.

    Raises:
        SettingError: If a variable is not set.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise SettingError(f"a header needs the environment variable {match[1]}, which is not set")
        return os.environ[match[1]]

    return {name: re.sub(r"\$\{(\w+)\}", value, text) for name, text in headers.items()}


def _fill_placeholders(part: Any, x: np.ndarray) -> Any:
    if isinstance(part, Mapping):
        return {key: _fill_placeholders(value, x) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_fill_placeholders(value, x) for value in part]
    if part == "{xs}":
        return x.tolist()
    if part == "{x}":
        return x[0].tolist()
    return part.replace("{png}", _png(x[0])) if isinstance(part, str) and "{png}" in part else part


def _png(image: np.ndarray) -> str:
    from PIL import Image

    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ModelError(
            f"inputs of shape {image.shape} cannot be sent as PNG; expected (1, H, W) or (3, H, W), or {{x}} "
            "in the body"
        )
    levels = (image.clip(0, 1) * 255).round().astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _follow_path(found: Any, key: str, path: str, response_json: Any) -> Any:
    if isinstance(found, Mapping) and key in found:
        return found[key]
    if isinstance(found, Sequence) and not isinstance(found, str) and key.isdigit() and int(key) < len(found):
        return found[int(key)]
    raise ModelError(
        f"the response {_short(response_json)} has nothing at {path!r} ({key!r} is missing); "
        "give the path to the answer with response_path=..."
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 120 else f"{text[:117]}..."
