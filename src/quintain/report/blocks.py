"""The blocks of a section: values that the template draws without any decision of its own."""

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from quintain.report.pictures import EmbeddedPicture
from quintain.report.table import Table


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    tone: str = ""
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class Heading:
    """A title inside a section."""

    text: str
    kind: Literal["heading"] = "heading"


@dataclass(frozen=True, slots=True)
class TableBlock:
    """A table."""

    table: Table
    kind: Literal["grid"] = "grid"


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG with its title and a note under it."""

    title: str
    svg: Markup
    note: str = ""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """Drawings beside each other, with one legend of (class, words) pairs."""

    drawings: tuple[Figure, ...]
    legend: tuple[tuple[str, str], ...] = ()
    kind: Literal["drawings"] = "drawings"


@dataclass(frozen=True, slots=True)
class Pictures:
    """Rows of pictures that belong together; ``large`` for a single row that is looked at closely."""

    rows: tuple[tuple[EmbeddedPicture, ...], ...]
    large: bool = False
    kind: Literal["pictures"] = "pictures"


@dataclass(frozen=True, slots=True)
class Collapsible:
    """Blocks that open on request."""

    summary: str
    blocks: "tuple[Block, ...]"
    kind: Literal["fold"] = "fold"


@dataclass(frozen=True, slots=True)
class TwoColumns:
    """Two columns where there is room."""

    left: "tuple[Block, ...]"
    right: "tuple[Block, ...]"
    kind: Literal["pair"] = "pair"


Block = Text | Heading | TableBlock | FigureRow | Pictures | Collapsible | TwoColumns


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Args:
        anchor: For links.
        title: Of the part.
        lead: What it is about, in a sentence or two.
        blocks: What it shows.
    """

    anchor: str
    title: str
    lead: str
    blocks: tuple[Block, ...]
