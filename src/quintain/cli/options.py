"""Options that several verbs share, each said once."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[str, typer.Option(help="A registered name, or path/to/file.py:factory.")]
Weights = Annotated[Path | None, typer.Option(help="safetensors, or a PyTorch state dict (never unpickled).")]
Data = Annotated[str, typer.Option(help="xrays, an .npz file, a folder of IDX files, or a folder of images by class.")]
Split = Annotated[str, typer.Option(help="Which part of the data: train, val or test.")]
Limit = Annotated[int, typer.Option(help="Look at so many examples, drawn by the seed; 0 for all.", min=0)]
Seed = Annotated[int, typer.Option(help="Of every draw that is not private.", min=0)]
Out = Annotated[Path | None, typer.Option(help="Run folder; runs/DATE-VERB if not given.")]
Require = Annotated[list[str] | None, typer.Option(help="Such as 'robust_accuracy(linf:4/255) >= 0.70'; repeatable.")]
Threats = Annotated[list[str] | None, typer.Option("--threat", help="Such as linf:4/255 or l2:0.5; repeatable.")]
MaxQueries = Annotated[
    int,
    typer.Option("--max-queries", "--queries", help="Most forward passes of an attack for an example at each size; 0: no limit.", min=0),
]
Target = Annotated[int | None, typer.Option(help="The class to be answered, by its number; its own examples are left out.", min=0)]
