"""Where in a repository a requirement stands: code scanning shows no result without a place."""

from dataclasses import dataclass
from pathlib import Path

from quintain.report.ci.cases import Case
from quintain.results.run_layout import RESULT_FILE

PROJECT_FILE = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Place:
    """Some characters of one line of a file.

    Args:
        path: Relative to the root of the repository, with forward slashes.
        line: From 1 up.
        start, end: Columns from 1 up, the end being the first that does not belong to it.
    """

    path: str
    line: int = 1
    start: int = 1
    end: int = 2


@dataclass(frozen=True, slots=True)
class Repository:
    """The files of a repository that results may point at.

    Args:
        texts: Text of each file that may state requirements, by its path relative to the root; the nearest
            to the user first.
        record: Path of the run's record, relative to the root.
    """

    texts: tuple[tuple[str, str], ...] = ()
    record: str = RESULT_FILE

    @classmethod
    def around(cls, folder: Path, record: Path | None = None) -> "Repository":
        """Return the repository that holds a folder: up to the nearest with ``.git``.

        Where there is none, up to the nearest with a ``pyproject.toml``, else the folder itself.

        Args:
            folder: Where the command runs; its own and its parents' ``pyproject.toml`` are read.
            record: The record of the run.
        """
        start = folder.resolve()
        above = (start, *start.parents)
        signs = (".git", PROJECT_FILE)
        root = next((place for sign in signs for place in above if (place / sign).exists()), start)
        texts = []
        for place in above[: above.index(root) + 1]:
            path = place / PROJECT_FILE
            try:
                texts.append((path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")))
            except (OSError, UnicodeDecodeError):
                continue
        inside = record is not None and record.resolve().is_relative_to(root)
        name = record.resolve().relative_to(root).as_posix() if record is not None and inside else RESULT_FILE
        return cls(tuple(texts), name)

    def place_of(self, case: Case) -> Place:
        """Return where a case points: the line that states the requirement, else the file that states such.

        Where there is no such file it is the run's record.
        """
        for path, text in self.texts:
            for number, line in enumerate(text.splitlines(), 1):
                column = line.find(case.name)
                if column >= 0 and not line.lstrip().startswith("#"):
                    return Place(path, number, column + 1, column + 1 + len(case.name))
        stating = [path for path, text in self.texts if "[tool.quintain" in text]
        known = stating or [path for path, _ in self.texts]
        return Place(known[0] if known else self.record)
