"""Options that several commands share, each declared once.

A command names those that it takes (`Command.before`, `Command.after`), and finds what they said in its
`VerbCall`, in the field of the same name. The last name of an option is an older one that still works.
"""

from inspect import Parameter
from pathlib import Path
from typing import Annotated

import typer

from quintain.results.verdict import UndecidedRule

DEFAULT_MODEL, DEFAULT_DATA, DEFAULT_THREAT = "xray-cnn", "xrays", "linf:4/255"
"""What is evaluated, on what, and against what, where nothing was named."""

DEFAULT_DEVICE = "auto"


def option(name: str, kind: object, default: object) -> Parameter:
    """Return an option as the parameter that typer reads.

    Args:
        name: Its name.
        kind: Its type.
        default: Its value where it is not given, with its help: a ``typer.Option``.
    """
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)


AnyModel = Annotated[
    str,
    typer.Option(
        help="A registered name, path/to/file.py:factory, or a model without gradients: model.onnx, "
        "scores:file.py:function, labels:file.py:function, http://host:port/path, or endpoint.toml "
        "(docs/endpoints.md has its keys)."
    ),
]

MODEL = option("model", AnyModel, DEFAULT_MODEL)
NET = option("model", str, typer.Option(DEFAULT_MODEL, help="A registered name, or path/to/file.py:factory."))
WEIGHTS = option(
    "weights",
    Path | None,
    typer.Option(None, help="safetensors, or a PyTorch state dict (never unpickled)."),
)
DATA = option(
    "data",
    str,
    typer.Option(
        DEFAULT_DATA,
        help="xrays or another name of quintain list dataset, an .npz file, a folder of IDX files, or a "
        "folder of images by class.",
    ),
)
CLASSES = option(
    "classes",
    int | None,
    typer.Option(
        None,
        help="Number of classes, where the labels do not show all: what a factory gets as num_classes, and "
        "how many labels a labels: function may give; that of the data if not given.",
        show_default=False,
        min=2,
    ),
)
SPLIT = option("split", str, typer.Option("test", help="Which split of the data: train, val or test."))
LIMIT = option(
    "limit", int, typer.Option(0, help="Evaluate so many examples, drawn by the seed; 0 for all.", min=0)
)
DEVICE = option(
    "device",
    str,
    typer.Option(
        DEFAULT_DEVICE, help="auto (the accelerator, where there is one), cpu, cuda, cuda:N or mps."
    ),
)
SEED = option(
    "seed",
    int,
    typer.Option(0, help="Random seed of data order, weights and attacks; DP noise is never seeded.", min=0),
)
REQUIRE = option(
    "require",
    list[str] | None,
    typer.Option(
        None,
        help="Such as 'robust_accuracy(linf:4/255) >= 0.70', beside those of pyproject.toml; repeatable.",
    ),
)
UNDECIDED = option(
    "undecided",
    UndecidedRule | None,
    typer.Option(
        None,
        help="What an undecided requirement does: fail (exit code 3) or warn (exit code 0, with a warning); "
        "fail if not given, or what pyproject.toml states.",
        show_default=False,
    ),
)
OUT = option("out", Path | None, typer.Option(None, help="Run folder; runs/DATE-COMMAND if not given."))

EVALUATED = (MODEL, WEIGHTS, DATA, CLASSES)
"""Of a command that evaluates a model: which one, and on what."""

TRAINED = (NET, DATA, CLASSES)
"""Of a command that trains a net: which one, and on what."""

EXAMPLES = (SPLIT, LIMIT)
"""Which examples of the data."""

RUN = (DEVICE, SEED, REQUIRE, UNDECIDED, OUT)
"""Of a command that makes a run folder: where it computes, what is required of it, and where it goes."""

Threats = Annotated[
    list[str] | None, typer.Option("--threat", help="Such as linf:4/255 or l2:0.5; repeatable.")
]
MaxQueries = Annotated[
    int,
    typer.Option(
        "--max-queries",
        "--queries",
        help="Query limit per example, per attack and per threat; 0 for none. Beside it, the checks behind "
        "'trust:' make at most 16 queries on each of 50 examples, or 400 of a model with gradients and "
        "1,800 more on each of 5.",
        min=0,
    ),
]
TargetClass = Annotated[
    int | None,
    typer.Option(
        "--target-class",
        "--target",
        help="Targeted attack towards this class index; examples of that class are not attacked, and count "
        "in every accuracy.",
        min=0,
    ),
]
