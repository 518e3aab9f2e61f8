"""Values in a notebook: small tables, and drawings that are looked up by name, so that values stay light."""

from collections.abc import Callable, Iterable
from html import escape
from importlib import import_module


def html_table(caption: str, rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of two columns as HTML, all text escaped."""
    left = 'style="text-align:left"'
    head = f'<thead><tr><th colspan="2" {left}>{escape(caption)}</th></tr></thead>'
    lines = "".join(
        f"<tr><td {left}>{escape(name)}</td><td {left}>{escape(text)}</td></tr>" for name, text in rows
    )
    return f"<table>{head}<tbody>{lines}</tbody></table>"


def drawn_by(path: str) -> Callable[[object], str]:
    """Return a ``_repr_html_`` method that calls ``package.module:function`` on its value."""
    module, _, function = path.partition(":")

    def _repr_html_(self: object) -> str:
        html: str = getattr(import_module(module), function)(self)
        return html

    return _repr_html_
