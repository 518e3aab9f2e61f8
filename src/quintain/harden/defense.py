"""The interface of a training defense, and training with one."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from torch import distributed, nn

from quintain import training
from quintain.core.errors import SettingError
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.harden.validation import RobustValidation
from quintain.threats.threat import Threat
from quintain.training.objective import Objective
from quintain.training.recipe import Recipe

if TYPE_CHECKING:
    from quintain.data.dataset import Dataset

MIN_EXAMPLES, MAX_EXAMPLES, EXAMPLES_PER_LOOKED_AT = 128, 512, 64
"""How many examples are looked at on the way; for a defense that is fast no more than its time allows."""


class Defense(Protocol):
    """The settings of a training defense, a frozen value: a recipe, and the loss that it minimizes.

    One with a ``summary`` is registered. What it says of itself are class variables, written there and
    nowhere else: ``name``; ``summary``, one line for ``quintain list``; ``guarantee``; ``supports``, the
    kinds of threats that it takes; ``example``, the threat that it is trained against where none was named;
    ``default_rank``, its place among the defenses that are taken where none was named, from 1;
    ``certifier``, the certifier that its result is trained for; ``exemptions``; ``old_names``. Of the
    settings ``threat`` and ``sigma`` it gets those that it has.

    It may also have: ``single_step``, whether it attacks by one step; ``trains_bounds``, whether interval
    bounds are what it trains; ``front``, the setting of its trade-off and the values that ``quintain harden
    --front`` tries (``eps ratio`` is the threat's eps, relative to what it is); ``max_grad_norm``, how long
    a gradient may be; ``prepare(net, seed)``, which is called before training.
    """

    certifier: ClassVar[str]

    @property
    def threat(self) -> Threat:
        """What the trained model is attacked and certified in, where nothing else was named."""

    @property
    def recipe(self) -> Recipe:
        """Epochs, batch size and optimizer."""

    def objective(self) -> Objective:
        """Return the loss of a step."""


def fit(
    net: nn.Module,
    data: "Dataset",
    defense: Defense,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    ema_decay: float = 0.0,
    validation: "Dataset | None" = None,
    process_group: distributed.ProcessGroup | None = None,
    bfloat16: bool = False,
    progress: Progress = no_progress,
) -> training.FitResult:
    """Train ``net`` in place with ``defense``, and leave it in evaluation mode.

    Training with a single step of an attack is watched for catastrophic overfitting: it then stops, the net
    has the last good weights, and ``stopped`` in the result says so.

    Args:
        net: Takes (B, *S) in [0, 1], gives logits.
        data: Training examples.
        defense: ``PGDTraining``, ``TRADES``, ``IBPTraining`` ..., or another value with a ``recipe`` and an
            ``objective()``.
        seed: Of the whole run.
        checkpoint: File that is written on the way and, where it exists, resumed from.
        ema_decay: Where positive, the net ends with the moving average of its weights, such as 0.995.
        validation: Examples that are not trained on, for early stopping: the net is measured on up to 512 of
            them after each epoch, and ends with the weights of the epoch whose robust (or certified) accuracy
            was largest. The result has what was found (``points``), and the last weights (``last``).
        process_group: Processes that train together, as ``torchrun`` starts them.
        bfloat16: Whether products are computed in bfloat16, as by ``training.Bfloat16Loss``; not those of
            bounds.
        progress: Shows a bar of steps.

    Raises:
        SettingError: If the device does not compute in bfloat16, or there is validation for a defense whose
            certifier is of a model that votes.
        ModelError: If the loss is no finite number, or the defense cannot train a layer of the net.
        RunFolderError: If the checkpoint belongs to another run.
    """
    if prepare := getattr(defense, "prepare", None):
        prepare(net, seed)
    objective = defense.objective()
    return training.fit(
        net,
        data,
        defense.recipe,
        objective=training.Bfloat16Loss(objective) if bfloat16 else objective,
        seed=seed,
        checkpoint=checkpoint,
        ema_decay=ema_decay,
        max_grad_norm=getattr(defense, "max_grad_norm", math.inf),
        validation=_looks_at(defense, data, validation, seed),
        process_group=process_group,
        progress=progress,
    )


def _looks_at(
    defense: Defense, data: "Dataset", validation: "Dataset | None", seed: int
) -> RobustValidation | None:
    """Return what measures the net on the way, if anything is to."""
    single_step = getattr(defense, "single_step", False)
    if validation is None and not single_step:
        return None
    if getattr(defense, "certifier", "") in {"smoothing", "ablation"}:
        raise SettingError(
            f"{type(defense).__name__} trains the base of a model that votes, whose own accuracy under "
            "attack chooses no weights; leave validation out"
        )
    examples = data if validation is None else validation
    most = min(MAX_EXAMPLES, max(MIN_EXAMPLES, len(data) // EXAMPLES_PER_LOOKED_AT))
    return RobustValidation(
        examples.sample(MAX_EXAMPLES if not single_step else most, seed=derive_seed(seed, "validation")),
        defense.threat,
        also=getattr(defense, "also", ()),
        selects=validation is not None,
        by_bounds=getattr(defense, "trains_bounds", False),
        single_step=single_step,
    )
