"""Templates of the page and of what a notebook shows: all text is escaped, and numbers keep their units."""

import re
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_NO_BREAK = re.compile(
    r"(?<=[\d∞]) (?=%|(?:dB|s|ms|min|h|B|kB|MB|GB)\b)| (?=\.\. )|(?<=\.\.) |(?<=Linf) |(?<=L2) "
)
"""Spaces at which a number would part from its unit, or an interval from its end."""


@cache
def environment() -> Environment:
    """Return the environment of all templates; an undefined name is an error."""
    return Environment(
        loader=PackageLoader("quintain.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_with_no_break_spaces,
    )


@cache
def style(name: str) -> str:
    """Return a style sheet of the folder of templates."""
    return resources.files("quintain.report").joinpath("templates", name).read_text(encoding="utf-8")


def _with_no_break_spaces(value: Any) -> Any:
    """Text in which a number and its unit stay on one line."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _NO_BREAK.sub("\N{NO-BREAK SPACE}", value)
