"""The copy of a model: a net trained on the model's answers to public examples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from quintain.core.limits import require_at_least
from quintain.core.progress import Progress, no_progress
from quintain.core.seeds import derive_seed
from quintain.data.dataset import Dataset
from quintain.leakage.knowledge import Knowledge
from quintain.models.adapters import forward_logits
from quintain.models.classifier import Classifier
from quintain.models.nets import mlp, xray_cnn
from quintain.training.loop import fit
from quintain.training.objective import StepContext
from quintain.training.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class AnswerCrossEntropy:
    """Mean cross-entropy to the answers of another model, in place of the examples' own labels.

    Args:
        answers: Probabilities (n, K), one row an example of the data set that is trained on.
    """

    answers: Tensor

    def __call__(self, net: nn.Module, x: Tensor, y: Tensor, context: StepContext) -> Tensor:  # noqa: ARG002
        """Return the mean cross-entropy of a batch to the answers on its examples."""
        logits = forward_logits(net, x)
        return nn.functional.cross_entropy(logits, self.answers[context.ids].to(logits))


@dataclass(frozen=True, slots=True)
class Student:
    """How a copy is trained: Adam, passes over the answers until it took enough steps.

    Args:
        min_steps: Steps at least; few answers are passed over more often.
        min_epochs: Passes at least.
        batch_size: Answers a step.
        learning_rate: Of the first step; it falls to 0.
    """

    min_steps: int = 1000
    min_epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        require_at_least(1, min_steps=self.min_steps, min_epochs=self.min_epochs, batch_size=self.batch_size)

    def train(
        self,
        data: Dataset,
        ids: Sequence[int],
        answers: Tensor,
        knowledge: Knowledge,
        *,
        device: torch.device,
        seed: int,
        progress: Progress = no_progress,
    ) -> Classifier:
        """Return a net of the architecture that is known, or of a small one, trained on answers.

        Args:
            data: Public examples.
            ids: Ids (n,) of those that were queried.
            answers: Probabilities (n, K) of the model that is copied, in the order of ``ids``.
            knowledge: The architecture, where it is known.
            device: Where the copy is trained.
            seed: Of its first weights and of the order of the answers.
            progress: Shows a bar.
        """
        num_classes = answers.shape[1]
        build = knowledge.architecture
        net = (
            small_net(data.shape, num_classes, seed=derive_seed(seed, "student"))
            if build is None
            else build(derive_seed(seed, "student"))
        ).to(device)
        batches = math.ceil(len(ids) / self.batch_size)
        recipe = Recipe(
            epochs=max(self.min_epochs, math.ceil(self.min_steps / batches)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
        )
        fit(
            net,
            data.subset(torch.tensor(ids)),
            recipe,
            objective=AnswerCrossEntropy(answers),
            seed=derive_seed(seed, "student", "order"),
            progress=progress,
            progress_label="train a copy",
        )
        return Classifier(net, num_classes=num_classes, name="copy")


def small_net(shape: Sequence[int], num_classes: int, *, seed: int) -> nn.Module:
    """Return a net for examples of any shape: convolutions for square images from 8 x 8 on, else dense."""
    if len(shape) == 3 and shape[1] == shape[2] >= 8:
        return xray_cnn(num_classes, shape[0], shape[1], seed=seed)
    return mlp(num_classes, math.prod(shape), 1, seed=seed)
