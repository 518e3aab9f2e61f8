"""The registered attacks, group by group."""

from quintain.attacks.ensembles.catalogue import CATALOGUE as ENSEMBLES
from quintain.attacks.gradient.catalogue import CATALOGUE as GRADIENT
from quintain.attacks.labels.catalogue import CATALOGUE as LABELS
from quintain.attacks.physical.catalogue import CATALOGUE as PHYSICAL
from quintain.attacks.scores.catalogue import CATALOGUE as SCORES
from quintain.attacks.smallest.catalogue import CATALOGUE as SMALLEST
from quintain.core.registry import Entry

CATALOGUE: tuple[Entry, ...] = (*GRADIENT, *SMALLEST, *SCORES, *LABELS, *PHYSICAL, *ENSEMBLES)
