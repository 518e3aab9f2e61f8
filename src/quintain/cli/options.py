"""Options that several commands share, each declared once.

The last name of an option is an older one that still works.
"""

from pathlib import Path
from typing import Annotated

import typer

from quintain.results.verdict import UndecidedRule

DEFAULT_MODEL, DEFAULT_DATA, DEFAULT_THREAT = "xray-cnn", "xrays", "linf:4/255"
"""What is evaluated, on what, and against what, where nothing was named."""

DEFAULT_DEVICE = "auto"

Model = Annotated[str, typer.Option(help="A registered name, or path/to/file.py:factory.")]
AnyModel = Annotated[
    str,
    typer.Option(
        help="A registered name, path/to/file.py:factory, or a model without gradients: model.onnx, "
        "scores:file.py:function, labels:file.py:function, http://host:port/path, or endpoint.toml "
        "(docs/endpoints.md has its keys)."
    ),
]
Weights = Annotated[Path | None, typer.Option(help="safetensors, or a PyTorch state dict (never unpickled).")]
Data = Annotated[
    str, typer.Option(help="xrays, an .npz file, a folder of IDX files, or a folder of images by class.")
]
Classes = Annotated[
    int | None,
    typer.Option(
        help="Number of classes, where the labels do not show all: what a factory gets as num_classes, and "
        "how many labels a labels: function may give; that of the data if not given.",
        show_default=False,
        min=2,
    ),
]
Split = Annotated[str, typer.Option(help="Which split of the data: train, val or test.")]
Limit = Annotated[int, typer.Option(help="Evaluate so many examples, drawn by the seed; 0 for all.", min=0)]
Seed = Annotated[
    int, typer.Option(help="Random seed of data order, weights and attacks; DP noise is never seeded.", min=0)
]
Device = Annotated[
    str, typer.Option(help="auto (the accelerator, where there is one), cpu, cuda, cuda:N or mps.")
]
Out = Annotated[Path | None, typer.Option(help="Run folder; runs/DATE-COMMAND if not given.")]
Require = Annotated[
    list[str] | None,
    typer.Option(
        help="Such as 'robust_accuracy(linf:4/255) >= 0.70', beside those of pyproject.toml; repeatable."
    ),
]
Undecided = Annotated[
    UndecidedRule | None,
    typer.Option(
        help="What an undecided requirement does: fail (exit code 3) or warn (exit code 0, with a warning); "
        "fail if not given, or what pyproject.toml states.",
        show_default=False,
    ),
]
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
        help="Targeted attack towards this class index; examples of that class are skipped.",
        min=0,
    ),
]
