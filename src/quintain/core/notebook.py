"""How values show themselves in a notebook, by functions that are imported once they are shown."""

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


def html_repr(path: str) -> Callable[[object], str]:
    """Return a ``_repr_html_`` method that calls a function of another module on its value.

    Args:
        path: ``package.module:function``; the module is imported when a notebook shows a value. The function
            takes the value and returns HTML.
    """
    module, _, function = path.partition(":")

    def _repr_html_(self: object) -> str:
        html: str = getattr(import_module(module), function)(self)
        return html

    return _repr_html_
