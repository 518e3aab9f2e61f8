"""Names and texts of a federation are hashed and sent as UTF-8: what that cannot write is refused by name."""

import numpy as np
import pytest
from torch import nn

from quintain.core.errors import SettingError
from quintain.data.dataset import from_arrays
from quintain.federated import FederatedConfig, partition, simulate
from quintain.federated.secagg import Identity, MemoryJournal, Roster, Task
from quintain.training import Recipe

LONE = "clinic-\ud800"


def data():
    return from_arrays(
        np.random.default_rng(0).random((80, 3)).astype(np.float32), np.arange(80) % 2, num_classes=2
    )


ASKED = {
    "identity": lambda: Identity.create(LONE),
    "roster": lambda: Roster((LONE, "other"), tuple(Identity.create(name).public for name in ("a", "b"))),
    "task": lambda: Task(federation=LONE),
    "journal": lambda: MemoryJournal().claim_update(LONE, 0, bytes(32), bytes(16)),
    "training": lambda: simulate(
        {LONE: data(), "other": data()}, nn.Linear(3, 2).eval(), FederatedConfig(1, Recipe(epochs=1))
    ),
    "split": lambda: partition(data(), 2, prefix=LONE, min_examples=1, min_per_class=1),
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
def test_a_lone_surrogate_is_refused_by_name(ask):
    with pytest.raises(
        SettingError,
        match=r"(name|federation|the name of a site|prefix) = 'clinic-\\ud800'; expected text that UTF-8",
    ):
        ask()
