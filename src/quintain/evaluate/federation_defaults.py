"""The usual settings of a federated training: rounds, local recipes, and how the data are divided."""

from quintain.core.errors import SettingError
from quintain.data.dataset import Dataset
from quintain.federated import Strategy
from quintain.training import Recipe

ALPHA = 0.5
"""Of the Dirichlet distribution by which each class is divided over the sites."""

NUM_ROUNDS = 12
"""Chosen on the validation split of the X-rays, as is the recipe."""
LOCAL_RECIPE = Recipe(epochs=1, batch_size=32, learning_rate=1e-3, schedule="constant")
"""Of training at a site in one round."""
LOCAL_SGD = Recipe(epochs=1, batch_size=32, learning_rate=0.05, optimizer="sgd", schedule="constant")
"""The same for a strategy that takes plain steps alone."""

PRIVATE_ROUNDS, PRIVATE_EPOCHS = 6, 2
"""Where each round spends privacy: fewer rounds, and longer ones."""

FEW_CLASSES = 10
"""Up to so many classes, each site has some examples of each, where that can be with the data there are."""

STRATEGY = "fedavgm"
"""Chosen on the validation split of the X-rays, where it makes fewer errors than federated averaging."""
CAREFUL_STRATEGY = "fedavg"
"""Where averages are noisy or some sites malicious: no step is larger than the average."""

MAX_CORRUPT = 1
"""Sites that may collude with the server."""


def rounds_and_epochs(rounds: int | None, epochs: int | None, *, is_private: bool) -> tuple[int, int]:
    """Return how many rounds and local epochs a round: as given, or the usual ones."""
    usual = (PRIVATE_ROUNDS, PRIVATE_EPOCHS) if is_private else (NUM_ROUNDS, LOCAL_RECIPE.epochs)
    return usual[0] if rounds is None else rounds, usual[1] if epochs is None else epochs


def default_strategy(*, is_private: bool, robust: str) -> str:
    """Return the name of the strategy where none is given."""
    return CAREFUL_STRATEGY if is_private or robust else STRATEGY


def each_has_every_class(data: Dataset, sites: int) -> bool:
    """Return whether random splits are likely enough to give each site five examples of each class.

    A site's part of a class is Beta(1/2, (sites - 1)/2), which is below x with a probability near
    (2/3) sqrt(sites x). Among a thousand splits one will do if each has about three parts that are too small.
    """
    classes = data.num_classes
    return classes <= FEW_CLASSES and 5 * len(data) >= classes * sites * (sites * classes) ** 2


def local_recipe(strategy: Strategy) -> Recipe:
    """The recipe of training at a site that the strategy can be run with."""
    try:
        strategy.check_recipe(LOCAL_RECIPE)
    except SettingError:
        return LOCAL_SGD
    return LOCAL_RECIPE
